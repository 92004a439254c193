//! Installing a node's machine once: what iPXE is sent, and what is recorded of the installation.

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use recipes::{Label, NodeDocument, Stage};

use super::ask::Ask;
use super::boot::{self, Install};
use super::log::printable;
use super::record::{Installation, Next, Record, time};
use super::refusal::Refusal;
use super::reply::{Reply, now, refused, text_reply};
use super::site::Site;
use super::tree::Tree;
use super::who::{is_at, who};

/// What a machine that boots from the network is to do. Every answer is a script: to iPXE an error has no words.
pub(super) fn boot_script(site: &Site, ask: &Ask) -> Result<Reply> {
    let server = site.own_url(ask);
    if ask.query.is_empty() {
        return Ok(text_reply(StatusCode::OK, boot::who(&server)));
    }
    let cluster = site.cluster()?;
    let decided = ask
        .source(&site.log)
        .and_then(|source| who(&cluster.nodes, &ask.machine(), source))
        .map_err(anyhow::Error::from)
        .and_then(|node| decide(site, ask, &cluster.record, node, &server));
    let script = match decided {
        Ok(script) => script,
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            let asked = ask.word("again").and_then(|count| count.parse().ok()).unwrap_or_default();
            let again =
                (refusal.status == StatusCode::SERVICE_UNAVAILABLE).then(|| boot::again(&server, asked)).flatten();
            site.refuse(ask, &refusal);
            again.unwrap_or_else(|| boot::leave(&refusal.why))
        }
    };
    Ok(text_reply(StatusCode::OK, script))
}

/// The script for a node's machine.
fn decide(site: &Site, ask: &Ask, record: &Record, node: &NodeDocument, server: &str) -> Result<String> {
    let name = &node.name;
    let tree = match &site.tree {
        Some(Tree::Url(url)) => url.url().to_string(),
        Some(Tree::Folder(_)) => format!("{server}tree/"),
        None => {
            let why =
                format!("{name} boots from its disk: this server was started without --tree, and installs no machine");
            return Err(Refusal::forbidden("no-tree", why).into());
        }
    };
    let _lock = record.lock().map_err(|error| unrecorded(site, name, &error))?;
    let recorded = record.installation(name).map_err(|error| unrecorded(site, name, &error))?;
    let handing = site.handing(record, name).map_err(|error| unrecorded(site, name, &error))?;
    let mut installation = recorded.clone().unwrap_or_default();
    let next = match (&recorded, handing.and_then(|handing| handing.first)) {
        // It had its document, so that it is installed, but that could not be recorded.
        (_, Some(first)) if recorded_before(recorded.as_ref(), first) => Next::Disk(first),
        (None, _) => Next::Unknown,
        _ => installation.next(site.retries),
    };
    let again = format!("`builder allow {name} --install` on the server installs it again");
    match next {
        Next::Install(attempt) => {
            let token = token()?;
            installation.send(token.clone(), now());
            // A machine must not be wiped by what no one remembers.
            record.put_installation(name, &installation).map_err(|error| unrecorded(site, name, &error))?;
            let last = site.retries.saturating_add(1);
            site.tell(ask, Some(name), format!("is sent the installer, attempt {attempt} of {last}"));
            let attempt = (attempt, last);
            Ok(boot::install(Install { node: name, server, tree: &tree, token: &token, attempt, append: &site.append }))
        }
        Next::Disk(at) => {
            site.tell(ask, Some(name), "was installed, and boots from its disk");
            Ok(boot::leave(&format!("{name} was installed at {}. {again}", time::text(at))))
        }
        Next::Held => {
            let last = installation.last.as_ref();
            let step = last.map_or("allowed", |last| last.step.as_str());
            let reason = last.and_then(|last| last.why.as_deref()).map_or_else(String::new, |why| format!(": {why}"));
            let why = format!(
                "{name} is held after {} attempts to install it. The last one: {step}{reason}. {again}",
                installation.attempts
            );
            Err(Refusal::forbidden("held", why).into())
        }
        Next::Unknown => {
            let why = format!(
                "{name} boots from its disk: this server has no record that allows its installation. `builder allow {name} \
                 --install` on the server installs it, which wipes its disk"
            );
            Err(Refusal::forbidden("no-record", why).into())
        }
    }
}

/// Whether the newest installation began before a time; one that the operator allowed did not begin yet.
fn recorded_before(recorded: Option<&Installation>, time: SystemTime) -> bool {
    recorded.is_none_or(|installation| installation.began.is_some_and(|began| began <= time))
}

fn unrecorded(site: &Site, name: &Label, error: &anyhow::Error) -> anyhow::Error {
    site.log.trouble(error);
    let why = format!("{name} boots from its disk: the server cannot record an installation; its console says why");
    Refusal::forbidden("unrecorded", why).into()
}

/// 128 bits that no one can guess, in hexadecimal.
fn token() -> Result<String> {
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let bytes = random.ok().context("the system gives no random numbers")?.expose();
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Records that the kickstart is fetched, where a node's machine does that. The kickstart itself is public.
pub(super) fn kickstart(site: &Site, ask: &Ask) {
    let note = || -> Result<()> {
        let cluster = site.cluster()?;
        let named = ask.word("node").and_then(|name| cluster.node(name));
        let node = ask.source(&site.log).and_then(|source| match named {
            Some(node) => is_at(node, source).map(|()| node),
            None => who(&cluster.nodes, &ask.installer, source),
        });
        let node = match node {
            Ok(node) => node,
            Err(refusal) => {
                site.tell(ask, None, format!("takes the kickstart, and nothing is recorded: {refusal}"));
                return Ok(());
            }
        };
        let _lock = cluster.record.lock()?;
        let mut installation = cluster.record.installation(&node.name)?.unwrap_or_default();
        installation.kickstart(now());
        cluster.record.put_installation(&node.name, &installation)?;
        site.tell(ask, Some(&node.name), "takes the kickstart");
        Ok(())
    };
    if let Err(error) = note() {
        site.log.trouble(&error);
    }
}

/// Takes a machine's report of its stage.
pub(super) fn report(site: &Site, ask: &Ask) -> Result<Reply> {
    let cluster = site.cluster()?;
    match take(site, ask, &cluster.nodes, &cluster.record) {
        Ok(()) => Ok(text_reply(StatusCode::OK, "recorded".to_owned())),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            site.refuse(ask, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn take(site: &Site, ask: &Ask, nodes: &[NodeDocument], record: &Record) -> Result<()> {
    let source = ask.source(&site.log)?;
    let name = ask.word("node").unwrap_or_default();
    let Some(node) = nodes.iter().find(|node| node.name.as_str() == name) else {
        return Err(Refusal::unknown("unknown-machine", format!("no node of this cluster is called {name}")).into());
    };
    is_at(node, source)?;
    let stage: Stage = ask
        .field("stage")
        .unwrap_or_default()
        .parse()
        .map_err(|error: recipes::stage::StageError| Refusal::bad("stage", error.to_string()))?;
    let why = ask.field("why").map(str::trim).filter(|why| !why.is_empty()).map(printable);
    let name = &node.name;
    let later = |error: anyhow::Error| {
        site.log.trouble(&error);
        Refusal::later("unrecorded", "the server cannot record it now. Report it again")
    };
    let _lock = record.lock().map_err(later)?;
    let mut installation: Installation = record.installation(name).map_err(later)?.unwrap_or_default();
    let token = ask.word("token").unwrap_or_default();
    installation.report(token, stage, why.clone(), now()).map_err(|_| {
        Refusal::forbidden("stale-report", format!("{stage} of {name} does not belong to its newest installation"))
    })?;
    record.put_installation(name, &installation).map_err(later)?;
    let reason = why.map_or_else(String::new, |why| format!(": {why}"));
    site.tell(ask, Some(name), format!("reports {stage}{reason}"));
    Ok(())
}
