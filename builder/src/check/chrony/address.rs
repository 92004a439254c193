//! Checks addresses in chrony.conf (chrony 3.4, util.c, UTI_StringToIP; conf.c, parse_allow_deny,
//! parse_broadcast).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::scan::Scan;
use super::table::DirectiveSyntax;
use super::words::{FATAL, comment_or_else, split_word, words};
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// Names in CentOS 7's /etc/hosts.
const LOCAL: [&str; 6] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
];

fn is_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok()
}

/// Returns whether a directive with this syntax accepts `rest`, the text after the directive.
pub(super) fn fits(syntax: &DirectiveSyntax, rest: TextSpan<'_>) -> bool {
    let all: Vec<&str> = words(rest).map(|word| word.text).collect();
    let number = |text: &str| Scan::Int(i32::MIN, i32::MAX).take(text).is_some();
    match (syntax, &all[..]) {
        (DirectiveSyntax::Broadcast, [interval, address]) => {
            number(interval) && is_address(address)
        }
        (DirectiveSyntax::Broadcast, [interval, address, port]) => {
            number(interval) && is_address(address) && number(port)
        }
        (DirectiveSyntax::Socket, [path]) if path.starts_with('/') => true,
        (DirectiveSyntax::Address | DirectiveSyntax::Socket, [address]) => is_address(address),
        _ => false,
    }
}

/// Checks `allow`, `deny`, `cmdallow` and `cmddeny`. After an optional `all`, each directive
/// accepts an address, a network, a name, or nothing. chronyd resolves a name once, while it reads
/// the file, and exits if DNS does not answer.
pub(super) fn access(first: TextSpan<'_>, name: &str, rest: TextSpan<'_>) -> Option<Finding> {
    let network = if rest.text.starts_with("all") {
        split_word(rest).1
    } else {
        rest
    };
    if network.text.is_empty() {
        return None;
    }
    let (address, bits) = network
        .split_once('/')
        .map_or((network, None), |(address, bits)| (address, Some(bits)));
    let span = if address.text.is_empty() {
        first
    } else {
        address
    };
    if let Some(finding) = not_one_word(span, name, address) {
        return Some(finding);
    }
    let number = |text: &str| Scan::Int(i32::MIN, i32::MAX).take(text).is_some();
    if !is_address(address.text) && !number(address.text) {
        if bits.is_none() && LOCAL.contains(&address.text) {
            return None;
        }
        let message = format!("`{}` is not an address", address.text);
        return Some(refused(
            span,
            message,
            "write a network such as 10.0.0.0/24; do not write a name, because DNS may not answer yet when chronyd starts",
        ));
    }
    let bits = bits?;
    if number(bits.text) {
        // chronyd reads the prefix length, and ignores all words that follow.
        let extra = words(bits).nth(1)?;
        let finding = Finding::warning(
            "chrony/words",
            extra,
            format!("the directive {name} has too many words"),
        );
        return Some(
            finding
                .effect("chronyd ignores the additional words")
                .fix("write one line for each network"),
        );
    }
    let span = if bits.text.is_empty() { network } else { bits };
    Some(refused(
        span,
        format!("`{}` is not a prefix length", bits.text),
        "write a network such as 10.0.0.0/24",
    ))
}

/// Returns a finding if the address is missing or if more words follow the address.
fn not_one_word(span: TextSpan<'_>, name: &str, address: TextSpan<'_>) -> Option<Finding> {
    if words(address).next().is_none() {
        return Some(refused(
            span,
            format!("{name} has no address"),
            "write a network such as 10.0.0.0/24",
        ));
    }
    let extra = words(address).nth(1)?;
    let many = || {
        refused(
            extra,
            format!("the directive {name} has too many words"),
            "write one line for each network",
        )
    };
    Some(comment_or_else(extra, many))
}

/// Returns a finding for a line that prevents chronyd from starting.
fn refused(span: TextSpan<'_>, message: String, instead: &str) -> Finding {
    Finding::error("chrony/words", span, message)
        .effect(FATAL)
        .fix(instead)
}
