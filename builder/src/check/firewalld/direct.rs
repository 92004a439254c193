//! Checks direct.xml (firewalld 0.6.3, core/io/direct.py).

use super::element::{Element, IGNORED, REFUSED, SeenElements};
use super::reader::Reader;
use crate::check::finding::Finding;
use crate::check::kickstart::{SplitError, shell_words};
use crate::check::python::decimal;

/// The part of the file that has been read.
#[derive(Debug, Default)]
pub(super) struct Direct {
    begun: bool,
    /// The text of the open rule or passthrough, without its arguments. `None` if no such element
    /// is open, or if the rule's priority is invalid.
    open: Option<String>,
    seen: SeenElements,
}

impl Reader for Direct {
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let name = at.name();
        if name == "direct" {
            if std::mem::replace(&mut self.begun, true) {
                out.push(at.misplaced("this is a second <direct>", REFUSED, "remove it"));
            }
            return;
        }
        if !self.begun {
            out.push(at.misplaced(
                format!("<{name}> is outside of <direct>"),
                IGNORED,
                "put this element into <direct>",
            ));
            return;
        }
        at.expect(
            "ipv",
            |ipv| ["ipv4", "ipv6", "eb"].contains(&ipv),
            "ipv4, ipv6 or eb",
            out,
        );
        if name != "passthrough" {
            let tables: &[&str] = if at.text("ipv") == "eb" {
                &["nat", "filter"]
            } else {
                &["security", "raw", "mangle", "nat", "filter"]
            };
            at.expect(
                "table",
                |table| tables.contains(&table),
                &tables.join(", "),
                out,
            );
        }
        let of = format!(
            "{name} {} {} {}",
            at.text("ipv"),
            at.text("table"),
            at.text("chain")
        );
        match name {
            "chain" => self.seen.add(at, of, out),
            "rule" => {
                let priority = decimal(at.text("priority"));
                self.open = priority.map(|priority| format!("{of} {priority}"));
                // For a rule without a valid priority, firewalld fails at the end tag, because
                // firewalld then looks for a rule that does not exist.
                at.expect("priority", |_| priority.is_some(), "a whole number", out);
            }
            _ => self.open = Some(of),
        }
    }

    fn end(&mut self, at: &Element<'_>, text: &str, out: &mut Vec<Finding>) {
        if !["rule", "passthrough"].contains(&at.name()) {
            return;
        }
        let open = self.open.take();
        if text.is_empty() {
            out.push(at.misplaced(
                format!("the {} has no arguments", at.name()),
                IGNORED,
                "write the arguments into the element",
            ));
            return;
        }
        let words = match shell_words(text) {
            Ok(words) => words,
            Err(SplitError::Quote(_)) => {
                out.push(at.misplaced("a quote is not closed", REFUSED, "close the quote"));
                return;
            }
            Err(SplitError::Escape(_)) => {
                let message = "the arguments end with a backslash";
                out.push(at.misplaced(message, REFUSED, "remove it"));
                return;
            }
        };
        if let Some(open) = open {
            self.seen.add(at, format!("{open} {words:?}"), out);
        }
    }
}
