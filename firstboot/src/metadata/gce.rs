//! Queries GCE's metadata server. Each request and each answer has the header `Metadata-Flavor`
//! with the value `Google`. The server refuses a request without this header. A server that does
//! not send the header is not GCE's metadata server.

use anyhow::anyhow;
use recipes::cluster::{MetadataSource, Platform};
use reqwest::StatusCode;

use super::http::{HttpError, Reply, send};
use super::service::{self, Endpoint, UserData};
use super::source::{Source, shorten};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Gce,
    find: |query| service::find(query, Platform::Gce, &ask),
};

const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

async fn ask(service: &Endpoint) -> Result<UserData, HttpError> {
    let (reply, origin) = get(service, "id").await?;
    let instance = shorten(reply.success(&origin, &[])?);
    // Read only the instance's attribute, because the project's attributes are the same for all
    // nodes.
    let (reply, origin) = get(service, "attributes/user-data").await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(UserData::Nothing(format!(
            "instance {instance} has no attribute user-data"
        )));
    }
    reply.success(&origin, &[]).map(UserData::Some)
}

async fn get(service: &Endpoint, path: &str) -> Result<(Reply, String), HttpError> {
    let (request, origin) = service.get(&format!("computeMetadata/v1/instance/{path}"))?;
    let reply = send(request.header(FLAVOR.0, FLAVOR.1), &origin).await?;
    let is_google = reply
        .headers
        .get(FLAVOR.0)
        .is_some_and(|flavor| flavor == FLAVOR.1);
    if reply.status.is_success() && !is_google {
        let header = format!("{}: {}", FLAVOR.0, FLAVOR.1);
        return Err(HttpError::Final(anyhow!(
            "{origin} answered without `{header}`, so it is not GCE's metadata server"
        )));
    }
    Ok((reply, origin))
}
