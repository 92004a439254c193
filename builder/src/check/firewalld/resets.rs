//! Checks rules that reject packets with a TCP reset. The kernel refuses such a rule unless the
//! rule matches only TCP (net/ipv4/netfilter/ipt_REJECT.c and net/ipv6/netfilter/ip6t_REJECT.c,
//! `reject_tg6_check`). firewalld passes the rules of all zones to iptables-restore in one call. If
//! the kernel refuses one rule, iptables-restore loads none of the rules (firewalld 0.6.3,
//! core/ipXtables.py, `_rich_rule_action`; core/fw.py).

use roxmltree::Node;

use super::document::{self, ZoneFile};
use crate::check::file::File;
use crate::check::finding::Finding;
use crate::check::python::decimal;
use crate::check::tables;

/// Checks the zones.
pub(super) fn cross_check(files: &[File<'_>], zones: &[ZoneFile<'_>]) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for zone in zones {
        let rules = zone
            .elements()
            .filter(|node| node.tag_name().name() == "rule");
        let findings = rules.filter_map(|rule| reset(rule, files));
        out.extend(findings.map(|finding| (zone.index, finding)));
    }
    out
}

/// Returns an error if a rule answers with a TCP reset to packets that may belong to another
/// protocol.
fn reset(rule: Node<'_, '_>, files: &[File<'_>]) -> Option<Finding> {
    let reject = rule
        .children()
        .find(|node| node.tag_name().name() == "reject")?;
    let kind = reject.attribute_node("type")?;
    let is_reset = match rule.attribute("family")? {
        "ipv4" => ["tcp-reset", "tcp-rst"].contains(&kind.value()),
        _ => kind.value() == "tcp-reset",
    };
    if !is_reset || is_tcp_only(rule, files) {
        return None;
    }
    let message = "the rule rejects with a TCP reset, but does not match only TCP packets";
    let finding = Finding::error("firewalld/reject", kind.range_value(), message);
    Some(
        finding
            .effect("iptables refuses the rule, and firewalld then loads the rules of no zone")
            .fix("name a tcp port or <protocol value=\"tcp\"/> in the rule, or remove the type"),
    )
}

/// Returns whether a rule matches only TCP packets. Also returns true if the rule names an unknown
/// service.
fn is_tcp_only(rule: Node<'_, '_>, files: &[File<'_>]) -> bool {
    let conditions = [
        "service",
        "port",
        "source-port",
        "protocol",
        "icmp-type",
        "icmp-block",
        "masquerade",
        "forward-port",
    ];
    let condition = rule
        .children()
        .find(|node| conditions.contains(&node.tag_name().name()));
    let Some(condition) = condition else {
        return false;
    };
    let text = |name: &str| condition.attribute(name).unwrap_or_default();
    match condition.tag_name().name() {
        "port" | "source-port" => is_tcp(text("protocol")),
        "protocol" => is_tcp(text("value")),
        "service" => is_tcp_service(text("name"), files),
        "icmp-type" => false,
        // firewalld ignores a rule that has an action and any other condition, so such a rule is
        // harmless.
        _ => true,
    }
}

fn is_tcp(protocol: &str) -> bool {
    ["tcp", "TCP"].contains(&protocol) || decimal(protocol) == Some(6)
}

fn is_tcp_service(name: &str, files: &[File<'_>]) -> bool {
    let Some(own) = document::find(files, "services", name) else {
        return !tables::FIREWALLD_NOT_TCP.contains(name);
    };
    let Ok(document) = document::parse(own.text) else {
        return true;
    };
    document
        .descendants()
        .all(|node| match node.tag_name().name() {
            "port" | "source-port" => is_tcp(node.attribute("protocol").unwrap_or_default()),
            "protocol" => is_tcp(node.attribute("value").unwrap_or_default()),
            _ => true,
        })
}
