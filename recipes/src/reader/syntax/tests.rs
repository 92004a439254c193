//! Tests of the findings about broken syntax.

use crate::recipe::read;

/// Returns each finding as the text that it marks, its message, and its help.
fn said(text: &str) -> Vec<(String, String, String)> {
    let marked = |finding: &crate::Diagnostic| {
        text.get(finding.span.clone())
            .unwrap_or_default()
            .to_owned()
    };
    let findings = read(text).findings;
    findings
        .into_iter()
        .map(|f| {
            (
                marked(&f),
                f.message.clone() + " | " + &f.label,
                f.help.unwrap_or_default(),
            )
        })
        .collect()
}
/// The mistakes that are tested, each with the recipe, the marked text, the message and the help.
const SLIPS: &[(&str, &str, &str, &str)] = &[
    (
        "name = prod\n",
        "prod",
        "`prod` needs quotes",
        "write \"prod\"",
    ),
    (
        "address = 10.20.30.11\n",
        "10.20.30.11",
        "needs quotes",
        "write \"10.20.30.11\"",
    ),
    (
        "mac = 52:54:00:aa:00:11 # its card\n",
        "52:54:00:aa:00:11",
        "needs quotes",
        "write \"52:54:00:aa:00:11\"",
    ),
    (
        "dns = [10.0.0.1, \"10.0.0.2\"]\n",
        "10.0.0.1",
        "needs quotes",
        "write \"10.0.0.1\"",
    ),
    (
        "a = { source = \"x\", mode = 0644 }\n",
        "0644",
        "needs quotes",
        "write \"0644\"",
    ),
    ("module = True\n", "True", "lower case", "write true"),
    (
        "module = yes\n",
        "yes",
        "neither true nor false",
        "write true, or \"yes\"",
    ),
    (
        "// mine\n",
        "//",
        "a comment in TOML begins with #",
        "write #",
    ),
    (
        "-- mine\n",
        "--",
        "a comment in TOML begins with #",
        "write #",
    ),
    ("---\n", "-", "JSON or YAML", "builder init"),
    (
        "- name: n1\n",
        "-",
        "a YAML list",
        "write name = \"n1\"; if the key describes a node",
    ),
    (
        "cluster:\n",
        "cluster",
        "this is YAML",
        "write a section as [cluster]",
    ),
    (
        "name: 'prod'\n",
        "name",
        "expected `=`",
        "write name = \"prod\"",
    ),
    (
        "dns = [\"a\" \"b\"]\n",
        "\"b\"",
        "a comma is missing",
        "between two values",
    ),
    (
        "\"/etc/motd\" = { source = \"x\", mode = 0644 }\n",
        "0644",
        "needs quotes",
        "write \"0644\"",
    ),
    ("{\"cluster\": {}}\n", "{", "JSON or YAML", "builder init"),
    (
        "/etc/motd = \"motd\"\n",
        "/etc/motd",
        "needs quotes",
        "write \"/etc/motd\" =",
    ),
    (
        "name = “prod”\n",
        "“",
        "typographic",
        "the ASCII quotation mark",
    ),
    ("name =\u{a0}\"prod\"\n", "\u{a0}", "U+00A0", "plain space"),
    ("a = 1\rb = 2\n", "\r", "carriage return", "LF or CRLF"),
    ("a = 1\n\0\n", "\0", "U+0000", "UTF-8"),
    ("name = \"prod\n", "\"prod", "not closed", "end the string"),
    (
        "[etcd]\nquota = \"1\"\nx = 1\nquota = \"2\"\n",
        "quota",
        "set twice in [etcd] | the first occurrence is on line 2",
        "remove one",
    ),
    (
        "[a]\nx = 1\n[b]\nx = 1\n[a]\n",
        "a",
        "[a] occurs twice | the first occurrence is on line 1",
        "remove one",
    ),
    (
        "[install]\nssh-keys = [\"x\"]\nssh-keys.a = 1\n",
        "ssh-keys",
        "`ssh-keys` already has a value",
        "remove this line",
    ),
    (
        "[install]\nssh-keys = [\"x\"]\n[install.ssh-keys.a]\nb = 1\n",
        "ssh-keys",
        "`ssh-keys` already has a value",
        "remove this line",
    ),
    ("a..b = 1\n", "", "this is not TOML: ", ""),
    ("a b = 1\n", "", "this is not TOML: ", ""),
    ("= 1\n", "", "this is not TOML: ", ""),
    (
        "[node]\na = 1\n[[node]]\na = 2\n[[node]]\n",
        "node",
        "line 1 is [node]",
        "change line 1 to [[node]]",
    ),
];

#[test]
fn each_mistake_is_reported_with_its_correction() {
    for &(text, marked, message, help) in SLIPS {
        let all = said(text);
        let (found, what, how) = &all[0];
        assert!(all.len() == 1, "{text:?}: {all:#?}");
        assert!(
            found.starts_with(marked) && what.contains(message) && how.contains(help),
            "{text:?}: {all:#?}"
        );
    }
}

#[test]
fn an_unknown_mistake_is_reported_with_the_message_of_the_parser() {
    assert!(said("[cluster\n")[0].1.starts_with("this is not TOML"));
}
