//! Checks values in which systemd 219 resolves specifiers before it parses them
//! (src/core/load-fragment.c).

use super::context::{Context, Expansion};
use super::value_error::{ValueError, ValueResult, condition};
use crate::check::systemd::address::{self, AddressError, Family};
use crate::check::systemd::name;
use crate::check::systemd::specifier::Table;
use crate::check::systemd::words::is_utf8;

const PATH: &str = "an absolute path, which begins with /";
const ADDRESS: &str =
    "a port from 1 to 65535, ADDRESS:PORT, [IPv6]:PORT, a path, or an abstract name after an @";
const INTERFACE: &str = "an IP address before the port, because systemd 219 looks up an interface before the network is up";

/// Describes the values that systemd 219 accepts for one type.
struct AcceptedValues<'a> {
    table: Table,
    rule: &'static str,
    expected: &'a str,
    takes: &'a dyn Fn(&str) -> bool,
}

/// Returns whether systemd 219 accepts a value of this type, or `None` if this module does not
/// handle the type.
pub(super) fn check(value_type: &str, text: &str, context: &Context) -> Option<ValueResult> {
    let is_absolute = |text: &str| text.starts_with('/');
    let is_path = |text: &str| text.starts_with('/') && is_utf8(text.as_bytes());
    let path = |takes| AcceptedValues {
        table: Table::Full,
        rule: "unit/relative-path",
        expected: PATH,
        takes,
    };
    let value = |expected, takes| AcceptedValues {
        table: Table::Full,
        rule: "unit/value-form",
        expected,
        takes,
    };
    let is_file = |text: &str| text.strip_prefix('-').unwrap_or(text).starts_with('/');
    let is_local = |text: &str| address::parse(text) == Ok(Family::Unix);
    let resets = [
        "watched-path",
        "condition-path",
        "environment-file",
        "listen",
        "listen-packet",
        "listen-netlink",
    ];
    if text.is_empty() && resets.contains(&value_type) {
        return Some(Ok(()));
    }
    let rule = match value_type {
        "string%" => value("valid UTF-8 text", &|text| is_utf8(text.as_bytes())),
        "condition-string" => value("a string", &|_| true),
        "path%" => path(&is_path),
        "watched-path" | "condition-path" => path(&is_absolute),
        "environment-file" => path(&is_file),
        "bus-name" => value("a bus name such as org.example.Service", &is_bus_name),
        "listen-file" => value("a path", &|_| true),
        "listen-netlink" => value(
            "a netlink family and a group, such as audit 1",
            &address::is_netlink,
        ),
        "listen-packet" => value("a path, or an abstract name after an @", &is_local),
        "listen" if address::parse(text) == Err(AddressError::Interface) => {
            value(INTERFACE, &|_| false)
        }
        "listen" => value(ADDRESS, &|text| address::parse(text).is_ok()),
        "instance" => value(
            "a string of letters, digits and :-_.\\@",
            &name::is_instance,
        ),
        _ => return unit(value_type, text, context),
    };
    let text = if value_type.starts_with("condition") {
        condition(text)
    } else {
        text
    };
    Some(check_accepted(&rule, text, context))
}

/// Checks the name of one unit.
fn unit(value_type: &str, text: &str, context: &Context) -> Option<ValueResult> {
    let is_other = |text: &str| {
        name::type_of(text).is_some_and(|kind| kind != context.kind)
            && name::is_loadable(&context.resolve(text))
    };
    let is_service = |text: &str| name::type_of(text) == Some("service") && name::is_loadable(text);
    let is_slice = |text: &str| name::type_of(text) == Some("slice") && name::is_loadable(text);
    let rule = |expected, takes| AcceptedValues {
        table: Table::Name,
        rule: "unit/unit-name",
        expected,
        takes,
    };
    let rule = match value_type {
        "trigger" => rule(
            "the name of a unit of another type, such as NAME.service",
            &is_other,
        ),
        "service" => rule("the name of a service, such as NAME.service", &is_service),
        "slice" => rule("the name of a slice, such as NAME.slice", &is_slice),
        _ => return None,
    };
    Some(check_accepted(&rule, text, context))
}

fn check_accepted(accepted: &AcceptedValues<'_>, text: &str, context: &Context) -> ValueResult {
    match context.check_expanded(accepted.table, text, accepted.takes) {
        Expansion::Accepted => Ok(()),
        Expansion::Rejected => Err(ValueError::Syntax(
            accepted.rule,
            accepted.expected.to_owned(),
        )),
        Expansion::Unresolved(letter) => Err(ValueError::Unresolved(letter)),
    }
}

/// Returns whether a D-Bus name is valid (`service_name_is_valid` of sd-bus).
fn is_bus_name(text: &str) -> bool {
    let (unique, rest) = text
        .strip_prefix(':')
        .map_or((false, text), |rest| (true, rest));
    let element = |element: &str| {
        !element.is_empty()
            && element
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            && (unique || !element.starts_with(|c: char| c.is_ascii_digit()))
    };
    text.len() <= 255 && rest.contains('.') && rest.split('.').all(element)
}
