//! The cluster document: the description of the cluster for its nodes. The document is part of the
//! image, so it is the same for all nodes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::node::KeyOrigin;
use crate::{Backup, Domain, EtcdVersion, Label, Update};

/// The user and group id of etcd on every node. The id is fixed, so that the overlay can name
/// owners by number. The id is below 1000, so that etcd's user is a system user. The id is far from
/// 999, because CentOS 7's packages use ids from 999 downwards (useradd -r, login.defs).
pub const ETCD_ID: u32 = 450;

/// The description of the cluster that the image contains, in `/etc/firstboot/cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterDocument {
    /// The cluster's name. etcd's cluster token begins with this name.
    pub name: Label,
    /// The domain of the nodes' full names.
    pub domain: Domain,
    /// The members that the cluster should have, in the recipe's order.
    pub members: Vec<Member>,
    /// The settings of etcd.
    pub etcd: EtcdSettings,
    /// The network of the nodes.
    pub network: Network,
    /// The sources from which a node may learn its identity.
    pub metadata: MetadataPolicy,
    /// How the cluster is backed up. `None` means that there are no scheduled backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// Where the nodes' private keys are generated.
    #[serde(default, skip_serializing_if = "KeyOrigin::is_document")]
    pub keys: KeyOrigin,
    /// The URL of the server that signs the nodes' certificate requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol: Option<Url>,
    /// How running nodes switch to a newer image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// What an installation from this image does with the volume of etcd.
    #[serde(default, skip_serializing_if = "InstallData::is_wipe")]
    pub data: InstallData,
}

impl ClusterDocument {
    /// Returns the member with this name.
    pub fn member(&self, name: &Label) -> Option<&Member> {
        self.members.iter().find(|member| &member.name == name)
    }

    /// Returns a member's full name.
    pub fn fqdn(&self, name: &Label) -> String {
        format!("{name}.{}", self.domain)
    }
}

/// What an installation does with the volume of etcd that an earlier installation left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallData {
    /// The installation erases the whole disk.
    #[default]
    Wipe,
    /// The installation keeps the volume and firstboot's journal. If it is not certain that both
    /// belong to this node, the installation ends without any change.
    Keep,
}

impl InstallData {
    /// Returns whether an installation erases the volume.
    pub fn is_wipe(&self) -> bool {
        *self == Self::Wipe
    }
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The member's short name.
    pub name: Label,
    /// The address at which the member serves clients and peers.
    pub address: Ipv4Addr,
}

impl Member {
    /// Returns the URL that the member advertises to peers.
    pub fn peer_url(&self) -> String {
        format!("https://{}:2380", self.address)
    }

    /// Returns the URL that the member advertises to clients.
    pub fn client_url(&self) -> String {
        format!("https://{}:2379", self.address)
    }
}

/// etcd's settings, named for their purpose. firstboot writes these settings under the keys that
/// the installed version of etcd has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EtcdSettings {
    /// The version in the image.
    pub version: EtcdVersion,
    /// The interval between the leader's heartbeats, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The time without a heartbeat after which a follower starts an election, in milliseconds. The
    /// value is the same on all members.
    pub election_timeout_ms: u32,
    /// The maximum size of the database, in bytes.
    pub quota_backend_bytes: u64,
    /// The number of hours for which history is kept. 0 means that all history is kept until a
    /// client compacts it.
    pub auto_compaction_hours: u32,
    /// The number of entries after which etcd writes a raft snapshot.
    pub snapshot_count: u64,
    /// The maximum size of a request, in bytes.
    pub max_request_bytes: u32,
    /// Whether a member compares its data with that of its peers before the member starts to serve
    /// clients.
    pub initial_corrupt_check: bool,
    /// Whether the leader compares the data of the members at each compaction. Only some versions
    /// of etcd support this comparison.
    pub compact_hash_check: bool,
}

/// The network that the nodes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// How a node obtains its address.
    pub mode: NetworkMode,
    /// The address of the network, with its prefix length.
    pub cidr: Ipv4Net,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// The DNS servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
}

/// How a node obtains its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The address comes from a DHCP server that has a reservation for the machine, or from another
    /// source. firstboot waits for the address and checks the address.
    Dhcp,
    /// firstboot writes the address into the configuration of one interface: the interface that
    /// already has the address, the interface with the MAC address in the node document, or the
    /// machine's only interface.
    Static,
}

/// The sources from which a node may learn its identity, in the order in which the node queries the
/// sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetadataPolicy {
    /// The sources, in order.
    pub sources: Vec<MetadataSource>,
    /// The URL of the folder from which the node requests `node.json`, for [`MetadataSource::Url`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The platform that all nodes run on, if the nodes' firmware does not name the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A platform that has its own metadata service.
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
    /// VMware vSphere and related products.
    Vmware,
}

impl Platform {
    /// All platforms.
    pub const ALL: [Self; 5] = [
        Self::Openstack,
        Self::Ec2,
        Self::Gce,
        Self::Azure,
        Self::Vmware,
    ];

    /// Returns the platform's name in a recipe and on the kernel's command line.
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

/// A kind of source of a node document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetadataSource {
    /// `/etc/firstboot/node.json`, which the person who prepares the disk creates.
    File,
    /// `firstboot.node=` or NoCloud's `ds=nocloud;s=` on the kernel's command line.
    Cmdline,
    /// `firstboot.node=` or NoCloud's `ds=nocloud;s=` in an OEM string of the firmware (SMBIOS type
    /// 11).
    Smbios,
    /// `opt/etcd-image/node.json` in QEMU's firmware configuration.
    FwCfg,
    /// A NoCloud seed: a disk labelled `cidata`, or the seed folder.
    Nocloud,
    /// OpenStack's config drive: a disk labelled `config-2`.
    ConfigDrive,
    /// The guestinfo of a VMware machine.
    Vmware,
    /// OpenStack's metadata service.
    Openstack,
    /// EC2's metadata service, version 2.
    Ec2,
    /// GCE's metadata server.
    Gce,
    /// Azure's metadata service.
    Azure,
    /// An HTTP or HTTPS server.
    Url,
}

impl MetadataSource {
    /// All sources, in the default order: first the local sources, and last the network.
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

    /// Returns the source's name in a recipe.
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
