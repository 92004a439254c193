//! An http(s) server. It is told which machine asks and answers with that machine's document; what it answers is
//! believed for its signature alone. Over plain http a listener learns the node's keys: docs/security.md.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{StatusCode, Url};

use super::document::{Found, LIMIT};
use crate::exit::not_ready;
use crate::machine::Machine;
use crate::output::say;

/// Pauses between tries: a network that has just come up, a server that is just starting. After them systemd starts
/// firstboot again, forever.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// Asks `base`node.json, saying in the query which machine this is.
pub(super) fn find(base: &Url, machine: &Machine) -> Result<Option<Found>> {
    let mut url = base.join("node.json").with_context(|| format!("{base} is not a folder"))?;
    {
        let mut query = url.query_pairs_mut();
        for (key, value) in machine.describe() {
            query.append_pair(key, &value);
        }
    }
    get(&url).map(Some)
}

/// Gets a document; tries again where time may help.
pub(super) fn get(url: &Url) -> Result<Found> {
    let place = place_of(url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bytes = runtime.block_on(async {
        let client = client()?;
        let mut last = None;
        for pause in PAUSES {
            match attempt(&client, url, &place).await {
                Ok(bytes) => return Ok(bytes),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(error)) => say(format!("waiting for {place}: {error:#}")),
            }
            last = Some(pause);
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        Err(not_ready(format!("{place} could not be had, the last pause was {} s", last.unwrap_or(0))))
    })?;
    Found::parse(place, &bytes)
}

/// So many bytes of it are looked at.
const REASON: usize = 400;

enum Attempt {
    Again(anyhow::Error),
    Final(anyhow::Error),
}

async fn attempt(client: &reqwest::Client, url: &Url, place: &str) -> Result<Vec<u8>, Attempt> {
    let again = |error: reqwest::Error| Attempt::Again(error.without_url().into());
    let mut response = client.get(url.clone()).send().await.map_err(again)?;
    let status = response.status();
    if !status.is_success() {
        let error = anyhow::anyhow!("{place} answered {status}{}", reason(response).await);
        let passing = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND);
        return Err(if passing { Attempt::Again(error) } else { Attempt::Final(error) });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(again)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > LIMIT {
            return Err(Attempt::Final(anyhow::anyhow!("{place} sends more than {LIMIT} bytes")));
        }
    }
    Ok(bytes)
}

/// The words of a server that gives nothing, as far as they are words and few.
async fn reason(mut response: reqwest::Response) -> String {
    let first = response.chunk().await.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&first[..first.len().min(REASON)]).trim().to_owned();
    let is_plain = !text.is_empty() && !text.starts_with(['<', '{']) && !text.contains(char::is_control);
    if is_plain { format!(": {text}") } else { String::new() }
}

/// No proxy: the answer would be about the proxy's machine. No redirect: an address that somebody else chooses.
pub(crate) fn client() -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(20));
    match builder.build() {
        Ok(client) => Ok(client),
        Err(error) => bail!("cannot make an http client: {error}"),
    }
}

/// The address without its query, for messages.
fn place_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}
