//! Searches the sources of node documents. Each source is implemented in a separate file. A source
//! returns a signed document, reports that it has no document, or fails. `identity` verifies a
//! document before firstboot uses it.

mod azure;
mod cmdline;
mod config_drive;
mod disk;
mod document;
mod ec2;
mod enrol;
mod file;
mod fw_cfg;
mod gce;
mod http;
mod location;
mod log;
mod nocloud;
mod openstack;
mod platform;
mod reinstallation;
mod seed;
mod service;
mod smbios;
mod source;
#[cfg(test)]
mod tests;
mod url;
mod vmware;

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Result, bail};
use recipes::cluster::{MetadataPolicy, MetadataSource};
use reqwest::Url;

pub(crate) use document::FoundDocument;
pub(crate) use enrol::{enrol, enrol_once};
pub(crate) use http::client as http_client;
pub(crate) use log::{Outcome, SourceLog};
pub(crate) use reinstallation::InstallServer;
pub(crate) use url::newer;

use self::platform::Platforms;
use self::source::{KNOWN, Query, QueryMode, Source, SourceResult};
use crate::exit::{Exit, code_of, not_ready, refused};
use crate::machine::Machine;
use crate::output::say;
use crate::{files, paths};

const SOURCES: [Source; MetadataSource::ALL.len()] = [
    file::SOURCE,
    cmdline::SOURCE,
    smbios::SOURCE,
    fw_cfg::SOURCE,
    nocloud::SOURCE,
    config_drive::SOURCE,
    vmware::SOURCE,
    openstack::SOURCE,
    ec2::SOURCE,
    gce::SOURCE,
    azure::SOURCE,
    url::SOURCE,
];

/// Returns the document of the first source that has a document. If no source has a document,
/// returns the document that the node has already accepted. If a source has an invalid document,
/// fails instead of continuing with the next source, because an attacker might control the next
/// source. Until the node has accepted a document, also fails if a later source has a different
/// document.
pub(crate) fn find(
    policy: &MetadataPolicy,
    machine: &Machine,
    log: &mut SourceLog,
) -> Result<FoundDocument> {
    log.clear();
    let found = search(policy, machine, log);
    let found = found.map_err(refuse_content);
    match &found {
        Ok(found) => log.taken = Some(found.origin.clone()),
        Err(error) => log.refused = Some(format!("{error:#}")),
    }
    log.save();
    found
}

/// Turns an error in the content of a source into a refusal, because reading the source again would
/// return the same content. An error of the operating system remains a failure: systemd then starts
/// firstboot again, and the disk may have become readable.
fn refuse_content(error: anyhow::Error) -> anyhow::Error {
    let of_system = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.raw_os_error().is_some())
    };
    match code_of(&error) {
        Exit::Failed if !error.chain().any(of_system) => refused(format!("{error:#}")),
        _ => error,
    }
}

fn search(
    policy: &MetadataPolicy,
    machine: &Machine,
    log: &mut SourceLog,
) -> Result<FoundDocument> {
    let accepted = files::read_if_there(paths::ACCEPTED_DOCUMENT)?;
    // Ignore a damaged file, because the source has the document too.
    let received = FoundDocument::in_file(Path::new(paths::RECEIVED_DOCUMENT));
    let received = received.ok().flatten();
    let platforms = Platforms::observe(Path::new("/"), policy.platform)?;
    let services = Url::parse(service::ADDRESS)?;
    let query = Query {
        machine,
        url: policy.url.as_ref(),
        platforms: &platforms,
        // Only a node without a document queries the network, because a member that is already set
        // up must be able to start even if the network is down.
        known: accepted.is_some(),
        received: received.as_ref(),
        mode: QueryMode::WaitForNetwork,
        services: &services,
        waiting: &|_| (),
    };
    let sources = SOURCES
        .iter()
        .filter(|source| policy.sources.contains(&source.name));
    let mut sources: Vec<&Source> = sources.collect();
    sources.sort_by_key(|source| policy.sources.iter().position(|name| *name == source.name));
    if let Some(found) = ask(&sources, &query, log)? {
        return Ok(found);
    }
    if let Some(bytes) = accepted {
        return FoundDocument::parse(paths::ACCEPTED_DOCUMENT, &bytes);
    }
    let saw = log
        .sources
        .iter()
        .filter(|row| row.outcome == Outcome::Nothing)
        .map(|row| row.saw.as_str());
    let saw: Vec<&str> = saw.collect();
    Err(not_ready(format!(
        "found no node document for this machine ({machine}): {}. Give the machine its folder nodes/NAME/ from \
         the build; `firstboot explain --sources` shows all sources",
        saw.join("; ")
    )))
}

fn ask(
    sources: &[&Source],
    query: &Query<'_>,
    log: &mut SourceLog,
) -> Result<Option<FoundDocument>> {
    let mut taken: Option<(MetadataSource, FoundDocument)> = None;
    let log = RefCell::new(log);
    for source in sources {
        let name = source.name;
        if taken.is_some() && query.known {
            log.borrow_mut().note(name, Outcome::NotAsked, KNOWN);
            continue;
        }
        let waiting = |line: &str| {
            say(line);
            let mut log = log.borrow_mut();
            log.note(name, Outcome::Asking, line);
            log.save();
        };
        let mode = if taken.is_some() {
            QueryMode::Once
        } else {
            query.mode
        };
        let answer = (source.find)(&Query {
            mode,
            waiting: &waiting,
            ..*query
        });
        let mut log = log.borrow_mut();
        match (answer, &taken) {
            (Err(error), _) => {
                log.note(name, Outcome::Wrong, format!("{error:#}"));
                return Err(error);
            }
            (Ok(SourceResult::NotAsked(why)), _) => log.note(name, Outcome::NotAsked, why),
            (Ok(SourceResult::Nothing(instead)), _) => log.note(name, Outcome::Nothing, instead),
            (Ok(SourceResult::Found(found)), None) => {
                log.note(name, Outcome::Taken, &found.origin);
                taken = Some((name, found));
            }
            (Ok(SourceResult::Found(found)), Some((_, first))) if first.agrees_with(&found) => {
                log.note(name, Outcome::Agrees, &found.origin);
            }
            (Ok(SourceResult::Found(found)), Some((first_name, first))) => {
                let differs = format!(
                    "{} and {} are different documents",
                    found.origin, first.origin
                );
                log.note(name, Outcome::Wrong, &differs);
                bail!(
                    "two sources disagree: {differs} (sources {} and {}). Remove one of them, or name the right source \
                     in the recipe's [metadata] sources",
                    name.name(),
                    first_name.name()
                );
            }
        }
    }
    Ok(taken.map(|(_, found)| found))
}
