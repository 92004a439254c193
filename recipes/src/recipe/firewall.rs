//! `[firewall]`: which addresses may connect to which ports.

use ipnet::Ipv4Net;

use super::address::NetworkRange;
use super::node::Node;
use crate::cluster::Network;
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, Table};

/// Which addresses may connect to which ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// Addresses that may connect to port 2379.
    pub clients: Vec<Ipv4Net>,
    /// Addresses that may connect to port 2380 (and 2379).
    pub peers: Vec<Ipv4Net>,
    /// Addresses that may connect to port 22.
    pub admins: Vec<Ipv4Net>,
}

/// The keys of `[firewall]`, each with the service that the addresses in its list may use.
const PORTS: [(&str, &str); 3] = [
    ("clients", "etcd, port 2379"),
    ("peers", "etcd's peers, port 2380"),
    ("admins", "ssh, port 22"),
];

/// Reads `[firewall]`. By default, each list contains the nodes' whole network. The list of peers
/// also contains the whole network, and not only the nodes in the recipe, because a member must
/// accept nodes that were added after the member's image was built.
pub(super) fn read(
    root: &Table<'_>,
    network: Option<&Network>,
    nodes: &[Located<Node>],
) -> Option<Firewall> {
    let table = root.table("firewall");
    let read = |(key, what)| table.as_ref().and_then(|table| read_list(table, key, what));
    let [clients, peers, admins] = PORTS.map(read);
    if let Some(table) = &table {
        if let Some(peers) = &peers {
            check_peers(table, peers, nodes);
        }
        table.finish();
    }
    let all = || network.map(|network| vec![network.cidr]);
    Some(Firewall {
        clients: clients.or_else(all)?,
        peers: peers.or_else(all)?,
        admins: admins.or_else(all)?,
    })
}

fn read_list(table: &Table<'_>, key: &'static str, what: &str) -> Option<Vec<Ipv4Net>> {
    let mut list = table.list::<NetworkRange>(key)?;
    let mut seen = Vec::new();
    list.retain(|at| {
        let is_new = !seen.contains(&at.value.0);
        if is_new {
            seen.push(at.value.0);
        } else {
            let message = format!("{} is already listed in `{key}`", at.value.0);
            let finding = Diagnostic::warning(at.span.clone(), message);
            table.report(finding.help("remove one of the two entries"));
        }
        is_new
    });
    for Located {
        value: NetworkRange(range),
        span,
    } in &list
    {
        if *range != range.trunc() {
            let finding = Diagnostic::error(
                span.clone(),
                format!("{range} has bits set beyond its prefix"),
            );
            table.report(finding.help(format!("did you mean {}?", range.trunc())));
        } else if range.prefix_len() == 0 {
            let finding = Diagnostic::warning(
                span.clone(),
                format!("{range} gives any address access to {what}"),
            );
            table.report(finding.help("name only the networks that need access"));
        }
    }
    Some(list.into_iter().map(|at| at.value.0).collect())
}

/// Reports the nodes that the firewalls of the other members would block. Such a node could never
/// join.
fn check_peers(table: &Table<'_>, peers: &[Ipv4Net], nodes: &[Located<Node>]) {
    let Some(place) = table.place("peers") else {
        return;
    };
    let shut_out = nodes
        .iter()
        .map(|node| &node.value)
        .filter(|node| !peers.iter().any(|net| net.contains(&node.address)));
    let names: Vec<String> = shut_out
        .map(|node| format!("{} ({})", node.name, node.address))
        .collect();
    if !names.is_empty() {
        let message = format!("`peers` excludes {}", names.join(", "));
        let finding = Diagnostic::error(place, message)
            .label("the firewalls of the other members reject connections from addresses that are not in `peers`");
        table
            .report(finding.help("add every node's address, or the network that the nodes are on"));
    }
}
