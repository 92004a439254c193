//! One node: its disk, its journal, and etcd on it. The rules are the real ones.

use super::{Entries, Guard, Member};

use crate::data::{Contents, Directories, Expected, Ids, Inode, Known, Log, Seen, judge};
use crate::domain::{DiskId, Start};
use crate::journal::{DiskIdFile, DiskState, NodeState, classify_disk};

/// What is at the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Disk {
    Nothing,
    Data { inode: u8, member: Member, entries: Entries },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) on: bool,
    /// What etcd has in memory, while it runs. The files of its log may be gone meanwhile.
    pub(super) running: Option<Entries>,
    pub(super) disk: Disk,
    /// What the journal says of the data: which directory, of which member.
    pub(super) known: Option<(u8, Member)>,
    /// What the guard may read; firstboot writes it in each boot.
    pub(super) permit: Option<(u8, Member)>,
    /// A copy that somebody made.
    pub(super) copy: Option<(Member, Entries)>,
    pub(super) inodes: u8,
}

const CLUSTER: u64 = 1;

fn id((node, nth): Member) -> u64 {
    u64::from(node) << 8 | u64::from(nth)
}

fn directories(inode: u8) -> Directories {
    let [data, member, snap, wal] = [0, 1, 2, 3].map(|nth| Inode::numbered(u64::from(inode) * 4 + nth));
    Directories { data, member, snap, wal }
}

fn expected(known: Option<(u8, Member)>) -> Expected {
    let known =
        known.map(|(inode, member)| Known { directories: directories(inode), member: id(member), cluster: CLUSTER });
    let ids = known.map_or_else(Ids::default, |known| known.ids());
    Expected { life: Some(DiskId::of(1)), made: None, known, ids }
}

impl Disk {
    fn seen(&self) -> Seen {
        let gone = || "it is not there".to_owned();
        let Self::Data { inode, member, entries } = self else {
            let contents = Contents::Empty;
            return Seen { contents, data: None, directories: None, log: Err(gone()), applied: Err(gone()) };
        };
        let last = entries.len() as u64;
        let log = Log { member: id(*member), cluster: CLUSTER, last, commit: last, ..Log::default() };
        let directories = directories(*inode);
        let (contents, data) = (Contents::Log, Some(directories.data));
        Seen { contents, data, directories: Some(directories), log: Ok(log), applied: Ok(last) }
    }
}

impl Node {
    pub(super) fn new_inode(&mut self) -> u8 {
        self.inodes += 1;
        self.inodes
    }

    /// As which member etcd runs here, if it runs.
    pub(super) fn runs_as(&self) -> Option<(usize, u8)> {
        self.permit.map(|(_, (node, nth))| (usize::from(node), nth))
    }

    /// A leader's log. Where the files of its own are gone, it has them in memory alone.
    pub(super) fn takes(&mut self, now: &Entries) {
        self.running = Some(now.clone());
        if let (Disk::Data { inode, entries, .. }, Some((known, _))) = (&mut self.disk, self.known)
            && *inode == known
        {
            entries.clone_from(now);
        }
    }

    /// etcd.service is started, by whomever.
    pub(super) fn start(&self, guard: Guard) -> Option<Self> {
        self.permit?;
        if !guard(&expected(self.permit), &self.disk.seen()) {
            return None;
        }
        let mut started = self.clone();
        let (inode, member) = self.permit?;
        match &self.disk {
            Disk::Data { entries, .. } => started.running = Some(entries.clone()),
            // As etcd does with an etcd.conf that still names the cluster.
            Disk::Nothing => {
                started.running = Some(Vec::new());
                started.disk = Disk::Data { inode, member, entries: Vec::new() };
            }
        }
        Some(started)
    }

    /// What firstboot makes of it.
    pub(super) fn is_current(&self) -> DiskState {
        let start = Start { state: "new", token: "t".into(), members: vec![] };
        let known = expected(self.known);
        let past = NodeState {
            disk_id: known.life,
            begun: Some(start),
            healthy: true,
            data: known.known,
            ..NodeState::default()
        };
        let seen = self.disk.seen();
        classify_disk(&past, seen.contents, judge(&known, &seen, None), DiskIdFile::Matches)
    }
}
