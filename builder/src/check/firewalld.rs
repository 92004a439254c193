//! firewalld 0.6.3: zones, services and ipsets (src/firewall/core/io/*.py), firewalld.conf. An element or attribute that it
//! does not know, and it leaves out the whole file.

mod conf;
mod schema;

use std::net::IpAddr;
use std::ops::Range;

use recipes::diagnostic::nearest;
use roxmltree::{Document, Node};

use super::finding::Finding;
use super::text::Part;
use schema::{IPSET, SERVICE, Schema, ZONE};

pub(super) use conf::conf;

const REFUSED: &str = "firewalld leaves out the whole file";

pub(super) fn check(text: &str) -> Vec<Finding> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = offset(text, error.pos());
            return vec![
                Finding::error("firewalld/xml", at..at, format!("this is no XML: {error}"))
                    .does(REFUSED)
                    .instead("close each element, write &lt; for < and &amp; for &"),
            ];
        }
    };
    let root = document.root_element();
    let schema = match root.tag_name().name() {
        "zone" => ZONE,
        "service" => SERVICE,
        "ipset" => IPSET,
        other => {
            let finding = Finding::error(
                "firewalld/element",
                name_span(text, root),
                format!("firewalld 0.6.3 reads no file of <{other}>"),
            )
            .does(REFUSED);
            return vec![finding.instead("it has <zone>, <service>, <ipset>; policies came with 0.9")];
        }
    };
    let mut out = Vec::new();
    for node in root.descendants().filter(Node::is_element) {
        element(text, node, schema, &mut out);
    }
    if root.tag_name().name() == "zone" {
        zone(text, root, &mut out);
    }
    out
}

/// roxmltree counts lines from 1, and columns in characters.
fn offset(text: &str, at: roxmltree::TextPos) -> usize {
    let line = Part::whole(text).split('\n').nth(at.row.saturating_sub(1) as usize);
    let Some(line) = line else { return text.len() };
    let within = line.text.char_indices().nth(at.col.saturating_sub(1) as usize).map_or(line.text.len(), |(at, _)| at);
    line.span().start + within
}

/// The name in an element's opening tag.
fn name_span(text: &str, node: Node<'_, '_>) -> Range<usize> {
    let start = node.range().start + 1;
    let end =
        text[start..].find(|c: char| c.is_whitespace() || c == '>' || c == '/').map_or(text.len(), |at| start + at);
    start..end
}

fn element(text: &str, node: Node<'_, '_>, schema: Schema, out: &mut Vec<Finding>) {
    let name = node.tag_name().name();
    let span = name_span(text, node);
    let Some((_, needed, optional)) = schema.iter().find(|(known, ..)| *known == name) else {
        let finding =
            Finding::error("firewalld/element", span, format!("firewalld 0.6.3 has no <{name}> here")).does(REFUSED);
        out.push(match (name, nearest(name, schema.iter().map(|(known, ..)| *known))) {
            ("forward", _) => finding.instead("forwarding within a zone came with 0.9: take it away"),
            ("ingress-zone" | "egress-zone", _) => {
                finding.instead("policies came with 0.9: write rich rules in the zone")
            }
            ("include" | "helper", _) => finding.instead("it came later: write the ports, or a <module>"),
            ("tcp-mss-clamp" | "nflog", _) => finding.instead("it came later: take it away"),
            (_, Some(near)) => finding.instead(format!("did you mean <{near}>?")),
            (_, None) => finding.instead("take it away"),
        });
        return;
    };
    for attribute in node.attributes() {
        let own = attribute.name();
        if needed.contains(&own) || optional.contains(&own) {
            continue;
        }
        let finding = Finding::error(
            "firewalld/attribute",
            attribute.range_qname(),
            format!("<{name}> has no attribute {own} in 0.6.3"),
        )
        .does(REFUSED);
        out.push(match (name, own, nearest(own, needed.iter().chain(*optional).copied())) {
            ("rule", "priority", _) => finding
                .instead("priorities came with 0.7: take it away; drop and reject come before accept by themselves"),
            ("zone", "priority" | "ingress-priority" | "egress-priority", _) => {
                finding.instead("priorities of zones came later: take it away")
            }
            (_, _, Some(near)) => finding.instead(format!("did you mean {near}?")),
            _ => finding.instead("take it away"),
        });
    }
    for missing in needed.iter().filter(|needed| node.attribute(**needed).is_none()) {
        out.push(
            Finding::error("firewalld/attribute", span.clone(), format!("<{name}> needs the attribute {missing}"))
                .does(REFUSED)
                .instead(format!("write {missing}=\"…\"")),
        );
    }
    values(node, out);
}

fn values(node: Node<'_, '_>, out: &mut Vec<Finding>) {
    let name = node.tag_name().name();
    for attribute in node.attributes() {
        let (value, span) = (attribute.value(), attribute.range_value());
        let expected = match (name, attribute.name()) {
            ("port" | "source-port" | "forward-port", "port" | "to-port") if !is_port(value) => {
                "a port or a rising range, as in 2379 or 2379-2380"
            }
            ("port" | "source-port" | "forward-port", "protocol")
                if !["tcp", "udp", "sctp", "dccp"].contains(&value) =>
            {
                "tcp, udp, sctp or dccp"
            }
            ("rule", "family") if !["ipv4", "ipv6"].contains(&value) => "ipv4 or ipv6",
            ("zone", "target") if !["ACCEPT", "DROP", "%%REJECT%%", "default", "{chain}_{zone}"].contains(&value) => {
                "ACCEPT, DROP, %%REJECT%% or default"
            }
            ("source", "address") if !is_address(value) && !is_mac(value) => "an address or network, as in 10.0.0.0/24",
            ("destination", "address") if !is_address(value) => "an address or network, as in 10.0.0.0/24",
            ("log", "level")
                if !["emerg", "alert", "crit", "error", "err", "warning", "warn", "notice", "info", "debug"]
                    .contains(&value) =>
            {
                "emerg, alert, crit, error, warning, notice, info or debug"
            }
            _ => continue,
        };
        out.push(
            Finding::error("firewalld/value", span, format!("bad value for {}: `{value}`", attribute.name()))
                .does(REFUSED)
                .instead(format!("expected {expected}")),
        );
    }
}

fn is_port(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match text.split_once('-') {
        Some((low, high)) => port(low).zip(port(high)).is_some_and(|(low, high)| low < high),
        None => port(text).is_some(),
    }
}

fn is_address(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let mask = |prefix: &str| address.is_ipv4() && prefix.parse::<std::net::Ipv4Addr>().is_ok();
    prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|bits| bits <= longest) || mask(prefix))
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6
        && text.split(':').all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
}

/// What a zone's parts say together.
fn zone(text: &str, root: Node<'_, '_>, out: &mut Vec<Finding>) {
    const ELEMENTS: [&str; 8] =
        ["service", "port", "protocol", "source-port", "icmp-block", "icmp-type", "masquerade", "forward-port"];
    const ACTIONS: [&str; 4] = ["accept", "reject", "drop", "mark"];
    let children = |node: Node<'_, '_>, names: &[&str]| {
        node.children().filter(|child| names.contains(&child.tag_name().name())).count()
    };
    for node in root.children().filter(Node::is_element) {
        let (name, span) = (node.tag_name().name(), name_span(text, node));
        let mut rule = |message: &str, instead: &str| {
            out.push(
                Finding::error("firewalld/rule", span.clone(), message)
                    .does("firewalld leaves out the rule")
                    .instead(instead),
            );
        };
        if name == "rule" {
            if children(node, &ELEMENTS) > 1 {
                rule("a rule with more than one service, port or the like", "write a rule for each");
            }
            if children(node, &ACTIONS) > 1 {
                rule("a rule with more than one action", "write a rule for each");
            }
            if children(node, &["source"]) > 1 || children(node, &["destination"]) > 1 {
                rule("a rule with more than one source or destination", "write a rule for each, or name an ipset");
            }
            if children(node, &ACTIONS) == 0
                && children(node, &["log", "audit", "masquerade", "forward-port", "icmp-block"]) == 0
            {
                rule("a rule without accept, reject, drop or mark", "say what is to be done");
            }
            mixed_families(node, out);
        } else if ACTIONS.contains(&name) || ["destination", "audit", "log"].contains(&name) {
            rule(&format!("<{name}> outside of a rule"), "put it into a <rule>");
        } else if name == "port"
            && node.attribute("port").is_some_and(|port| ["2379", "2380", "2379-2380"].contains(&port))
        {
            out.push(
                Finding::warning("firewalld/open", span, "etcd's port, open to everyone in the zone")
                    .does("whoever reaches the node can try its certificates")
                    .instead("put it into a <rule> with the sources that may"),
            );
        }
    }
}

/// A rule for one family with an address of the other.
fn mixed_families(rule: Node<'_, '_>, out: &mut Vec<Finding>) {
    for node in rule.children() {
        let Some(attribute) = node.attributes().find(|attribute| attribute.name() == "address") else { continue };
        let family = if attribute.value().contains(':') && !is_mac(attribute.value()) { "ipv6" } else { "ipv4" };
        let wrong = match rule.attribute("family") {
            Some(own) => own != family && is_address(attribute.value()),
            None => is_address(attribute.value()),
        };
        if wrong {
            out.push(
                Finding::error(
                    "firewalld/family",
                    attribute.range_value(),
                    "the rule's family does not fit this address",
                )
                .does("firewalld leaves out the rule")
                .instead(format!("write <rule family=\"{family}\">")),
            );
        }
    }
}
