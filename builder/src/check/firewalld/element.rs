//! An element of a firewalld file, and the faults that an element can have.

use std::collections::BTreeSet;
use std::ops::Range;

use roxmltree::Node;

use super::value::ports;
use crate::check::finding::Finding;

/// An element, and its position.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) node: Node<'a, 'a>,
    /// The position of the element's name in the opening tag.
    pub(super) span: Range<usize>,
}

impl<'a> Element<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub(super) fn get(&self, attribute: &str) -> Option<&'a str> {
        self.node.attribute(attribute)
    }

    /// Returns the value of an attribute, or an empty string if the attribute is missing.
    pub(super) fn text(&self, attribute: &str) -> &'a str {
        self.get(attribute).unwrap_or_default()
    }

    /// Returns the position of an attribute's value, or of the element's name if the attribute is
    /// missing.
    pub(super) fn span_of(&self, attribute: &str) -> Range<usize> {
        let found = self
            .node
            .attributes()
            .find(|known| known.name() == attribute);
        found.map_or_else(|| self.span.clone(), |known| known.range_value())
    }

    /// Returns an error for a value that makes firewalld refuse the file.
    pub(super) fn invalid_value(&self, attribute: &str, expected: &str) -> Finding {
        let message = format!("bad value for {attribute}: `{}`", self.text(attribute));
        let finding = Finding::error("firewalld/value", self.span_of(attribute), message);
        finding.effect(REFUSED).fix(format!("expected {expected}"))
    }

    /// Reports an attribute unless `good` returns true for its value.
    pub(super) fn expect(
        &self,
        attribute: &str,
        good: impl Fn(&str) -> bool,
        expected: &str,
        out: &mut Vec<Finding>,
    ) {
        if !good(self.text(attribute)) {
            out.push(self.invalid_value(attribute, expected));
        }
    }

    /// Reports an attribute unless its value is a port or a range of ports.
    pub(super) fn expect_port(&self, attribute: &str, out: &mut Vec<Finding>) {
        self.expect(
            attribute,
            |text| ports(text).is_some(),
            "a port or a range, such as 2379 or 2379-2380",
            out,
        );
    }

    /// Returns a warning about an attribute that firewalld reads and ignores.
    pub(super) fn deprecated(&self, attribute: &str, instead: &str) -> Finding {
        let message = format!("the attribute {attribute} no longer has any effect");
        Finding::warning("firewalld/deprecated", self.span_of(attribute), message)
            .effect("firewalld ignores this attribute")
            .fix(instead)
    }

    /// Returns whether a source or destination is inverted.
    pub(super) fn inverts(&self) -> bool {
        ["yes", "true"].contains(&self.text("invert").to_lowercase().as_str())
    }

    /// Returns a warning about a duplicate.
    pub(super) fn duplicate(&self, message: impl Into<String>) -> Finding {
        Finding::warning("firewalld/twice", self.span.clone(), message)
            .effect(IGNORED)
            .fix("remove it")
    }

    /// Returns an error that marks the name of the element.
    pub(super) fn misplaced(
        &self,
        message: impl Into<String>,
        does: &str,
        instead: &str,
    ) -> Finding {
        Finding::error("firewalld/rule", self.span.clone(), message)
            .effect(does)
            .fix(instead)
    }
}

/// The items that a file has listed so far. A second item with the same text is a duplicate.
#[derive(Debug, Default)]
pub(super) struct SeenElements(BTreeSet<String>);

impl SeenElements {
    pub(super) fn add(&mut self, at: &Element<'_>, item: String, out: &mut Vec<Finding>) {
        let message = format!("{item} is already listed");
        if !self.0.insert(item) {
            out.push(at.duplicate(message));
        }
    }
}

pub(super) const REFUSED: &str = "firewalld ignores the whole file";

/// firewalld reads the file, but the kickstart's check of the configuration fails
/// (core/io/*.py, _check_config).
pub(super) const UNINSTALLABLE: &str =
    "firewall-offline-cmd refuses the file, and the installation ends with an error";

pub(super) const IGNORED: &str = "firewalld ignores this element";
