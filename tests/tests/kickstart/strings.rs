//! Generates recipes with any text that a user might write.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use recipes::Recipe;

/// Generates the text of a recipe.
pub(crate) fn recipe() -> impl Strategy<Value = String> {
    let install = (
        vec(ssh_key(), 0..3),
        value("\\$6\\$[a-z]{4}\\$[a-zA-Z0-9./]{86}"),
        value("Europe/Berlin|Asia/Colombo|Etc/GMT-14|UTC|America/Argentina/Buenos_Aires"),
        value("en_US\\.UTF-8|de_DE\\.UTF-8|sr_RS\\.UTF-8@latin"),
        value("us|de-latin1|fr-latin9"),
        vec(
            value("@?[a-z][a-z0-9+._-]{0,12}|lib[a-z*?]{1,3}-devel"),
            0..3,
        ),
        value("ttyS[0-9],115200n8"),
        value("sd[a-z]|nvme[0-9]n1|cciss/c0d[0-9]"),
        vec(
            value("https?://[a-z]{1,8}\\.example(:[0-9]{2,4})?/[a-z%20~_/-]{0,9}"),
            1..4,
        ),
        vec(
            value("https?://[a-z]{1,8}\\.example/[a-z,;@=+-]{0,9}"),
            0..3,
        ),
    );
    let rest = (
        vec(value("[a-z0-9]{1,9}(\\.[a-z0-9]{1,5}){0,3}"), 1..3),
        vec(
            (
                value(
                    "vm\\.(swappiness|min_free_kbytes)|kernel\\.pid_max|net\\.core\\.(somaxconn|rmem_max)",
                ),
                value("[1-9][0-9]{0,4}( 2 3)?"),
            ),
            0..3,
        ),
        vec((any::<u32>(), 1u8..=32), 0..4),
        any::<[bool; 13]>(),
    );
    (install, rest).prop_map(|(install, rest)| {
        let (keys, password, timezone, lang, keyboard, packages, console, disk, trees, servers) =
            install;
        let (hosts, sysctl, clients, chosen) = rest;
        let mut text = BASE.to_owned() + "[install]\n";
        let lines = [
            ("ssh-keys", list(&keys)),
            ("root-password", quoted(&password)),
            ("timezone", quoted(&timezone)),
            ("lang", quoted(&lang)),
            ("keyboard", quoted(&keyboard)),
            ("packages", list(&packages)),
            ("console", quoted(&console)),
            ("disk", quoted(&disk)),
            ("trees", list(&trees)),
            ("servers", list(&servers)),
        ];
        // Write only some of the lines. The parser refuses most arbitrary text, and refuses the
        // whole recipe for one refused string.
        for ((key, value), _) in lines.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            let _ = writeln!(text, "{key} = {value}");
        }
        text + &sections(chosen, &hosts, &sysctl, &clients)
    })
}

/// Generates the sections after `[install]`.
fn sections(
    chosen: [bool; 13],
    hosts: &[String],
    sysctl: &[(String, String)],
    clients: &[(u32, u8)],
) -> String {
    let mut text = String::new();
    if chosen[10] {
        let _ = writeln!(text, "[time]\nservers = {}", list(hosts));
    }
    if chosen[11] {
        let profile = if chosen[12] { "guide" } else { "etcd" };
        let _ = writeln!(text, "[tuning]\nprofile = \"{profile}\"\n[tuning.sysctl]");
        for (key, value) in sysctl {
            let _ = writeln!(text, "{} = {}", quoted(key), quoted(value));
        }
    }
    let networks: Vec<String> = clients
        .iter()
        .filter_map(|(address, prefix)| ipnet::Ipv4Net::new((*address).into(), *prefix).ok())
        .map(|network| network.trunc().to_string())
        .collect();
    text + "[firewall]\nclients = " + &list(&networks) + "\n"
}

const BASE: &str = r#"
[cluster]
name = "etcd"
domain = "cluster.local"
[[node]]
name = "etcd-1"
address = "10.101.15.101"
[etcd]
version = "3.6.14"
sha256 = "ffe840ff9295808e88cce2794a18a5ac87f12a5203c8314d0bf6aa119b41bac5"
"#;

/// Generates a valid value in most cases, and arbitrary text in the other cases.
fn value(fitting: &'static str) -> impl Strategy<Value = String> {
    let words = "%end|%post|--erroronfail|\\$\\(reboot\\)|`id`|'|\"|\\\\| ;reboot|&&|\\n|#|é|\\t|\u{202e}|<x/>|]]>|\\{\\{ x \\}\\}|=";
    let anything = "\\PC{0,12}";
    prop_oneof![
        12 => fitting,
        1 => anything,
        1 => words,
        1 => (fitting, words).prop_map(|(a, b)| a + &b),
        1 => (words, fitting).prop_map(|(a, b)| a + &b),
    ]
}

/// Generates an SSH key with an arbitrary comment.
fn ssh_key() -> impl Strategy<Value = String> {
    // The key consists of the type with its length, the length of the key, and the key itself: 51
    // bytes as 68 characters of base64.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-P][a-zA-Z0-9+/]{42}";
    (key, value("[a-z]{1,8}@[a-z ]{1,8}")).prop_map(|(key, comment)| format!("{key} {comment}"))
}

fn list(values: &[String]) -> String {
    format!(
        "[{}]",
        values
            .iter()
            .map(|value| quoted(value))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// Formats text as a TOML basic string, which has the same escapes as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007F")
}

/// Returns the disk that the recipe names. If the recipe names no disk, returns a name that no real
/// disk has. If a mounted disk of the test machine had this name, `%pre` would skip the disk.
pub(crate) fn disk(recipe: &Recipe) -> String {
    let wanted = recipe.install.disk.as_ref().map(ToString::to_string);
    wanted.map_or_else(
        || "bed0".to_owned(),
        |disk| disk.trim_start_matches("/dev/").to_owned(),
    )
}
