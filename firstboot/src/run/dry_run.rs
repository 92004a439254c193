//! `firstboot run --dry-run`: shows what a run would change.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Result;
use recipes::Label;
use serde::Serialize;

use crate::change::Change;
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::steps::etcd_conf;
use crate::{paths, rotation, steps};

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DryRun {
    node: Label,
    cluster: Label,
    address: Ipv4Addr,
    changes: Vec<String>,
    next: Option<Next>,
}

/// What the run would do after it has made the changes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Next {
    BootstrapOrJoin,
    SwitchCertificates,
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, cluster, address) = (&self.node, &self.cluster, self.address);
        writeln!(f, "{node} of cluster {cluster} at {address}")?;
        for change in &self.changes {
            writeln!(f, "would do: {change}")?;
        }
        match self.next {
            Some(Next::BootstrapOrJoin) => writeln!(
                f,
                "would then bootstrap a cluster with the other members, or join the running \
                 cluster, and start etcd"
            ),
            Some(Next::SwitchCertificates) => writeln!(
                f,
                "would then switch to the document's CAs and certificates once all other members are ready for them"
            ),
            None if self.changes.is_empty() => writeln!(f, "no changes"),
            None => Ok(()),
        }
    }
}

pub(super) fn plan(identity: &Identity) -> Result<DryRun> {
    let mut changes: Vec<Change> = steps::network::plan(identity)?.into_iter().collect();
    changes.extend(steps::plan(identity)?);
    let journal = Journal::open_read_only(paths::JOURNAL)?;
    let state = NodeState::of(&journal);
    if let Some(start) = &state.initial_cluster {
        changes.extend(etcd_conf::plan(identity, start, state.data.is_some())?);
    }
    let next = if state.initial_cluster.is_none() {
        Some(Next::BootstrapOrJoin)
    } else if !rotation::is_complete(identity) {
        Some(Next::SwitchCertificates)
    } else {
        None
    };
    let node = &identity.node;
    Ok(DryRun {
        node: node.name.clone(),
        cluster: node.cluster.clone(),
        address: node.address,
        changes: changes.iter().map(ToString::to_string).collect(),
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_dry_run() {
        let planned = DryRun {
            node: "etcd-1".parse().unwrap(),
            cluster: "demo".parse().unwrap(),
            address: Ipv4Addr::LOCALHOST,
            changes: Vec::new(),
            next: None,
        };
        assert_eq!(
            documented("json.md", "firstboot run --dry-run"),
            keys(&planned)
        );
    }
}
