//! `[cluster]`, `[[node]]` and `[network]`: the nodes of the cluster, and their addresses.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::address::{Address, NetworkRange};
use crate::cluster::{Network, NetworkMode};
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, Table};
use crate::{Domain, Label, MachineMatch};

/// The cluster's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: Label,
    /// The domain of the full names of its nodes.
    pub domain: Domain,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's short name, which is also the name of its member.
    pub name: Label,
    /// The node's address.
    pub address: Ipv4Addr,
    /// How to recognise the machine.
    pub machine: MachineMatch,
    /// The position of the node's name in the recipe.
    pub named: std::ops::Range<usize>,
}

pub(super) fn read_cluster(root: &Table<'_>) -> Option<Cluster> {
    let Some(table) = root.table("cluster") else {
        // If the value of `cluster` has the wrong type, the reader has already reported the
        // mistake.
        if !root.has_like("cluster") {
            let finding = Diagnostic::error(0..0, "the section [cluster] is missing");
            root.report(finding.help("add the section with a `name` and a `domain`"));
        }
        return None;
    };
    let name = table.required("name", "the cluster needs a name");
    let domain = table.required(
        "domain",
        "the nodes' full names end with the domain, such as cluster.local in etcd-1.cluster.local",
    );
    table.finish();
    Some(Cluster {
        name: name?.value,
        domain: domain?.value,
    })
}

/// Reads the valid nodes, each with the position of its address.
pub(super) fn read_nodes(root: &Table<'_>) -> Vec<Located<Node>> {
    let tables = root.tables("node");
    if tables.is_empty() && !root.has_like("node") {
        root.report(
            Diagnostic::error(0..0, "no [[node]]")
                .help("a cluster has at least one node; three are recommended"),
        );
    }
    let mut seen = HashMap::new();
    let nodes: Vec<_> = tables
        .iter()
        .filter_map(|table| read_node(table, &mut seen))
        .collect();
    if let Some(last) = tables.last()
        && tables.len().is_multiple_of(2)
    {
        let (count, survives) = (tables.len(), (tables.len() - 1) / 2);
        let message = format!(
            "{count} members tolerate the loss of {survives}, which is no better than a cluster of {}",
            count - 1
        );
        root.report(
            Diagnostic::warning(last.header(), message).help(
                "use an odd number of members: an even number adds no tolerance for failures",
            ),
        );
    }
    if let Some(eighth) = tables.get(7) {
        let message = format!(
            "{} members slow the cluster down: each write waits for a majority of the members",
            tables.len()
        );
        root.report(
            Diagnostic::warning(eighth.header(), message)
                .help("etcd recommends at most seven members"),
        );
    }
    nodes
}

fn read_node(table: &Table<'_>, seen: &mut HashMap<String, String>) -> Option<Located<Node>> {
    let name: Option<Located<Label>> = table.required("name", "every node needs a name");
    let address: Option<Located<Address>> =
        table.required("address", "every node needs an IPv4 address");
    let address = address.map(|at| Located {
        value: at.value.0,
        span: at.span,
    });
    let mac: Option<Located<crate::Mac>> = table.value("mac");
    let serial: Option<Located<crate::FirmwareId>> = table.value("serial");
    let uuid: Option<Located<crate::FirmwareId>> = table.value("uuid");
    table.finish();

    let own = name
        .as_ref()
        .map_or_else(|| "another node".to_owned(), |name| name.value.to_string());
    let values = [
        ("name", text_and_span(name.as_ref())),
        ("address", text_and_span(address.as_ref())),
        ("MAC address", text_and_span(mac.as_ref())),
        ("serial", text_and_span(serial.as_ref())),
        ("uuid", text_and_span(uuid.as_ref())),
    ];
    for (what, value) in values {
        let Some((value, span)) = value else { continue };
        if let Some(first) = seen.insert(format!("{what} {value}"), own.clone()) {
            table.report(duplicates(span, what, &value, &first));
        }
    }

    let address = address?;
    if address.value.is_loopback() || address.value.is_unspecified() || address.value.is_multicast()
    {
        table.report(Diagnostic::error(
            address.span,
            format!("{} cannot be a node's address", address.value),
        ));
        return None;
    }
    let machine = MachineMatch {
        mac: mac.map(|at| at.value),
        serial: serial.map(|at| at.value),
        uuid: uuid.map(|at| at.value),
    };
    let name = name?;
    Some(Located {
        value: Node {
            name: name.value,
            address: address.value,
            machine,
            named: name.span,
        },
        span: address.span,
    })
}

/// Returns a value as text, with its position.
fn text_and_span<T: ToString>(at: Option<&Located<T>>) -> Option<(String, Range<usize>)> {
    at.map(|at| (at.value.to_string(), at.span.clone()))
}

/// Reads `[network]`. Without a `cidr`, the network is the /24 of the first node, as in the CentOS
/// 7 guide (docs/guide.md).
pub(super) fn read_network(root: &Table<'_>, nodes: &[Located<Node>]) -> Option<Network> {
    let table = root.table("network");
    let table = table.as_ref();
    let mode = table.and_then(|table| {
        table.choice(
            "mode",
            &[("dhcp", NetworkMode::Dhcp), ("static", NetworkMode::Static)],
        )
    });
    let written: Option<Located<NetworkRange>> = table.and_then(|table| table.value("cidr"));
    let written = written.map(|at| Located {
        value: at.value.0,
        span: at.span,
    });
    let gateway: Option<Located<Address>> = table.and_then(|table| table.value("gateway"));
    let gateway = gateway.map(|at| Located {
        value: at.value.0,
        span: at.span,
    });
    let dns: Vec<Located<Address>> = table
        .and_then(|table| table.list("dns"))
        .unwrap_or_default();
    // If the value of `mode` is wrong, the user may have meant `static`, so do not warn about
    // `dns`.
    let is_known = mode.is_some() || table.is_none_or(|table| table.place("mode").is_none());
    let mode = mode.map_or(NetworkMode::Dhcp, |at| at.value);
    if let Some(table) = table {
        if let (NetworkMode::Dhcp, true, Some(place)) = (mode, is_known, table.place("dns")) {
            let finding =
                Diagnostic::warning(place, "`dns` has no effect: DHCP provides the name servers");
            table.report(finding.help("remove `dns`, or set mode = \"static\""));
        }
        // The invalid `cidr` has already been reported. Do not report mistakes that may be only a
        // consequence of the invalid `cidr`.
        if written.is_none() && table.place("cidr").is_some() {
            table.finish();
            return None;
        }
        table.finish();
    }
    if let Some(at) = &written {
        check_size(root, at);
    }

    let guessed = nodes
        .first()
        .and_then(|node| Ipv4Net::new(node.value.address, 24).ok())
        .map(|net| net.trunc());
    let cidr = written.as_ref().map(|at| at.value.trunc()).or(guessed)?;
    check_nodes(root, nodes, cidr, written.is_none());
    if let Some(gateway) = &gateway {
        check_gateway(root, nodes, cidr, gateway);
    }
    Some(Network {
        mode,
        cidr,
        gateway: gateway.map(|at| at.value),
        dns: dns.into_iter().map(|at| at.value.0).collect(),
    })
}

/// Refuses nodes whose address is not the address of a host in the network. `is_guessed` means that
/// the recipe does not name a network.
fn check_nodes(root: &Table<'_>, nodes: &[Located<Node>], cidr: Ipv4Net, is_guessed: bool) {
    for node in nodes
        .iter()
        .filter(|node| !is_host(cidr, node.value.address))
    {
        let message = format!(
            "{} is not an address of a host in the network {cidr}",
            node.value.address
        );
        let mut finding = Diagnostic::error(node.span.clone(), message);
        if is_guessed {
            finding = finding.help(
                "the network was derived from the address of the first node; set `cidr` under \
                 [network]; `builder init --cidr NETWORK` does this for you",
            );
        }
        root.report(finding);
    }
}

/// Refuses a gateway whose address is a node's address, or is not the address of a host in the
/// network.
fn check_gateway(
    root: &Table<'_>,
    nodes: &[Located<Node>],
    cidr: Ipv4Net,
    gateway: &Located<Ipv4Addr>,
) {
    let taken = nodes
        .iter()
        .find(|node| node.value.address == gateway.value);
    if let Some(node) = taken {
        let message = format!(
            "the gateway {} is the address of the node {}",
            gateway.value, node.value.name
        );
        root.report(Diagnostic::error(gateway.span.clone(), message));
    } else if !is_host(cidr, gateway.value) {
        let message = format!(
            "the gateway {} is not an address of a host in the network {cidr}",
            gateway.value
        );
        root.report(Diagnostic::error(gateway.span.clone(), message));
    }
}

/// Returns whether a host on the network can have the address.
fn is_host(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    cidr.contains(&address)
        && (cidr.prefix_len() >= 31 || (address != cidr.network() && address != cidr.broadcast()))
}

/// Refuses a network that is too large, or that consists of a single address. By default, the
/// firewall gives access to exactly the addresses in the network.
fn check_size(root: &Table<'_>, cidr: &Located<Ipv4Net>) {
    let expected = match cidr.value.prefix_len() {
        0..8 => "the network is too large, and by default every address in it has access",
        32 => "the network is a single address, and by default no other client has access",
        _ => return,
    };
    let finding = Diagnostic::error(
        cidr.span.clone(),
        format!("the network {} cannot be the nodes' network", cidr.value),
    );
    root.report(
        finding
            .label(expected)
            .help("write the network that the nodes are on, as in 10.0.0.0/24"),
    );
}

/// Refuses names that a node cannot have.
pub(super) fn check_names(root: &Table<'_>, cluster: &Cluster, nodes: &[Located<Node>]) {
    for node in nodes {
        let (name, span) = (&node.value.name, node.value.named.clone());
        if name.as_str() == "localhost" {
            let finding = Diagnostic::error(
                span,
                "a node cannot be called localhost: every machine uses that name for itself",
            );
            root.report(finding.help("give the node a unique name, as in etcd-1"));
            continue;
        }
        let fqdn = format!("{name}.{}", cluster.domain);
        // This limit applies to host names (Linux, HOST_NAME_MAX) and to the common name of a
        // certificate (RFC 5280, appendix A).
        if fqdn.len() > 64 {
            let message = format!(
                "the full name {fqdn} has {} characters, but a host name has at most 64",
                fqdn.len()
            );
            root.report(
                Diagnostic::error(span, message)
                    .help("shorten the name or the `domain` under [cluster]"),
            );
        }
    }
}

/// Creates a finding about two nodes that have the same value. `span` is the position of the later
/// value.
fn duplicates(
    span: Range<usize>,
    what: &str,
    value: &impl std::fmt::Display,
    first: &str,
) -> Diagnostic {
    Diagnostic::error(span, format!("two nodes have the {what} {value}"))
        .label(format!("{first} already has this value"))
}
