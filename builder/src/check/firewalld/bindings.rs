//! Checks the interfaces and sources that are bound to zones. With `AllowZoneDrifting=no`,
//! firewalld passes each packet to one zone: to the zone of its source, else to the zone of its
//! interface, else to the default zone (firewalld 0.6.3, core/ipXtables.py; Red Hat article
//! 4855631).

use std::net::Ipv4Addr;

use roxmltree::Node;

use super::document::{self, ZoneFile};
use super::name;
use super::value::range4;
use crate::check::file::File;
use crate::check::finding::Finding;

/// The image's own zone. It is the default zone.
const OWN_ZONE: &str = "etcd";

const INSTEAD: &str = "write <rule> elements with the source into /etc/firewalld/zones/etcd/NAME.xml, which firewalld combines with zone etcd";

/// The first and the last address of a range.
type Range = (Ipv4Addr, Ipv4Addr);

/// Checks the zones. `is_complete_set` is true if `files` contains all files that are added to a
/// node.
pub(super) fn cross_check(
    files: &[File<'_>],
    zones: &[ZoneFile<'_>],
    is_complete_set: bool,
) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for file in zones {
        out.extend(accepts_all(file, zones).map(|finding| (file.index, finding)));
    }
    if !is_complete_set {
        return out;
    }
    let own = zones.iter().filter(|file| file.zone() == OWN_ZONE);
    let admitted: Vec<(&str, Range)> = own.flat_map(admitted).collect();
    if admitted.is_empty() {
        return out;
    }
    for file in zones.iter().filter(|file| file.zone() != OWN_ZONE) {
        let taken = file
            .elements()
            .filter_map(|node| takes_packets(node, file.zone(), files, &admitted));
        out.extend(taken.map(|finding| (file.index, finding)));
    }
    out
}

fn is_binding(node: Node<'_, '_>) -> bool {
    ["interface", "source"].contains(&node.tag_name().name())
}

/// Returns a warning if a zone with a source or an interface accepts all packets.
fn accepts_all(file: &ZoneFile<'_>, zones: &[ZoneFile<'_>]) -> Option<Finding> {
    let target = file.document.root_element().attribute_node("target")?;
    let is_bound = zones
        .iter()
        .filter(|other| other.zone() == file.zone())
        .any(|other| other.elements().any(is_binding));
    if target.value() != "ACCEPT" || name::is_part(file.path) || !is_bound {
        return None;
    }
    let finding = Finding::warning(
        "firewalld/open",
        target.range_value(),
        "the zone opens all ports, including the etcd ports, to all of its hosts",
    );
    Some(
        finding
            .effect("any client that reaches the node can present a certificate to etcd")
            .fix("remove the target, and name the ports that the zone opens"),
    )
}

/// Finds the rules of a zone that accept packets, and returns the sources of these rules.
fn admitted<'a>(file: &'a ZoneFile<'_>) -> Vec<(&'a str, Range)> {
    let child = |rule: Node<'a, 'a>, name: &str| {
        rule.children()
            .find(|node| node.is_element() && node.tag_name().name() == name)
    };
    let rules = file
        .document
        .root_element()
        .children()
        .filter(|node| node.tag_name().name() == "rule");
    rules
        .filter_map(|rule| {
            child(rule, "accept")?;
            let source = child(rule, "source").filter(|source| !source.has_attribute("invert"))?;
            let address = source.attribute("address")?;
            Some((address, range4(address)?))
        })
        .collect()
}

/// Returns a warning if an interface or a source of another zone takes packets from the image's
/// zone.
fn takes_packets(
    node: Node<'_, '_>,
    zone: &str,
    files: &[File<'_>],
    admitted: &[(&str, Range)],
) -> Option<Finding> {
    if node.has_attribute("invert") {
        return None;
    }
    if node.tag_name().name() == "interface" {
        let interface = node.attribute_node("name")?;
        let message = format!("the interface {} belongs to zone {zone}", interface.value());
        let finding = Finding::warning("firewalld/binding", interface.range_value(), message);
        return Some(
            finding
                .effect("zone etcd does not apply to the packets that arrive on this interface, so their senders reach only the ports of this zone")
                .fix(format!("{INSTEAD}; keep the interface only if clients, peers and admins use another one")),
        );
    }
    if node.tag_name().name() != "source" {
        return None;
    }
    let source = node
        .attribute_node("address")
        .or_else(|| node.attribute_node("ipset"))?;
    let ranges = match source.name() {
        "address" => range4(source.value()).into_iter().collect(),
        _ => entries(files, source.value()),
    };
    let overlaps = |(_, (first, last)): &&(&str, Range)| {
        ranges
            .iter()
            .any(|(other_first, other_last)| other_first <= last && first <= other_last)
    };
    let (network, _) = admitted.iter().find(overlaps)?;
    let message = format!(
        "the source {} of zone {zone} overlaps {network}, which zone etcd admits",
        source.value()
    );
    let finding = Finding::warning("firewalld/binding", source.range_value(), message);
    Some(
        finding
            .effect("zone etcd no longer applies to these hosts, so they reach only the ports of this zone")
            .fix(INSTEAD),
    )
}

/// Returns the IPv4 addresses of an ipset. Returns nothing if `files` does not contain the ipset.
fn entries(files: &[File<'_>], ipset: &str) -> Vec<Range> {
    let Some(document) =
        document::find(files, "ipsets", ipset).and_then(|file| document::parse(file.text).ok())
    else {
        return Vec::new();
    };
    let entries = document
        .descendants()
        .filter(|node| node.tag_name().name() == "entry");
    entries
        .filter_map(|entry| range4(entry.text()?.split(',').next()?))
        .collect()
}
