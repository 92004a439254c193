//! A node's document, handed to the node's machine (firstboot's source `url`).

use anyhow::Result;
use hyper::StatusCode;
use recipes::NodeDocument;

use super::ask::Ask;
use super::record::{Handing, Installation, Record, time};
use super::refusal::Refusal;
use super::reply::{Reply, now, refused, text_reply};
use super::site::{self, Site};
use super::who::who;

/// The document of the machine that asks.
pub(super) fn document(site: &Site, ask: &Ask) -> Result<Reply> {
    let cluster = site.cluster()?;
    let handed = ask
        .source(&site.log)
        .and_then(|source| who(&cluster.nodes, &ask.machine(), source))
        .map_err(anyhow::Error::from)
        .and_then(|node| hand(site, ask, &cluster.record, node));
    match handed {
        Ok(text) => Ok(text_reply(StatusCode::OK, text)),
        Err(error) => {
            let refusal = error.downcast::<Refusal>()?;
            site.refuse(ask, &refusal);
            Ok(refused(&refusal))
        }
    }
}

fn hand(site: &Site, ask: &Ask, record: &Record, node: &NodeDocument) -> Result<String> {
    // A disk that is full has no room for a lock either.
    let _lock = record.lock().inspect_err(|error| site.log.trouble(error));
    let name = &node.name;
    let installation = record.installation(name)?.unwrap_or_default();
    let handing = site.handing(record, name)?;
    let now = now();
    if handing.is_none() && !record.reaches_back() && installation.began.is_none() {
        let why = format!(
            "the record of this server does not say whether {name} had its document. `builder allow {name} --document` on the \
             server hands it out"
        );
        return Err(Refusal::forbidden("no-record", why).into());
    }
    let mut handing = handing.unwrap_or_else(Handing::allowed);
    if !handing.is_open(installation.began, now, site.open) {
        let first = handing.first.map(time::text).unwrap_or_default();
        let why = format!(
            "the document of {name} was handed out at {first}, and for {} minutes from then. `builder allow {name} --document` \
             on the server hands it out again",
            site.open.as_secs() / 60
        );
        return Err(Refusal::forbidden("document-closed", why).into());
    }
    let text = site::document(&site.out, name.as_str())?;
    handing.hand(installation.began, now);
    site.put_handing(record, name, &handing);
    installed(site, record, node, installation, now);
    site.tell(ask, Some(name), "its document is handed out");
    Ok(text)
}

/// Only an installed machine asks for its document: from now on iPXE leaves it alone, though its report was lost.
fn installed(
    site: &Site,
    record: &Record,
    node: &NodeDocument,
    mut installation: Installation,
    now: std::time::SystemTime,
) {
    if installation.installed.is_some() {
        return;
    }
    installation.document(now);
    if let Err(error) = record.put_installation(&node.name, &installation) {
        site.log.trouble(&error);
    }
}
