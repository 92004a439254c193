//! Formats findings as SARIF 2.1.0 (OASIS), which code hosts and editors read.

use std::fmt::Write as _;

use recipes::Severity;
use serde_json::{Value, json};

use super::finding::Finding;
use super::report::{CheckedFile, Report};
use super::rules::{self, RULES};

/// The path of the page that describes the rules.
const PAGE: &str = "docs/centos7.md";

/// Returns a log of one run, with every rule and every finding.
pub(super) fn log(report: &Report) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name,
                "shortDescription": { "text": rule.about },
                "help": { "text": format!("See {PAGE}.") },
                "properties": { "kind": rule.kind },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .shown()
        .map(|(file, finding)| result(file, &finding))
        .collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "builder check", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(file: &CheckedFile, finding: &Finding) -> Value {
    let diagnostic = &finding.diagnostic;
    let (line, column) = diagnostic.position(&file.text);
    let mut end = diagnostic.clone();
    end.span = diagnostic.span.end..diagnostic.span.end;
    let (end_line, end_column) = end.position(&file.text);
    let mut message = diagnostic.message.clone();
    for more in [
        Some(diagnostic.label.as_str()).filter(|label| !label.is_empty()),
        diagnostic.help.as_deref(),
    ]
    .into_iter()
    .flatten()
    {
        message.push_str(". ");
        message.push_str(more);
    }
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rules::index(finding.rule),
        "level": level,
        "message": { "text": message },
        "properties": { "kind": rules::kind(finding.rule) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&file.shown) },
                "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
            },
        }],
    })
}

/// Encodes a path as a relative reference (RFC 3986). Escapes the bytes that a URI cannot contain.
/// Escapes colons too, because the text before an unescaped colon can be read as a scheme.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
