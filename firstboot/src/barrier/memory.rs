//! What the barrier takes from the journal.

use recipes::{ClusterDocument, Label};

use super::decide::Memory;
use super::epoch::Epoch;
use crate::domain::{Lives, Nonce, Task};
use crate::journal::{Past, Told};

impl Memory {
    /// What a node remembers that was told to restore.
    pub(crate) fn of_order(past: &Past, cluster: &ClusterDocument, name: &Label, told: &Told) -> Self {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let epoch = |(lives, task): &(Lives, Task)| Epoch::new(cluster, lives.clone(), *task);
        Self {
            name: name.clone(),
            initial: names.filter(|name| !told.without.contains(name)).collect(),
            without: told.without.clone(),
            nonce: told.nonce,
            epochs: past.told_ready.iter().map(epoch).collect(),
            task: told.task,
        }
    }

    /// What a node remembers that begins or joins a cluster with an empty disk.
    pub(crate) fn of_new(past: &Past, cluster: &ClusterDocument, name: &Label, nonce: Nonce) -> Self {
        let names = cluster.members.iter().map(|member| member.name.clone());
        let epochs: &[Lives] = if past.nonce == Some(nonce) { &past.ready } else { &[] };
        Self {
            name: name.clone(),
            initial: names.filter(|name| !past.without.contains(name)).collect(),
            without: past.without.clone(),
            nonce,
            epochs: epochs.iter().map(|lives| Epoch::new(cluster, lives.clone(), Task::New)).collect(),
            task: Task::New,
        }
    }
}
