//! Checks the items of the zone itself, outside its rules.

use super::super::element::{Element, IGNORED, UNINSTALLABLE};
use super::super::value::{
    TRANSPORTS, is_ipv4, is_ipv6, is_mac, is_network4, is_network6, is_protocol, port_key, ports,
};
use crate::check::finding::Finding;

/// Checks a service, port or similar item. Returns the item as normalised text, so that duplicates
/// can be found.
pub(super) fn of(at: &Element<'_>, out: &mut Vec<Finding>) -> Option<String> {
    let name = at.name();
    let (port, protocol) = (at.text("port"), at.text("protocol"));
    if ["port", "source-port", "forward-port"].contains(&name) {
        at.expect_port("port", out);
        at.expect(
            "protocol",
            |text| TRANSPORTS.contains(&text),
            "tcp, udp, sctp or dccp",
            out,
        );
    }
    let item = match name {
        "service" | "icmp-block" => format!("{name} {}", at.text("name")),
        "port" | "source-port" => format!("{name} {}/{protocol}", port_key(port)),
        "protocol" => {
            at.expect(
                "value",
                is_protocol,
                "a name from /etc/protocols, or a number up to 255",
                out,
            );
            format!("protocol {}", at.text("value"))
        }
        "icmp-type" => {
            out.push(at.misplaced(
                "<icmp-type> is outside of a rule",
                IGNORED,
                "write <icmp-block>, or put this element into a <rule>",
            ));
            return None;
        }
        "forward-port" => forward_port(at, out),
        name => name.to_owned(),
    };
    if opens_etcd(at) {
        out.push(open_to_everyone(at));
    }
    Some(item)
}

/// Checks a forward-port. Returns the forward-port as normalised text, so that duplicates can be
/// found.
fn forward_port(at: &Element<'_>, out: &mut Vec<Finding>) -> String {
    let (port, protocol) = (at.text("port"), at.text("protocol"));
    let (to_port, to) = (at.text("to-port"), at.text("to-addr"));
    if !to_port.is_empty() {
        at.expect_port("to-port", out);
    }
    // core/io/zone.py, _check_config.
    if to_port.is_empty() && to.is_empty() {
        let message = "the forward-port has neither to-port nor to-addr";
        out.push(at.misplaced(message, UNINSTALLABLE, "write to-port or to-addr"));
    }
    if !to.is_empty() {
        at.expect(
            "to-addr",
            |text| is_ipv4(text) || is_ipv6(text),
            "an address",
            out,
        );
    }
    format!(
        "forward-port {}/{protocol} to {}@{to}",
        port_key(port),
        port_key(to_port)
    )
}

/// Returns whether an item opens a port of etcd.
fn opens_etcd(at: &Element<'_>) -> bool {
    match at.name() {
        "port" => {
            at.text("protocol") == "tcp"
                && ports(at.text("port")).is_some_and(|(low, high)| low <= 2380 && high >= 2379)
        }
        "service" => ["etcd-client", "etcd-server"].contains(&at.text("name")),
        _ => false,
    }
}

/// Returns the warning about an etcd port that every host in the zone can reach.
fn open_to_everyone(at: &Element<'_>) -> Finding {
    Finding::warning(
        "firewalld/open",
        at.span.clone(),
        "an etcd port is open to every host in the zone",
    )
    .effect("any client that reaches the node can present a certificate to etcd")
    .fix("put the port into a <rule> with the allowed sources")
}

/// Checks a source. Returns `(true, name)` for an ipset, and `(false, address)` for an address.
pub(super) fn source(at: &Element<'_>, out: &mut Vec<Finding>) -> Option<(bool, String)> {
    let (address, ipset) = (at.get("address"), at.get("ipset"));
    if address.is_some() == ipset.is_some() {
        out.push(at.misplaced(
            "a source needs an address or an ipset, but not both",
            IGNORED,
            "write one of them",
        ));
        return None;
    }
    if at.get("family").is_some() {
        out.push(at.deprecated(
            "family",
            "remove the attribute; the address shows the family",
        ));
    }
    if at.get("invert").is_some() {
        out.push(at.misplaced(
            "a zone's source cannot be inverted",
            IGNORED,
            "write a <rule> with the inverted source",
        ));
        return None;
    }
    if let Some(address) = address {
        let good = |text: &str| is_network4(text) || is_network6(text) || is_mac(text);
        at.expect(
            "address",
            good,
            "an address or network such as 10.0.0.0/24",
            out,
        );
        return Some((false, address.to_owned()));
    }
    Some((true, ipset.unwrap_or_default().to_owned()))
}
