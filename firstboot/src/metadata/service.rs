//! Queries a platform's metadata service at a link-local address. Determines when firstboot queries
//! the service, and for how long.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::cluster::Platform;
use reqwest::{Client, Url};

use super::document::FoundDocument;
use super::http::{self, HttpError};
use super::source::{Query, QueryMode, SourceResult};
use crate::runtime::block_on;

/// The link-local address of all metadata services (RFC 3927).
pub(super) const ADDRESS: &str = "http://169.254.169.254/";

/// The pauses between attempts. The last pause repeats, because the network may come up at any
/// moment.
const PAUSES: [u64; 5] = [1, 1, 2, 3, 5];

/// The answer of a service.
#[derive(Debug)]
pub(super) enum UserData {
    /// The service does not have user data. The text describes the service's answer.
    Nothing(String),
    /// The user data of this machine.
    Some(Vec<u8>),
}

/// A metadata service, with the client that queries it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    client: Client,
    base: Url,
    mode: QueryMode,
}

impl Endpoint {
    /// Builds a request for a path. Returns the request, and the URL that messages show.
    pub(super) fn request(
        &self,
        method: reqwest::Method,
        path: &str,
    ) -> Result<(reqwest::RequestBuilder, String), HttpError> {
        let url = self
            .base
            .join(path)
            .map_err(|error| HttpError::Final(error.into()))?;
        let mut origin = url.clone();
        origin.set_query(None);
        let request = self.client.request(method, url);
        let request = match self.mode {
            QueryMode::WaitForNetwork => request,
            QueryMode::Once => request.timeout(self.mode.limit()),
        };
        Ok((request, origin.into()))
    }

    /// Builds a GET request for a path. Returns the request, and the URL that messages show.
    pub(super) fn get(&self, path: &str) -> Result<(reqwest::RequestBuilder, String), HttpError> {
        self.request(reqwest::Method::GET, path)
    }
}

/// Queries a platform's service for the user data of this machine, if the machine runs on that
/// platform. Repeats the query if the service does not answer. A refusal by the service is an
/// error, which ends the search. In the mode `Once`, sends only one query, and treats a service
/// that refuses as a service without user data.
pub(super) fn find(
    query: &Query<'_>,
    platform: Platform,
    ask: &impl AsyncFn(&Endpoint) -> Result<UserData, HttpError>,
) -> Result<SourceResult> {
    if let Some(answer) = query.not_on(platform) {
        return Ok(answer);
    }
    let origin = format!("the user data of {}", platform.name());
    let endpoint = Endpoint {
        client: http::client(query.services)?,
        base: query.services.clone(),
        mode: query.mode,
    };
    let asked = block_on(patiently(query, &origin, &async || ask(&endpoint).await))?;
    Ok(match asked {
        UserData::Nothing(instead) => SourceResult::Nothing(instead),
        UserData::Some(bytes) => {
            let (name, why) = (
                platform.name(),
                query.platforms.why(platform).unwrap_or_default(),
            );
            let remedy = || {
                format!(
                    "this machine runs on {name} ({why}). Set the node's file `user-data` as the \
                     machine's user data, or leave {name} out of the recipe's [metadata] sources"
                )
            };
            FoundDocument::parse(origin, &bytes)
                .with_context(remedy)?
                .into()
        }
    })
}

/// Repeats the query until the service answers or the time limit is reached. In the mode `Once`,
/// queries the service only once.
async fn patiently(
    query: &Query<'_>,
    origin: &str,
    ask: &impl AsyncFn() -> Result<UserData, HttpError>,
) -> Result<UserData> {
    let (start, limit) = (Instant::now(), query.mode.limit());
    let mut last = String::new();
    let mut pauses = PAUSES
        .into_iter()
        .chain(std::iter::repeat(PAUSES[PAUSES.len() - 1]))
        .map(Duration::from_secs);
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let trouble = match tokio::time::timeout(left, ask()).await {
            Ok(Ok(data)) => return Ok(data),
            // In the mode `Once`, firstboot only compares documents, and a service that refuses the
            // query has no document to compare.
            Ok(Err(HttpError::Final(error))) if query.mode == QueryMode::Once => {
                return Ok(UserData::Nothing(format!(
                    "it refused the request: {error:#}"
                )));
            }
            Ok(Err(HttpError::Final(error))) => return Err(error),
            Ok(Err(HttpError::Again(error))) => format!("{error:#}"),
            Err(_) if last.is_empty() => "it did not answer".to_owned(),
            Err(_) => last.clone(),
        };
        let pause = pauses.next().unwrap_or_default();
        if query.mode == QueryMode::Once || start.elapsed() + pause >= limit {
            return Ok(UserData::Nothing(format!(
                "it did not return any user data within {} s: {trouble}",
                limit.as_secs()
            )));
        }
        // Log an error only if it differs from the previous error.
        if trouble != last {
            (query.waiting)(&format!("waiting for {origin}: {trouble}"));
        }
        last = trouble;
        tokio::time::sleep(pause).await;
    }
}
