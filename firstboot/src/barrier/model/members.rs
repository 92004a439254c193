//! A model checker for members that lose their data. A member's data can be deleted, or replaced
//! with an older copy or with another member's data, at any moment, even while other members are
//! down. The checker shows that no elected leader ever lacks an acknowledged write.
//!
//! The model includes only the relevant parts of raft. A log is a list of writes. If a majority of
//! the voters is running, these voters can elect a leader: the voter among them with the newest
//! log. The leader adds a write to its log. The write is acknowledged after a majority has stored
//! it. A new member receives the leader's log and then becomes a voter. The nodes follow the real
//! rules: `check_data` decides whether etcd may start, and `classify_disk` decides how firstboot
//! continues.
//!
//! The model makes one simplification. In reality, a few milliseconds pass between the creation of
//! etcd's first log and the entry in firstboot's journal, and etcd can vote in that time. In the
//! model, the log and the entry in the journal are created at the same instant.

use crate::data::{DataCheck, DataDirState, RecordedData, check_data};
use crate::journal::DiskState;
use node::{Disk, Node};

/// The numbers of the writes in a log. A write with a higher number was made under the same leader
/// or a later leader.
type Entries = Vec<u8>;
/// A member, identified by the number of its node and by the number of times that the node was
/// rebuilt before it became this member.
type Member = (u8, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Node>,
    /// For each node, the number of rebuilds that identifies the node's voting [`Member`], or
    /// `None` if the node has no voter.
    voters: Vec<Option<u8>>,
    /// For each node, the number of times that it has been rebuilt.
    members: Vec<u8>,
    acknowledged: Entries,
    left: Budget,
}

/// The number of events of each kind that can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) writes: u8,
    /// The number of times that a node's data is deleted, or replaced with a copy or with another
    /// member's data.
    pub(super) losses: u8,
    /// The number of copies of data that the operator makes.
    pub(super) copies: u8,
    pub(super) kills: u8,
    /// The number of times that a node is switched off.
    pub(super) offs: u8,
}

/// The rule that decides whether etcd may start.
pub(super) type StartRule = fn(&RecordedData, &DataDirState) -> bool;

/// The rule that firstboot actually uses.
pub(super) const START_RULE: StartRule =
    |expected, seen| check_data(expected, seen, None) == DataCheck::Intact;

impl World {
    fn new(count: u8, left: Budget) -> Self {
        let node = |number| Node {
            on: true,
            running: Some(Vec::new()),
            disk: Disk::Data {
                inode: 0,
                member: (number, 0),
                entries: Vec::new(),
            },
            known: Some((0, (number, 0))),
            permit: Some((0, (number, 0))),
            copy: None,
            inodes: 0,
        };
        Self {
            nodes: (0..count).map(node).collect(),
            voters: vec![Some(0); usize::from(count)],
            members: vec![0; usize::from(count)],
            acknowledged: Vec::new(),
            left,
        }
    }

    /// Returns the nodes whose etcd is running as the node's voter. etcd reads its member id from
    /// its WAL, so a node's etcd may also run as a member that is no longer a voter.
    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.votes(*at)).collect()
    }

    fn votes(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.running.is_some()
            && self.voters[at].is_some()
            && node.runs_as() == self.voters[at].map(|nth| (at, nth))
    }

    fn quorum(&self) -> usize {
        self.voters.iter().flatten().count() / 2 + 1
    }

    /// Returns quorums of running voters, each with its leader. The result contains every quorum of
    /// the smallest possible size. If the set of all running voters is larger, the result contains
    /// this set too.
    fn majorities(&self) -> Vec<(usize, Vec<usize>)> {
        let (running, quorum) = (self.running(), self.quorum());
        let mut found = Vec::new();
        for bits in 0_u32..1 << running.len() {
            let some: Vec<usize> = running
                .iter()
                .enumerate()
                .filter(|(nth, _)| bits >> nth & 1 == 1)
                .map(|(_, at)| *at)
                .collect();
            if some.len() == quorum || some.len() == running.len() && some.len() > quorum {
                let newest = some.iter().copied().max_by_key(|at| {
                    let entries = self.nodes[*at].running.clone().unwrap_or_default();
                    (entries.last().copied(), entries.len())
                });
                found.extend(newest.map(|leader| (leader, some)));
            }
        }
        found
    }

    /// Returns the log of a majority's leader, or an error if an acknowledged write is missing from
    /// the log.
    fn leader_log(&self, leader: usize) -> Result<Entries, String> {
        let entries = self.nodes[leader].running.clone().unwrap_or_default();
        let lost: Vec<&u8> = self
            .acknowledged
            .iter()
            .filter(|write| !entries.contains(write))
            .collect();
        if lost.is_empty() {
            Ok(entries)
        } else {
            Err(format!(
                "n{leader} leads without the acknowledged writes {lost:?}: {self:?}"
            ))
        }
    }

    fn writes(&self) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        for (leader, majority) in self.majorities() {
            let mut entries = self.leader_log(leader)?;
            if self.left.writes == 0 {
                continue;
            }
            let mut after = self.clone();
            after.left.writes -= 1;
            let write = u8::try_from(self.acknowledged.len()).unwrap_or_default();
            entries.push(write);
            after.acknowledged.push(write);
            for at in &majority {
                after.nodes[*at].replicate(&entries);
            }
            next.push(after);
        }
        Ok(next)
    }

    /// Models how firstboot rebuilds a node after a majority of the other members permits the
    /// rebuild. firstboot removes the node's old member, and then the node joins as a new member
    /// with the leader's log. The model has two steps, because the node can be switched off between
    /// the removal and the join.
    fn rebuild(&self, at: usize) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        for (leader, majority) in self.majorities() {
            let entries = self.leader_log(leader)?;
            let mut after = self.clone();
            // A membership change is an entry of the log, so a majority has every earlier entry.
            for at in &majority {
                after.nodes[*at].replicate(&entries);
            }
            if after.voters[at].take().is_none() {
                after.members[at] += 1;
                let member = (u8::try_from(at).unwrap_or_default(), after.members[at]);
                after.voters[at] = Some(after.members[at]);
                let node = &mut after.nodes[at];
                let inode = node.new_inode();
                node.disk = Disk::Data {
                    inode,
                    member,
                    entries: entries.clone(),
                };
                (node.known, node.permit) = (Some((inode, member)), Some((inode, member)));
                node.running = Some(entries);
            }
            next.push(after);
        }
        Ok(next)
    }

    /// Returns all possible next states.
    fn next(&self, start_rule: StartRule) -> Result<Vec<Self>, String> {
        let mut next = self.writes()?;
        for at in 0..self.nodes.len() {
            next.extend(self.external_events(at));
            let node = &self.nodes[at];
            if !node.on || node.running.is_some() {
                continue;
            }
            if let Some(started) = node.start(start_rule) {
                let mut after = self.clone();
                after.nodes[at] = started;
                next.push(after);
            }
            match node.disk_state() {
                DiskState::Existing { .. } if node.permit != node.known => {
                    let mut after = self.clone();
                    after.nodes[at].permit = node.known;
                    next.push(after);
                }
                DiskState::Existing { .. } => {}
                DiskState::NoData { .. } | DiskState::UnusableData(_) => {
                    next.extend(self.rebuild(at)?);
                }
                other => {
                    return Err(format!(
                        "n{at} finds its disk in the unexpected state {other:?}: {self:?}"
                    ));
                }
            }
        }
        Ok(next)
    }

    /// Returns the states after each event that affects a node from outside.
    fn external_events(&self, at: usize) -> Vec<Self> {
        let mut next = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut after = self.clone();
            change(&mut after);
            next.push(after);
        };
        let node = &self.nodes[at];
        if self.left.kills > 0 && node.running.is_some() {
            with(&|after| {
                after.left.kills -= 1;
                after.nodes[at].running = None;
            });
        }
        if self.left.offs > 0 && node.on {
            with(&|after| {
                after.left.offs -= 1;
                let node = &mut after.nodes[at];
                (node.on, node.running, node.permit) = (false, None, None);
            });
        }
        if !node.on {
            with(&|after| after.nodes[at].on = true);
        }
        if self.left.copies > 0
            && let Disk::Data {
                member, entries, ..
            } = &node.disk
        {
            with(&|after| {
                after.left.copies -= 1;
                after.nodes[at].copy = Some((*member, entries.clone()));
            });
        }
        if self.left.losses > 0 {
            if node.disk != Disk::Nothing {
                with(&|after| {
                    after.left.losses -= 1;
                    after.nodes[at].disk = Disk::Nothing;
                });
            }
            let others = self.nodes.iter().filter_map(|node| node.copy.clone());
            for (member, entries) in others {
                with(&|after| {
                    after.left.losses -= 1;
                    let node = &mut after.nodes[at];
                    let inode = node.new_inode();
                    node.disk = Disk::Data {
                        inode,
                        member,
                        entries: entries.clone(),
                    };
                });
            }
        }
        next
    }
}

mod explore;
mod node;
mod tests;
