//! Checks lockdown-whitelist.xml (firewalld 0.6.3, core/io/lockdown_whitelist.py; functions.py,
//! checkCommand, checkUser, checkContext).

use super::element::{Element, IGNORED, REFUSED};
use super::reader::Reader;
use crate::check::finding::Finding;
use crate::check::python::decimal;

/// The part of the file that has been read.
#[derive(Debug, Default)]
pub(super) struct Whitelist {
    begun: bool,
    seen: std::collections::BTreeSet<String>,
}

impl Reader for Whitelist {
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        if at.name() == "whitelist" {
            if std::mem::replace(&mut self.begun, true) {
                out.push(at.misplaced("this is a second <whitelist>", REFUSED, "remove it"));
            }
            return;
        }
        if !self.begun {
            let message = format!("<{}> is outside of <whitelist>", at.name());
            out.push(at.misplaced(message, IGNORED, "put this element into <whitelist>"));
            return;
        }
        let item = match at.name() {
            "command" => {
                at.expect(
                    "name",
                    is_command,
                    "an absolute path with optional arguments",
                    out,
                );
                format!("command {}", at.text("name"))
            }
            "selinux" => {
                at.expect("context", is_context, "USER_u:ROLE_r:TYPE_t:LEVEL", out);
                format!("context {}", at.text("context"))
            }
            _ => match (at.get("id"), at.get("name")) {
                (Some(id), _) => match decimal(id) {
                    None => {
                        out.push(at.invalid_value("id", "a number").effect(IGNORED));
                        return;
                    }
                    Some(number) => {
                        at.expect(
                            "id",
                            |_| (0..=i64::from(i32::MAX)).contains(&number),
                            "a number from 0 to 2147483647",
                            out,
                        );
                        format!("id {number}")
                    }
                },
                (None, Some(name)) => {
                    at.expect("name", is_user, "the name of a user", out);
                    format!("user {name}")
                }
                (None, None) => return,
            },
        };
        if !self.seen.insert(item.clone()) {
            out.push(at.misplaced(
                format!("{item} is listed twice"),
                REFUSED,
                "remove one of them",
            ));
        }
    }

    fn end(&mut self, _at: &Element<'_>, _text: &str, _out: &mut Vec<Finding>) {}
}

fn is_command(text: &str) -> bool {
    text.starts_with('/') && text.chars().count() <= 1024 && !text.contains(['|', '\n', '\0'])
}

fn is_user(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_$".contains(c))
}

fn is_context(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    matches!(parts.len(), 4 | 5)
        && (parts[0] == "root" || parts[0].ends_with("_u"))
        && parts[1].ends_with("_r")
        && parts[2].ends_with("_t")
        && !parts[3].is_empty()
}
