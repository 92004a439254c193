//! Queries Azure's metadata service. `userData` can be read at every boot and replaced later.
//! Custom data, an older mechanism, exists only on a provisioning disc, which the agent ejects
//! during the first boot.

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recipes::cluster::{MetadataSource, Platform};
use reqwest::StatusCode;

use super::http::{HttpError, send};
use super::service::{self, Endpoint, UserData};
use super::source::{Source, shorten};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Azure,
    find: |query| service::find(query, Platform::Azure, &ask),
};

/// The statuses that the service returns until it has data for a new machine.
const PASSING: [StatusCode; 2] = [StatusCode::NOT_FOUND, StatusCode::GONE];

async fn ask(service: &Endpoint) -> Result<UserData, HttpError> {
    let (id, _) = text(service, "vmId").await?;
    let (data, origin) = text(service, "userData").await?;
    let data = data.trim_ascii();
    if data.is_empty() {
        return Ok(UserData::Nothing(format!(
            "the machine {} has no user data",
            shorten(id)
        )));
    }
    let decoded = STANDARD.decode(data);
    decoded
        .map(UserData::Some)
        .map_err(|error| HttpError::Final(anyhow!("{origin} is not base64: {error}")))
}

async fn text(service: &Endpoint, field: &str) -> Result<(Vec<u8>, String), HttpError> {
    let path = format!("metadata/instance/compute/{field}?api-version=2021-01-01&format=text");
    let (request, origin) = service.get(&path)?;
    let body = send(request.header("Metadata", "true"), &origin)
        .await?
        .success(&origin, &PASSING)?;
    Ok((body, origin))
}
