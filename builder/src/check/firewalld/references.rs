//! Finds the services, ICMP types and ipsets that a zone names but that the node does not have.
//! firewalld 0.6.3 ignores these names (core/fw_zone.py, __zone_settings). However, the kickstart
//! checks the zones with firewall-offline-cmd, which refuses a zone that names a missing service or
//! ICMP type outside a rule (core/io/zone.py, _check_config).

use std::collections::BTreeSet;

use recipes::diagnostic::nearest;
use roxmltree::Node;

use super::document::{self, ZoneFile};
use crate::check::file::File;
use crate::check::finding::Finding;
use crate::check::tables;

/// Checks the zones. `is_complete_set` is true if `files` contains all files that are added to a
/// node.
pub(super) fn cross_check(
    files: &[File<'_>],
    zones: &[ZoneFile<'_>],
    is_complete_set: bool,
) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for zone in zones {
        let elements = zone.document.descendants().filter(Node::is_element);
        let findings = elements.filter_map(|node| reference(node, files, is_complete_set));
        out.extend(findings.map(|finding| (zone.index, finding)));
    }
    out
}

/// Returns a finding if an element of a zone names something that does not exist.
fn reference(node: Node<'_, '_>, files: &[File<'_>], is_complete_set: bool) -> Option<Finding> {
    let nothing = BTreeSet::new();
    let (what, folder, attribute, stock) = match node.tag_name().name() {
        "service" => ("service", "services", "name", &*tables::FIREWALLD_SERVICES),
        "icmp-block" | "icmp-type" => (
            "ICMP type",
            "icmptypes",
            "name",
            &*tables::FIREWALLD_ICMP_TYPES,
        ),
        "source" if is_complete_set => ("ipset", "ipsets", "ipset", &nothing),
        _ => return None,
    };
    let named = node.attribute_node(attribute)?;
    let name = named.value();
    if stock.contains(name) || document::find(files, folder, name).is_some() {
        return None;
    }
    let in_rule = node
        .parent_element()
        .is_some_and(|parent| parent.tag_name().name() == "rule");
    let message = format!("firewalld 0.6.3 has no {what} {name}");
    let span = named.range_value();
    let finding = if is_complete_set && !in_rule && what != "ipset" {
        Finding::error("firewalld/reference", span, message).effect(
            "firewall-offline-cmd refuses the zone, and the installation ends with an error",
        )
    } else {
        Finding::warning("firewalld/reference", span, message)
            .effect("firewalld ignores this element, and logs a warning")
    };
    Some(match nearest(name, stock.iter().copied()) {
        Some(near) => finding.fix(format!("did you mean {near}?")),
        None => finding.fix(format!("add the file /etc/firewalld/{folder}/{name}.xml")),
    })
}
