//! Checks the XML files of firewalld 0.6.3 (src/firewall/core/io/*.py, core/rich.py, functions.py)
//! and firewalld.conf. An unknown element or attribute makes firewalld ignore the whole XML file,
//! as most invalid values do. An invalid rich rule makes firewalld ignore only that rule.

mod bindings;
mod conf;
mod direct;
mod document;
mod element;
mod ipset;
mod name;
mod reader;
mod references;
mod resets;
mod rule;
mod schema;
mod service;
mod value;
mod whitelist;
mod zone;

use std::ops::Range;

use recipes::diagnostic::nearest;
use roxmltree::Node;

use super::file::File;
use super::finding::Finding;
use super::text::TextSpan;
use element::{Element, REFUSED};
use reader::Reader;
use schema::Kind;

pub(super) use conf::conf;

/// Checks a file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let document = match document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = offset(text, error.pos());
            return vec![
                Finding::error(
                    "firewalld/xml",
                    at..at,
                    format!("the file is not well-formed XML: {error}"),
                )
                .effect(REFUSED)
                .fix("close each element, and write &lt; for < and &amp; for &"),
            ];
        }
    };
    let mut out: Vec<Finding> = encoding(text).into_iter().collect();
    let root = Element {
        node: document.root_element(),
        span: name_span(text, document.root_element()),
    };
    let Some(kind) = Kind::of(path, root.name()) else {
        let message = format!(
            "firewalld 0.6.3 does not read a file with the root element <{}>",
            root.name()
        );
        let finding =
            Finding::error("firewalld/element", root.span.clone(), message).effect(REFUSED);
        let has = "the root element must be zone, service, ipset, icmptype, helper, direct or whitelist; firewalld 0.9 added policies";
        out.push(finding.fix(has));
        return out;
    };
    out.extend(name::check(path, kind));
    walk_kind(text, root.node, kind, &mut out);
    out
}

/// Checks the zones of `files` against each other and against the other files. `is_complete_set` is
/// true if `files` contains all files that are added to a node.
pub(super) fn cross_check(files: &[File<'_>], is_complete_set: bool) -> Vec<(usize, Finding)> {
    let zones = document::zones(files);
    let mut out = references::cross_check(files, &zones, is_complete_set);
    out.extend(bindings::cross_check(files, &zones, is_complete_set));
    out.extend(resets::cross_check(files, &zones));
    out
}

/// Checks the elements of a file of this kind.
fn walk_kind(text: &str, root: Node<'_, '_>, kind: Kind, out: &mut Vec<Finding>) {
    match kind {
        Kind::Zone => walk(text, root, kind, &mut zone::Zone::default(), out),
        Kind::Service | Kind::Helper | Kind::IcmpType => {
            walk(text, root, kind, &mut service::Service::of(kind), out);
        }
        Kind::IpSet => walk(text, root, kind, &mut ipset::IpSet::default(), out),
        Kind::Direct => walk(text, root, kind, &mut direct::Direct::default(), out),
        Kind::Whitelist => walk(text, root, kind, &mut whitelist::Whitelist::default(), out),
    }
}

/// Reports a file that declares UTF-16. The text is UTF-8, and expat refuses UTF-8 text that
/// declares UTF-16.
fn encoding(text: &str) -> Option<Finding> {
    let declaration = text
        .trim_start_matches('\u{feff}')
        .strip_prefix("<?xml")?
        .split("?>")
        .next()?;
    let lower = declaration.to_ascii_lowercase();
    let at = lower.find("utf-16")?;
    let start = text.len() - text.trim_start_matches('\u{feff}').len() + 5 + at;
    let finding = Finding::error(
        "firewalld/xml",
        start..start + 6,
        "the file declares UTF-16, but is not encoded in UTF-16",
    );
    Some(finding.effect(REFUSED).fix("write encoding=\"utf-8\""))
}

/// Passes the start and the end of each element in a file to a reader. Does not pass the start of a
/// faulty element, or of an element that the reader ignores.
fn walk(
    text: &str,
    root: Node<'_, '_>,
    kind: Kind,
    reader: &mut dyn Reader,
    out: &mut Vec<Finding>,
) {
    let mut words = String::new();
    let mut open = vec![(root, root.first_child())];
    begin(text, root, kind, reader, out);
    while let Some((node, next)) = open.last_mut() {
        let Some(child) = *next else {
            let at = Element {
                node: *node,
                span: name_span(text, *node),
            };
            reader.end(&at, &words, out);
            open.pop();
            continue;
        };
        *next = child.next_sibling();
        if child.is_element() {
            words.clear();
            begin(text, child, kind, reader, out);
            open.push((child, child.first_child()));
        } else if child.is_text() {
            words.push_str(&child.text().unwrap_or_default().replace('\n', " "));
        }
    }
    reader.finish(out);
}

fn begin(
    text: &str,
    node: Node<'_, '_>,
    kind: Kind,
    reader: &mut dyn Reader,
    out: &mut Vec<Finding>,
) {
    let at = Element {
        node,
        span: name_span(text, node),
    };
    if !reader.ignores() {
        if !known(&at, kind, out) {
            return;
        }
        reader.start(&at, out);
    }
}

/// Converts a position to a byte offset. roxmltree counts both lines and columns from 1, and
/// columns in characters.
fn offset(text: &str, at: roxmltree::TextPos) -> usize {
    let line = TextSpan::whole(text)
        .split('\n')
        .nth(at.row.saturating_sub(1) as usize);
    let Some(line) = line else { return text.len() };
    let within = line
        .text
        .char_indices()
        .nth(at.col.saturating_sub(1) as usize)
        .map_or(line.text.len(), |(at, _)| at);
    line.span().start + within
}

/// Returns the position of the name in an element's opening tag.
fn name_span(text: &str, node: Node<'_, '_>) -> Range<usize> {
    let start = node.range().start + 1;
    let end = text[start..]
        .find(|c: char| c.is_whitespace() || c == '>' || c == '/')
        .map_or(text.len(), |at| start + at);
    start..end
}

/// Reports an unsupported element, or the unsupported and missing attributes of a supported
/// element. Returns true if firewalld supports the element and no required attribute is missing.
fn known(at: &Element<'_>, kind: Kind, out: &mut Vec<Finding>) -> bool {
    let schema = kind.schema();
    let name = at.name();
    // firewalld's parser does not process namespaces, so xmlns is an attribute like any other.
    let spaces = at.node.namespaces().count();
    let above = at
        .node
        .parent_element()
        .map_or(0, |parent| parent.namespaces().count());
    if at.node.tag_name().namespace().is_some() || spaces > above {
        let finding = Finding::error(
            "firewalld/attribute",
            at.span.clone(),
            format!("firewalld does not support the attribute xmlns of <{name}>"),
        );
        out.push(finding.effect(REFUSED).fix("remove it"));
    }
    let Some((_, needed, optional)) = schema.iter().find(|(known, ..)| *known == name) else {
        out.push(unknown_element(at, schema));
        return false;
    };
    for attribute in at.node.attributes() {
        let own = attribute.name();
        if !needed.contains(&own) && !optional.contains(&own) {
            let finding = Finding::error(
                "firewalld/attribute",
                attribute.range_qname(),
                format!("firewalld 0.6.3 does not support the attribute {own} of <{name}>"),
            )
            .effect(REFUSED);
            out.push(match (name, own, nearest(own, needed.iter().chain(*optional).copied())) {
                ("rule", "priority", _) => finding
                    .fix("firewalld 0.7 added priorities; remove the attribute, because firewalld 0.6.3 always applies drop and reject before accept"),
                ("zone", "priority" | "ingress-priority" | "egress-priority", _) => {
                    finding.fix("a later release added the priorities of zones; remove the attribute")
                }
                (_, _, Some(near)) => finding.fix(format!("did you mean {near}?")),
                _ => finding.fix("remove it"),
            });
        }
    }
    let mut complete = true;
    for missing in needed.iter().filter(|needed| at.get(needed).is_none()) {
        complete = false;
        let message = format!("<{name}> needs the attribute {missing}");
        let finding = Finding::error("firewalld/attribute", at.span.clone(), message);
        out.push(
            finding
                .effect(REFUSED)
                .fix(format!("write {missing}=\"…\"")),
        );
    }
    complete
}

fn unknown_element(at: &Element<'_>, schema: schema::Schema) -> Finding {
    let name = at.name();
    let message = format!("firewalld 0.6.3 does not support <{name}> here");
    let finding = Finding::error("firewalld/element", at.span.clone(), message).effect(REFUSED);
    match (name, nearest(name, schema.iter().map(|(known, ..)| *known))) {
        ("forward", _) => {
            finding.fix("firewalld 0.9 added forwarding within a zone; remove the element")
        }
        ("policy" | "ingress-zone" | "egress-zone", _) => {
            finding.fix("firewalld 0.9 added policies; write rich rules in the zone")
        }
        ("include" | "helper", _) => finding
            .fix("a later release added this element; write the ports, or a <module>, instead"),
        ("tcp-mss-clamp" | "nflog", _) => {
            finding.fix("a later release added this element; remove it")
        }
        (_, Some(near)) => finding.fix(format!("did you mean <{near}>?")),
        (_, None) => finding.fix("remove it"),
    }
}
