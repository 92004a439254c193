//! The cluster document: what every node knows of the whole. It is in the image, the same for all.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Backup, Domain, EtcdVersion, Label, Update};

/// User and group id of etcd on every node. Fixed, so that the overlay can name owners by number;
/// below 1000, so that it is a system's user; away from 999, from which CentOS 7's packages count
/// down (useradd -r, login.defs).
pub const ETCD_ID: u32 = 450;

/// The cluster as the image carries it, in `/etc/firstboot/cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterDocument {
    /// Its name; etcd's cluster token begins with it.
    pub name: Label,
    /// The domain under which the nodes' full names lie.
    pub domain: Domain,
    /// The members it should have, in the recipe's order.
    pub members: Vec<Member>,
    /// How etcd should run.
    pub etcd: EtcdSettings,
    /// The network the nodes are on.
    pub network: Network,
    /// Where a node may learn who it is.
    pub metadata: MetadataPolicy,
    /// How it is backed up; by itself it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// How running nodes take over a newer image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
}

impl ClusterDocument {
    /// The member of this name.
    pub fn member(&self, name: &Label) -> Option<&Member> {
        self.members.iter().find(|member| &member.name == name)
    }

    /// A member's full name.
    pub fn fqdn(&self, name: &Label) -> String {
        format!("{name}.{}", self.domain)
    }
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its short name.
    pub name: Label,
    /// Its address, on which it serves clients and peers.
    pub address: Ipv4Addr,
}

impl Member {
    /// What it advertises to peers.
    pub fn peer_url(&self) -> String {
        format!("https://{}:2380", self.address)
    }

    /// What it advertises to clients.
    pub fn client_url(&self) -> String {
        format!("https://{}:2379", self.address)
    }
}

/// etcd's settings by intent. Which key of etcd.conf says so depends on the version: that is
/// firstboot's matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EtcdSettings {
    /// The version in the image.
    pub version: EtcdVersion,
    /// Between two heartbeats of the leader, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// Without a heartbeat for this long a follower stands for election, in milliseconds. The same
    /// on all.
    pub election_timeout_ms: u32,
    /// The largest the database may grow, in bytes.
    pub quota_backend_bytes: u64,
    /// For how many hours of history a client can ask; 0 keeps all until somebody compacts.
    pub auto_compaction_hours: u32,
    /// After how many entries etcd writes a raft snapshot.
    pub snapshot_count: u64,
    /// The largest request, in bytes.
    pub max_request_bytes: u32,
    /// Whether a member compares its data with its peers' before it serves.
    pub initial_corrupt_check: bool,
    /// Whether the leader compares the members' data at each compaction, where the version can.
    pub compact_hash_check: bool,
}

/// The network the nodes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// Who gives a node its address.
    pub mode: NetworkMode,
    /// The network, with its prefix.
    pub cidr: Ipv4Net,
    /// The way out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Who resolves names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
}

/// Who gives a node its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A DHCP server that knows the machine, or whoever else; firstboot waits for the address and
    /// checks it.
    Dhcp,
    /// firstboot writes it into the interface that matches the node.
    Static,
}

/// Where a node may learn who it is, in the order of asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetadataPolicy {
    /// The sources, first asked first.
    pub sources: Vec<MetadataSource>,
    /// For [`MetadataSource::Url`]: the folder in which the server is asked for `node.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The platform that all nodes run on, where their firmware does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A platform that has a metadata service of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// OpenStack.
    Openstack,
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Gce,
    /// Microsoft Azure.
    Azure,
    /// VMware vSphere and its relatives.
    Vmware,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Openstack,
        Self::Ec2,
        Self::Gce,
        Self::Azure,
        Self::Vmware,
    ];

    /// Its name in a recipe and on the kernel's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openstack => "openstack",
            Self::Ec2 => "ec2",
            Self::Gce => "gce",
            Self::Azure => "azure",
            Self::Vmware => "vmware",
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL
            .into_iter()
            .find(|platform| platform.name() == text);
        named.ok_or("expected one of: openstack, ec2, gce, azure, vmware")
    }
}

/// One kind of place where a node document can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetadataSource {
    /// `/etc/firstboot/node.json`, put there by whoever made the disk.
    File,
    /// `firstboot.node=` or NoCloud's `ds=nocloud;s=` on the kernel's command line.
    Cmdline,
    /// The same words in an OEM string of the firmware (SMBIOS type 11).
    Smbios,
    /// `opt/etcd-image/node.json` of QEMU's firmware configuration.
    FwCfg,
    /// A NoCloud seed: a disk labelled `cidata`, or the seed folder.
    Nocloud,
    /// OpenStack's config drive: a disk labelled `config-2`.
    ConfigDrive,
    /// guestinfo of a VMware machine.
    Vmware,
    /// OpenStack's metadata service.
    Openstack,
    /// EC2's metadata service, version 2.
    Ec2,
    /// GCE's metadata server.
    Gce,
    /// Azure's metadata service.
    Azure,
    /// An http(s) server.
    Url,
}

impl MetadataSource {
    /// All of them: local and readable by root alone first, the network last.
    pub const ALL: [Self; 12] = [
        Self::File,
        Self::Cmdline,
        Self::Smbios,
        Self::FwCfg,
        Self::Nocloud,
        Self::ConfigDrive,
        Self::Vmware,
        Self::Openstack,
        Self::Ec2,
        Self::Gce,
        Self::Azure,
        Self::Url,
    ];

    /// Its name in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Cmdline => "cmdline",
            Self::Smbios => "smbios",
            Self::FwCfg => "fw-cfg",
            Self::Nocloud => "nocloud",
            Self::ConfigDrive => "config-drive",
            Self::Vmware => "vmware",
            Self::Openstack => "openstack",
            Self::Ec2 => "ec2",
            Self::Gce => "gce",
            Self::Azure => "azure",
            Self::Url => "url",
        }
    }
}
