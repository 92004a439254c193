//! Where everything is on the node. docs/guide.md says which step of the guide put it there.

/// The cluster, the same on every node.
pub(crate) const CLUSTER: &str = "/etc/firstboot/cluster.json";
/// The public key whose signature a node document must bear.
pub(crate) const TRUST: &str = "/etc/firstboot/trust.pub";
/// Every file of the overlay with its digest.
pub(crate) const IMAGE: &str = "/etc/firstboot/image.json";
/// What only the installation of this node made, part by part.
pub(crate) const BASE: &str = "/etc/firstboot/base.json";
/// The last thing that the kickstart writes: the digest of the overlay it unpacked and checked.
pub(crate) const INSTALLED: &str = "/etc/firstboot/installed";
/// The server to report to, with what proves whose report it is: written by the installation, 0600.
pub(crate) const REPORT: &str = "/etc/firstboot/report";
/// A node document put on the disk by whoever made it.
pub(crate) const NODE_FILE: &str = "/etc/firstboot/node.json";

/// One that QEMU hands to the machine (drivers/firmware/qemu_fw_cfg.c).
pub(crate) const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/etcd-image/node.json/raw";

/// What firstboot knows across boots.
pub(crate) const STATE: &str = "/var/lib/firstboot";
/// What it did, in order.
pub(crate) const JOURNAL: &str = "/var/lib/firstboot/journal";
/// The accepted node document, so that a second boot needs no metadata source.
pub(crate) const ACCEPTED: &str = "/var/lib/firstboot/node.json";
/// The overlay's files as they were when their digests were last compared.
pub(crate) const VERIFIED: &str = "/var/lib/firstboot/verified.json";

/// An update of the image: its state, and both images while it lasts.
pub(crate) const UPDATE: &str = "/var/lib/firstboot/update";
/// The new image, unpacked.
pub(crate) const UPDATE_NEW: &str = "/var/lib/firstboot/update/new";
/// The files of the previous image that differ.
pub(crate) const UPDATE_BEFORE: &str = "/var/lib/firstboot/update/before";
/// How far an update has come; the unit of updates starts only while it exists.
pub(crate) const UPDATE_STATE: &str = "/var/lib/firstboot/update/state.json";
/// The image that this node was updated to, and what leads back from it.
pub(crate) const UPDATED: &str = "/var/lib/firstboot/update/updated.json";
/// How the last update ended.
pub(crate) const UPDATE_OUTCOME: &str = "/var/lib/firstboot/update/outcome.json";
/// This program.
pub(crate) const PROGRAM: &str = "/usr/local/bin/firstboot";
/// The program that carries an update out: a copy of the firstboot that began it, since the image's own is exchanged.
pub(crate) const UPDATER: &str = "/usr/local/bin/firstboot-updater";
/// What the updater says, for the command that follows it.
pub(crate) const UPDATE_LOG: &str = "/run/firstboot/update.log";
/// Held by the one process that changes something below [`UPDATE`].
pub(crate) const UPDATE_LOCK: &str = "/run/firstboot/update.lock";

/// While it exists etcd.service may start. It is in /run: each boot firstboot has to say so again.
pub(crate) const READY: &str = "/run/firstboot/ready";

/// What firstboot says of this boot.
pub(crate) const RUN: &str = "/run/firstboot";
/// What each metadata source answered in this boot.
pub(crate) const SOURCES: &str = "/run/firstboot/sources.json";

/// Held by the one firstboot that works on the node.
pub(crate) const LOCK: &str = "/run/firstboot/lock";

/// etcd's configuration.
pub(crate) const ETCD_CONF: &str = "/etc/etcd/etcd.conf";
/// Certificates and keys.
pub(crate) const TLS: &str = "/etc/etcd/tls";
/// The port on which etcd serves its peers.
pub(crate) const PEER_PORT: u16 = 2380;
/// The port on which etcd serves clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Where etcd on this node serves this node.
pub(crate) const OWN_CLIENT_URL: &str = "https://127.0.0.1:2379";
/// The volume of etcd. Its root is root's: only the data directory in it is etcd's.
pub(crate) const VOLUME: &str = "/var/lib/etcd";
/// etcd's data: below the volume, whose root may hold a lost+found and what was set aside.
pub(crate) const DATA: &str = "/var/lib/etcd/data";
/// Which life of the disk this is, on etcd's volume and not beside the journal: so that it is lost with the data.
pub(crate) const LIFE: &str = "/var/lib/etcd/firstboot-life";
/// How far etcd's log went when etcd last started and stopped.
pub(crate) const PROGRESS: &str = "/var/lib/etcd/firstboot-progress";
/// What was put aside; nothing of it is ever deleted.
pub(crate) const ASIDE: &str = "/var/lib/etcd/aside";
/// Where snapshots lie by default, and where one that goes to an object store is held until every page was walked.
pub(crate) const BACKUPS: &str = recipes::backup::FOLDER;
/// The object store's keys, put there by the operator; 0600.
pub(crate) const S3_KEYS: &str = "/etc/firstboot/s3-keys";
/// Where a restore makes etcd's new data, and keeps the snapshot that it fetched: beside the old data, to be renamed.
pub(crate) const RESTORE: &str = "/var/lib/etcd/restore";
/// etcd's own programs, by whose name an error can be searched for.
pub(crate) const ETCDUTL: &str = "/usr/local/bin/etcdutl";
/// The same for 3.4, which has no etcdutl.
pub(crate) const ETCDCTL: &str = "/usr/local/bin/etcdctl";
