//! Queries an HTTP or HTTPS server. The query identifies the machine, and the server answers with
//! the machine's document. The document is signed but not encrypted, so over plain HTTP, an
//! eavesdropper obtains all keys in the document (docs/security.md).

use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::Sha256;
use recipes::cluster::MetadataSource;
use reqwest::header::IF_NONE_MATCH;
use reqwest::{Client, StatusCode, Url};

use super::document::FoundDocument;
use super::http::{HttpError, client, send};
use super::source::{KNOWN, Query, QueryMode, RETRY_PAUSES, Source, SourceResult};
use crate::exit::not_ready;
use crate::machine::Machine;
use crate::runtime::block_on;

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Url,
    find,
};

/// The path of a machine's document, relative to the URL of the server's folder.
const DOCUMENT: &str = "node.json";

/// Requests `node.json` from the folder that the recipe names. The query identifies this machine.
fn find(query: &Query<'_>) -> Result<SourceResult> {
    let Some(base) = query.url else {
        return Ok(SourceResult::NotAsked(
            "the recipe does not set `url` in [metadata]".to_owned(),
        ));
    };
    get(&address(base, DOCUMENT, query.machine)?, query)
}

/// Returns the URL of a path below a server's folder, with a query that identifies this machine.
pub(super) fn address(base: &Url, page: &str, machine: &Machine) -> Result<Url> {
    let mut url = base
        .join(page)
        .with_context(|| format!("{base} is not the URL of a folder"))?;
    {
        let mut pairs = url.query_pairs_mut();
        for (key, value) in machine.describe() {
            pairs.append_pair(key, &value);
        }
    }
    Ok(url)
}

/// Requests this machine's document once. Returns `None` if the server's document has the digest
/// `known`, or if the server does not have a document for this machine.
pub(crate) fn newer(
    base: &Url,
    machine: &Machine,
    known: &Sha256,
) -> Result<Option<FoundDocument>> {
    let url = address(base, DOCUMENT, machine)?;
    let origin = origin_of(&url);
    let request = client(&url)?
        .get(url)
        .header(IF_NONE_MATCH, format!("\"{known}\""));
    let body = block_on(async {
        let reply = send(request, &origin).await?;
        match reply.status {
            StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND => Ok(None),
            _ => reply.success(&origin, &[]).map(Some),
        }
    });
    match body {
        Ok(Some(bytes)) => FoundDocument::parse(origin, &bytes).map(Some),
        Ok(None) => Ok(None),
        Err(HttpError::Again(error) | HttpError::Final(error)) => Err(error),
    }
}

/// Downloads a document, unless the node or another source already has one. Repeats the request
/// after errors that may be temporary. The server hands out a document only for a limited time,
/// unless the machine proves that it has already received the document. Therefore, if an earlier
/// run received the document, the request contains the document's digest as the proof.
pub(super) fn get(url: &Url, query: &Query<'_>) -> Result<SourceResult> {
    if query.known {
        return Ok(SourceResult::NotAsked(KNOWN.to_owned()));
    }
    if query.mode == QueryMode::Once {
        let why = "another source has a document. firstboot does not query the server, because a server may issue a document only once";
        return Ok(SourceResult::NotAsked(why.to_owned()));
    }
    let origin = origin_of(url);
    let received = query
        .received
        .and_then(|found| Some((found, found.envelope.payload_digest().ok()?)));
    let digest = received.map(|(_, digest)| digest);
    let found = match (block_on(patiently(url, &origin, digest, query))?, received) {
        (None, Some((received, _))) => FoundDocument {
            origin,
            envelope: received.envelope.clone(),
        },
        (body, _) => FoundDocument::parse(origin, &body.unwrap_or_default())?,
    };
    Ok(found.into())
}

/// Returns the body of the answer, or `None` if the server's document has the digest `received`.
async fn patiently(
    url: &Url,
    origin: &str,
    received: Option<Sha256>,
    query: &Query<'_>,
) -> Result<Option<Vec<u8>>> {
    let client = client(url)?;
    let mut last = String::new();
    for pause in RETRY_PAUSES {
        match attempt(&client, url, origin, received).await {
            Ok(body) => return Ok(body),
            Err(HttpError::Final(error)) => return Err(error),
            Err(HttpError::Again(error)) => {
                last = format!("waiting for {origin}: {error:#}");
                (query.waiting)(&last);
            }
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    Err(not_ready(last))
}

async fn attempt(
    client: &Client,
    url: &Url,
    origin: &str,
    received: Option<Sha256>,
) -> Result<Option<Vec<u8>>, HttpError> {
    let mut request = client.get(url.clone());
    if let Some(digest) = received {
        request = request.header(IF_NONE_MATCH, format!("\"{digest}\""));
    }
    let reply = send(request, origin).await?;
    if received.is_some() && reply.status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    // Repeat the request after a 404, because the server may not have a document for a new machine
    // yet.
    reply.success(origin, &[StatusCode::NOT_FOUND]).map(Some)
}

pub(super) fn origin_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}
