//! Defines the paths and ports on the node. For etcd's own paths and ports, docs/guide.md names the
//! corresponding steps of a manual installation.

/// The cluster document, which is the same on every node.
pub(crate) const CLUSTER: &str = "/etc/firstboot/cluster.json";
/// The public key that verifies the signatures of documents.
pub(crate) const SIGNING_PUBLIC_KEY: &str = "/etc/firstboot/trust.pub";
/// The list of the overlay's files with their digests.
pub(crate) const IMAGE: &str = "/etc/firstboot/image.json";
/// The description of the image's base, which consists of the parts of the node that only an
/// installation creates.
pub(crate) const BASE: &str = "/etc/firstboot/base.json";
/// The last file that the kickstart writes, with the digest of the overlay that the kickstart
/// checked and unpacked.
pub(crate) const INSTALLED: &str = "/etc/firstboot/installed";
/// The file with the URL to which firstboot reports this node's state. The URL contains the
/// machine's token. The installation writes this file with mode 0600.
pub(crate) const REPORT: &str = "/etc/firstboot/report";
/// A node document that an operator copied to the disk.
pub(crate) const NODE_FILE: &str = "/etc/firstboot/node.json";

/// A node document that QEMU passes to the machine (drivers/firmware/qemu_fw_cfg.c).
pub(crate) const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/etcd-image/node.json/raw";

/// firstboot's persistent state.
pub(crate) const STATE: &str = "/var/lib/firstboot";
/// firstboot's journal.
pub(crate) const JOURNAL: &str = "/var/lib/firstboot/journal";
/// The accepted node document, which firstboot stores so that later boots do not need a metadata
/// source.
pub(crate) const ACCEPTED_DOCUMENT: &str = "/var/lib/firstboot/node.json";
/// The document that the node received and will accept later, for example when the node has its
/// address.
pub(crate) const RECEIVED_DOCUMENT: &str = "/var/lib/firstboot/received.json";
/// The private keys that this node generated itself, mode 0600.
pub(crate) const OWN_KEYS: &str = "/var/lib/firstboot/keys.pem";
/// New keys of this node for which certificates have not been issued yet.
pub(crate) const NEXT_KEYS: &str = "/var/lib/firstboot/next-keys.pem";
/// The reason why this node could not renew its certificates, and the time of the next attempt.
pub(crate) const RENEWAL: &str = "/var/lib/firstboot/renewal.json";
/// The lock that allows only one process at a time to generate or replace keys.
pub(crate) const KEYS_LOCK: &str = "/run/firstboot/keys.lock";
/// The inode states that the overlay's files had when firstboot last compared their digests.
pub(crate) const VERIFIED: &str = "/var/lib/firstboot/verified.json";

/// The folder for updates of the image. Among other things, this folder contains the state of an
/// update, the unpacked new image, and the previous versions of the files that differ.
pub(crate) const UPDATE: &str = "/var/lib/firstboot/update";
/// The unpacked new image.
pub(crate) const UPDATE_NEW: &str = "/var/lib/firstboot/update/new";
/// The inode states that the files in [`UPDATE_NEW`] had when firstboot compared their digests.
pub(crate) const UPDATE_STAGED: &str = "/var/lib/firstboot/update/staged.json";
/// The previous image's versions of the files that differ between the two images.
pub(crate) const UPDATE_PREVIOUS: &str = "/var/lib/firstboot/update/before";
/// The progress of an update. firstboot-update.service starts only while this file exists.
pub(crate) const UPDATE_STATE: &str = "/var/lib/firstboot/update/state.json";
/// The image to which this node was updated, and the data for a return to the previous image.
pub(crate) const UPDATED: &str = "/var/lib/firstboot/update/updated.json";
/// The result of the last check for a newer image.
pub(crate) const UPDATE_LAST_CHECK: &str = "/var/lib/firstboot/update/look.json";
/// The result of the last update.
pub(crate) const UPDATE_OUTCOME: &str = "/var/lib/firstboot/update/outcome.json";
/// The path of this program.
pub(crate) const PROGRAM: &str = "/usr/local/bin/firstboot";
/// The program that performs an update: a copy of the firstboot that started the update, because
/// the update replaces the image's own program.
pub(crate) const UPDATER: &str = "/usr/local/bin/firstboot-updater";
/// The output of the updater. A command that follows the update reads this output.
pub(crate) const UPDATE_LOG: &str = "/run/firstboot/update.log";
/// The lock that allows only one process at a time to change anything below [`UPDATE`].
pub(crate) const UPDATE_LOCK: &str = "/run/firstboot/update.lock";

/// The file without which etcd.service does not start. The file is in /run, so firstboot must
/// create it again at each boot.
pub(crate) const START_PERMIT: &str = "/run/firstboot/ready";

/// The folder for firstboot's files of this boot.
pub(crate) const RUN: &str = "/run/firstboot";
/// The answers of the metadata sources in this boot.
pub(crate) const SOURCES: &str = "/run/firstboot/sources.json";

/// The lock that allows only one process at a time to prepare a restore.
pub(crate) const RESTORE_LOCK: &str = "/run/firstboot/restore.lock";
/// The lock that a running firstboot holds.
pub(crate) const LOCK: &str = "/run/firstboot/lock";

/// etcd's configuration.
pub(crate) const ETCD_CONF: &str = "/etc/etcd/etcd.conf";
/// The folder for etcd's certificates and keys.
pub(crate) const TLS: &str = "/etc/etcd/tls";
/// The port on which etcd serves its peers.
pub(crate) const PEER_PORT: u16 = 2380;
/// The port on which etcd serves clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// The client URL of etcd on this node.
pub(crate) const OWN_CLIENT_URL: &str = "https://127.0.0.1:2379";
/// etcd's volume. The volume's root directory belongs to root, and only the data directory belongs
/// to etcd.
pub(crate) const VOLUME: &str = "/var/lib/etcd";
/// etcd's data directory. The volume may also contain lost+found, archived data and firstboot's own
/// files.
pub(crate) const DATA: &str = "/var/lib/etcd/data";
/// The disk id. The disk id is on etcd's volume and not next to the journal, so that the disk id is
/// lost together with the data.
pub(crate) const DISK_ID: &str = "/var/lib/etcd/firstboot-life";
/// The file that records where etcd's WAL ended at etcd's last start or, if etcd has stopped since
/// then, at that stop. A stop for which firstboot first removed the start permit is not recorded.
pub(crate) const WAL_CHECKPOINT: &str = "/var/lib/etcd/firstboot-progress";
/// The archive of old data, which firstboot deletes only on an operator's order.
pub(crate) const ARCHIVE: &str = "/var/lib/etcd/aside";
/// The copies of the journal that the kickstart's `%pre` makes on etcd's volume when an
/// installation keeps the volume. The second path exists while `%pre` makes the copy, and after an
/// interrupted copy.
pub(crate) const INSTALLER_COPIES: [&str; 2] = [
    "/var/lib/etcd/firstboot-kept",
    "/var/lib/etcd/firstboot-kept.new",
];
/// The default folder for snapshots, and for the temporary file of an upload to an object store.
pub(crate) const BACKUPS: &str = recipes::backup::FOLDER;
/// The keys of the object store, mode 0600.
pub(crate) const S3_KEYS: &str = "/etc/firstboot/s3-keys";
/// The folder in which a restore builds etcd's new data and stores a downloaded snapshot. The
/// folder is on the volume of the old data, so that a rename can move the new data into place.
pub(crate) const RESTORE: &str = "/var/lib/etcd/restore";
/// The path of etcdutl, etcd's program for snapshots.
pub(crate) const ETCDUTL: &str = "/usr/local/bin/etcdutl";
/// The path of etcdctl. In etcd 3.4, which does not have etcdutl, etcdctl restores snapshots.
pub(crate) const ETCDCTL: &str = "/usr/local/bin/etcdctl";
