//! Defines a node of the model, with its disk, its journal, and its etcd. The node uses firstboot's
//! real rules.

use super::{Entries, Member, StartRule};

use crate::data::{
    Contents, DataDirState, DataIdentity, Directories, Ids, Inode, RecordedData, WalEnd, check_data,
};
use crate::domain::{DiskId, InitialCluster};
use crate::journal::{DiskIdMatch, DiskState, NodeState, classify_disk};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Disk {
    Nothing,
    Data {
        inode: u8,
        member: Member,
        entries: Entries,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) on: bool,
    /// The log in the memory of the running etcd. The log's files may have been deleted after etcd
    /// read them.
    pub(super) running: Option<Entries>,
    pub(super) disk: Disk,
    /// The directory with the data, and the member to which the data belongs, according to the
    /// journal.
    pub(super) known: Option<(u8, Member)>,
    /// The start permit, which firstboot writes for the guard in each boot.
    pub(super) permit: Option<(u8, Member)>,
    /// An operator's copy of the data.
    pub(super) copy: Option<(Member, Entries)>,
    pub(super) inodes: u8,
}

const CLUSTER: u64 = 1;

fn id((node, nth): Member) -> u64 {
    u64::from(node) << 8 | u64::from(nth)
}

fn directories(inode: u8) -> Directories {
    let [data, member, snap, wal] =
        [0, 1, 2, 3].map(|nth| Inode::numbered(u64::from(inode) * 4 + nth));
    Directories {
        data,
        member,
        snap,
        wal,
    }
}

fn expected(known: Option<(u8, Member)>) -> RecordedData {
    let known = known.map(|(inode, member)| DataIdentity {
        directories: directories(inode),
        member: id(member),
        cluster: CLUSTER,
    });
    let ids = known.map_or_else(Ids::default, |known| known.ids());
    RecordedData {
        disk_id: Some(DiskId::of(1)),
        created: None,
        identity: known,
        ids,
    }
}

impl Disk {
    fn data_dir_state(&self) -> DataDirState {
        let gone = || "it does not exist".to_owned();
        let Self::Data {
            inode,
            member,
            entries,
        } = self
        else {
            let contents = Contents::Empty;
            return DataDirState {
                contents,
                data: None,
                directories: None,
                wal: Err(gone()),
                applied: Err(gone()),
            };
        };
        let last = entries.len() as u64;
        let log = WalEnd {
            member: id(*member),
            cluster: CLUSTER,
            last,
            commit: last,
            ..WalEnd::default()
        };
        let directories = directories(*inode);
        let (contents, data) = (Contents::HasWal, Some(directories.data));
        DataDirState {
            contents,
            data,
            directories: Some(directories),
            wal: Ok(log),
            applied: Ok(last),
        }
    }
}

impl Node {
    pub(super) fn new_inode(&mut self) -> u8 {
        self.inodes += 1;
        self.inodes
    }

    /// Returns the member whose data this node's etcd may use, according to the start permit.
    pub(super) fn runs_as(&self) -> Option<(usize, u8)> {
        self.permit.map(|(_, (node, nth))| (usize::from(node), nth))
    }

    /// Replaces the log with a leader's log. If the files of the node's own log have been deleted
    /// or replaced, the new entries are only in memory.
    pub(super) fn replicate(&mut self, now: &Entries) {
        self.running = Some(now.clone());
        if let (Disk::Data { inode, entries, .. }, Some((known, _))) = (&mut self.disk, self.known)
            && *inode == known
        {
            entries.clone_from(now);
        }
    }

    /// Returns the node after an attempt to start etcd.service, or `None` if etcd does not start.
    pub(super) fn start(&self, start_rule: StartRule) -> Option<Self> {
        self.permit?;
        if !start_rule(&expected(self.permit), &self.disk.data_dir_state()) {
            return None;
        }
        let mut started = self.clone();
        let (inode, member) = self.permit?;
        match &self.disk {
            Disk::Data { entries, .. } => started.running = Some(entries.clone()),
            // Without a log, etcd creates a new log, because the model assumes that etcd.conf still
            // contains the `initial-cluster` settings.
            Disk::Nothing => {
                started.running = Some(Vec::new());
                started.disk = Disk::Data {
                    inode,
                    member,
                    entries: Vec::new(),
                };
            }
        }
        Some(started)
    }

    /// Returns firstboot's decision on the state of the data.
    pub(super) fn disk_state(&self) -> DiskState {
        let start = InitialCluster {
            state: "new",
            token: "t".into(),
            members: vec![],
        };
        let known = expected(self.known);
        let state = NodeState {
            disk_id: known.disk_id,
            initial_cluster: Some(start),
            was_healthy: true,
            data: known.identity,
            ..NodeState::default()
        };
        let seen = self.disk.data_dir_state();
        classify_disk(
            &state,
            seen.contents,
            check_data(&known, &seen, None),
            DiskIdMatch::Matches,
        )
    }
}
