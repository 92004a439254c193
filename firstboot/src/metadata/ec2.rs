//! Queries version 2 of EC2's metadata service, in which each request carries a token. firstboot
//! never uses version 1. Version 1 requires no token, so it also answers a request that a program
//! on the machine forwards for an attacker (SSRF).

use std::cell::RefCell;

use anyhow::{Context as _, anyhow};
use recipes::cluster::{MetadataSource, Platform};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};

use super::http::{HttpError, Reply, send};
use super::service::{self, Endpoint, UserData};
use super::source::{Source, shorten};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Ec2,
    find: |query| {
        let token = RefCell::new(None);
        service::find(query, Platform::Ec2, &async |service: &Endpoint| {
            ask(service, &token).await
        })
    },
};

/// The lifetime of a token in seconds. firstboot's queries normally take less time.
const LIFETIME: &str = "300";

/// A fixed version of the API, so that the release of a later version has no effect.
const VERSION: &str = "2021-03-23";

async fn ask(
    service: &Endpoint,
    token: &RefCell<Option<HeaderValue>>,
) -> Result<UserData, HttpError> {
    let (reply, origin) = get(service, token, "meta-data/instance-id").await?;
    let instance = shorten(reply.success(&origin, &[])?);
    let (reply, origin) = get(service, token, "user-data").await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(UserData::Nothing(format!(
            "instance {instance} has no user data"
        )));
    }
    reply.success(&origin, &[]).map(UserData::Some)
}

/// Sends a request with the token. After status 401, which means that the token has expired,
/// firstboot fetches one new token and repeats the request.
async fn get(
    service: &Endpoint,
    token: &RefCell<Option<HeaderValue>>,
    path: &str,
) -> Result<(Reply, String), HttpError> {
    let mut is_renewed = false;
    loop {
        let kept = token.borrow().clone();
        let bearing = match kept {
            Some(token) => token,
            None => new_token(service).await?,
        };
        *token.borrow_mut() = Some(bearing.clone());
        let (request, origin) = service.get(&format!("{VERSION}/{path}"))?;
        let reply = send(request.header("X-aws-ec2-metadata-token", bearing), &origin).await?;
        match reply.status {
            StatusCode::UNAUTHORIZED if !is_renewed => {
                is_renewed = true;
                *token.borrow_mut() = None;
            }
            StatusCode::FORBIDDEN => return Err(switched_off(&reply, &origin)),
            _ => return Ok((reply, origin)),
        }
    }
}

async fn new_token(service: &Endpoint) -> Result<HeaderValue, HttpError> {
    let (request, origin) = service.request(Method::PUT, "latest/api/token")?;
    // hyper sends no Content-Length with a PUT that has no body, but some proxies require one.
    let request = request
        .header("X-aws-ec2-metadata-token-ttl-seconds", LIFETIME)
        .header("Content-Length", "0");
    let reply = send(request, &origin).await?;
    if reply.status == StatusCode::FORBIDDEN {
        return Err(switched_off(&reply, &origin));
    }
    let body = reply.success(&origin, &[])?;
    let mut token = HeaderValue::from_bytes(body.trim_ascii())
        .ok()
        .filter(|token| !token.is_empty() && token.len() < 1024)
        .context(format!("{origin} did not send a token"))
        .map_err(HttpError::Final)?;
    token.set_sensitive(true);
    Ok(token)
}

fn switched_off(reply: &Reply, origin: &str) -> HttpError {
    let error = reply.error(origin);
    HttpError::Final(anyhow!(
        "{error}: the metadata service is switched off for this instance. Enable the service, and require tokens"
    ))
}
