//! The command line of `firstboot restore`.

use std::path::PathBuf;

use recipes::Label;

/// The command line of `firstboot restore`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is a command-line option"
)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "Run the command with the same snapshot on every member, in any order. etcd stops \
        only after the snapshot has been verified. After a failure, etcd starts with its previous \
        data, unless the error has the id restore-binding.\n\nExit codes: 0 the data is restored; 1 failed; 3 refused; 4 the restore was \
        abandoned, or there was no quorum within the deadline.\n\nEnvironment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3:// (default: \
        /etc/firstboot/s3-keys).\n\nExamples:\n  firstboot restore --dry-run /root/etcd.db\n  \
        firstboot restore /root/etcd.db\n  firstboot restore --from etcd-1\n  firstboot restore \
        --rollback"
)]
pub(crate) struct Options {
    /// The snapshot: a file, s3://BUCKET/PREFIX/NAME or an HTTPS URL
    #[arg(group = "what")]
    pub(super) snapshot: Option<PathBuf>,
    /// Download the snapshot from this member, on which `firstboot restore` is waiting
    #[arg(long, value_name = "PEER", group = "what")]
    pub(super) from: Option<Label>,
    /// Decrypt the snapshot with the secret key in this age identity file
    #[arg(long, value_name = "FILE", requires = "snapshot")]
    pub(super) identity: Option<PathBuf>,
    /// Return every member to the data that the last restore archived
    #[arg(long, group = "what")]
    pub(super) rollback: bool,
    /// List the archived data
    #[arg(long, group = "what")]
    pub(super) list: bool,
    /// Delete data that was archived more than this many days ago
    #[arg(long, value_name = "DAYS", group = "what")]
    pub(super) prune: Option<u64>,
    /// Restore without these members. More than half of the members must remain
    #[arg(long, num_args = 1.., value_name = "NAME", value_delimiter = ',')]
    pub(super) without: Vec<Label>,
    /// Restore only this machine. The other machines join its cluster when they are reinstalled
    #[arg(long, conflicts_with = "without")]
    pub(super) solo: bool,
    /// Accept a file without etcd's digest at its end, such as a copy of member/snap/db. firstboot
    /// still checks the pages of the file
    #[arg(long)]
    pub(super) skip_hash_check: bool,
    /// Continue with the snapshot's revision, although clients may have seen later revisions
    #[arg(long)]
    pub(super) keep_revision: bool,
    /// Print the planned changes without making them
    #[arg(long)]
    pub(super) dry_run: bool,
    /// After the command has succeeded, print the plan of the restore, the list, or the deleted
    /// folders, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Abandon the restore if the other members are not ready within this many seconds. After the
    /// data is replaced, wait at most this many seconds for a quorum
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = crate::operator::timeout_parser())]
    pub(super) deadline: u64,
}
