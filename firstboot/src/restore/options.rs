//! The command line of `firstboot restore`.

use std::path::PathBuf;

use recipes::Label;

/// What the command line says.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the command line")]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Options {
    /// The snapshot: a file, s3://bucket/prefix/NAME or an https address. Say the same on every member, in any order
    #[arg(group = "what")]
    pub(super) snapshot: Option<PathBuf>,
    /// Fetch the snapshot from this member, on which `firstboot restore` waits
    #[arg(long, value_name = "PEER", group = "what")]
    pub(super) from: Option<Label>,
    /// The secret key (a file of age's) for a snapshot that is encrypted
    #[arg(long, value_name = "FILE", requires = "snapshot")]
    pub(super) identity: Option<PathBuf>,
    /// Return to the data that the last restore set aside, on every member
    #[arg(long, group = "what")]
    pub(super) rollback: bool,
    /// List what was set aside
    #[arg(long, group = "what")]
    pub(super) list: bool,
    /// Delete what was set aside more than so many days ago
    #[arg(long, value_name = "DAYS", group = "what")]
    pub(super) prune: Option<u64>,
    /// Go without these members. More than half must be left
    #[arg(long, num_args = 1.., value_name = "NAME", value_delimiter = ',')]
    pub(super) without: Vec<Label>,
    /// This machine alone: the others are gone, and join it again when they are installed again
    #[arg(long, conflicts_with = "without")]
    pub(super) solo: bool,
    /// Take a file that does not end with etcd's digest, as a copy of member/snap/db. Its pages are checked all the same
    #[arg(long)]
    pub(super) skip_hash_check: bool,
    /// Go on from the snapshot's revision, though clients may have seen later ones
    #[arg(long)]
    pub(super) keep_revision: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// For how many seconds to wait for the others before all is given up, and for the cluster when it starts
    #[arg(long, default_value_t = 900)]
    pub(super) deadline: u64,
}
