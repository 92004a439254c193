//! Finds the services and ipsets that a zone names but that the node does not have. firewalld 0.6.3
//! logs a warning and ignores them (core/fw_zone.py, __zone_settings; core/fw_service.py,
//! check_service).

use recipes::diagnostic::nearest;
use roxmltree::{Document, Node, ParsingOptions};

use super::schema::Kind;
use crate::check::file::{File, Kind as FileKind};
use crate::check::finding::Finding;
use crate::check::tables;

/// Checks the zones of `files`. `whole` is true if `files` contains all files that are added to a
/// node.
pub(in crate::check) fn cross_check(files: &[File<'_>], whole: bool) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for (index, file) in files.iter().enumerate() {
        if FileKind::of(&file.path) != Some(FileKind::Firewalld) {
            continue;
        }
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        let Ok(document) = Document::parse_with_options(file.text, options) else {
            continue;
        };
        let root = document.root_element().tag_name().name();
        if Kind::of(&file.path, root) != Some(Kind::Zone) {
            continue;
        }
        let found = document.descendants().filter(Node::is_element);
        out.extend(
            found
                .filter_map(|node| reference(node, files, whole))
                .map(|finding| (index, finding)),
        );
    }
    out
}

/// Returns a finding if an element of a zone names a service or an ipset that does not exist.
fn reference(node: Node<'_, '_>, files: &[File<'_>], whole: bool) -> Option<Finding> {
    let (what, folder, attribute) = match node.tag_name().name() {
        "service" => ("service", "services", "name"),
        "source" if whole => ("ipset", "ipsets", "ipset"),
        _ => return None,
    };
    let named = node.attribute_node(attribute)?;
    let (name, own) = (
        named.value(),
        format!("/firewalld/{folder}/{}.xml", named.value()),
    );
    let is_stock = what == "service" && tables::FIREWALLD_SERVICES.contains(name);
    if is_stock || files.iter().any(|file| file.path.ends_with(&own)) {
        return None;
    }
    let finding = Finding::warning(
        "firewalld/reference",
        named.range_value(),
        format!("firewalld 0.6.3 has no {what} {name}"),
    )
    .effect("firewalld ignores this element, and logs a warning");
    let near = nearest(name, tables::FIREWALLD_SERVICES.iter().copied());
    Some(match near.filter(|_| what == "service") {
        Some(near) => finding.fix(format!("did you mean {near}?")),
        None => finding.fix(format!("add the file /etc{own}")),
    })
}
