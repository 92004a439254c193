//! The planned contents of a recipe's image.

use serde::Serialize;

use crate::tuning::Setting;

/// The planned contents of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Plan {
    pub(super) cluster: String,
    pub(super) domain: String,
    pub(super) etcd: String,
    pub(super) profile: &'static str,
    pub(super) members: Vec<Member>,
    pub(super) volumes: Vec<Volume>,
    pub(super) services: Vec<Service>,
    pub(super) ports: Vec<Port>,
    pub(super) files: Vec<String>,
    pub(super) settings: Vec<Setting>,
}

#[derive(Debug, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) fqdn: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Volume {
    pub(super) mount: &'static str,
    pub(super) size: String,
    pub(super) options: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) unit: String,
    pub(super) enabled: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Port {
    pub(super) port: u16,
    pub(super) from: Vec<String>,
}
