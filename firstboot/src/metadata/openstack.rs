//! Queries OpenStack's metadata service.

use anyhow::anyhow;
use recipes::cluster::{MetadataSource, Platform};
use reqwest::StatusCode;
use serde::Deserialize;

use super::http::{HttpError, send};
use super::service::{self, Endpoint, UserData};
use super::source::{Source, shorten};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Openstack,
    find: |query| service::find(query, Platform::Openstack, &ask),
};

/// The part of `meta_data.json` that firstboot reads.
#[derive(Debug, Deserialize)]
pub(super) struct MetaData {
    /// The id of the instance.
    pub(super) uuid: String,
}

async fn ask(service: &Endpoint) -> Result<UserData, HttpError> {
    // Read `meta_data.json` first, because only OpenStack's service has this file, and has it for
    // every instance. Neutron's proxy answers 404 until it has found the instance's port.
    let (request, origin) = service.get("openstack/latest/meta_data.json")?;
    let body = send(request, &origin)
        .await?
        .success(&origin, &[StatusCode::NOT_FOUND])?;
    let data: MetaData = serde_json::from_slice(&body).map_err(|error| {
        HttpError::Final(anyhow!(
            "{origin} is not OpenStack's meta_data.json: {error}"
        ))
    })?;
    let (request, origin) = service.get("openstack/latest/user_data")?;
    let reply = send(request, &origin).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(UserData::Nothing(format!(
            "instance {} has no user data",
            shorten(data.uuid)
        )));
    }
    reply.success(&origin, &[]).map(UserData::Some)
}
