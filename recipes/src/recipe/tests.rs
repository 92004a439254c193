//! Tests that mistakes in a recipe are reported, each with the text of its finding.

mod accepted;
mod advice;
mod backup;
mod documented;
mod hostile;
mod install;
mod update;

use super::*;

const GOOD: &str = include_str!("../../three-node.toml");

/// Returns the findings about a recipe as `line:column message | label | help`, one per line.
fn said(text: &str) -> Vec<String> {
    let line = |finding: &Diagnostic| {
        let (line, column) = finding.position(text);
        let help = finding.help.as_deref().unwrap_or_default();
        format!(
            "{line}:{column} {} | {} | {help}",
            finding.message, finding.label
        )
    };
    // A separate test covers a recipe without an SSH key.
    read(text)
        .findings
        .iter()
        .filter(|finding| !finding.message.contains(NO_KEY))
        .map(line)
        .collect()
}

const NO_KEY: &str = "no one can log in to the nodes";

/// Returns recipes/three-node.toml with one string replaced by another.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let reading = read(text);
    let said = said(text);
    assert!(
        reading.recipe.is_none(),
        "accepted, with the findings {said:?}"
    );
    assert!(
        said.iter().any(|line| line.contains(expected)),
        "expected {expected:?}, found {said:#?}"
    );
}

#[test]
fn the_ready_recipes_have_no_findings() {
    for text in [GOOD, include_str!("../../single-node.toml")] {
        assert_eq!(said(text), Vec::<String>::new());
        assert!(read(text).recipe.is_some());
    }
}

#[test]
fn the_guides_cluster_is_read_as_the_guide_describes_it() {
    let recipe = read(GOOD).recipe.unwrap();
    let document = recipe.cluster_document();
    let members: Vec<_> = document
        .members
        .iter()
        .map(|m| (document.fqdn(&m.name), m.peer_url()))
        .collect();
    assert_eq!(
        members[0],
        (
            "etcd-1.cluster.local".into(),
            "https://10.101.15.101:2380".into()
        )
    );
    assert_eq!(members.len(), 3);
    assert_eq!(
        recipe.firewall.peers,
        [document.network.cidr],
        "a new member in the network must be able to connect"
    );
    assert_eq!(
        recipe.etcd.mirrors[1].as_str(),
        "https://storage.googleapis.com/etcd/"
    );
}

#[test]
fn a_typing_error_is_reported_with_a_suggestion() {
    refused(
        &changed("domain", "domian"),
        "5:1 unknown key `domian` in [cluster] |  | did you mean `domain`?",
    );
    refused(
        &changed("[firewall]", "[firewal]"),
        "unknown key `firewal` in a recipe |  | did you mean `firewall`?",
    );
    refused(
        &changed("clients", "zzz"),
        "[firewall] has the keys: clients, peers, admins",
    );
    let text = changed("[network]", "[network]\nmode = \"statik\"");
    refused(
        &text,
        "expected one of: dhcp, static | did you mean `static`?",
    );
}

#[test]
fn a_wrong_type_is_reported_with_the_expected_and_the_found_type() {
    refused(
        &changed("\"3.6.14\"", "3.6"),
        "`version` must be a string, not a number with a decimal point | expected a string | write all three numbers in quotes",
    );
    refused(
        &changed("[\"10.101.15.0/24\"]", "\"10.101.15.0/24\""),
        "must be a list of strings, not a string",
    );
    refused(
        &changed("[cluster]", "[[cluster]]"),
        "`cluster` must be a table, not a list",
    );
    refused(
        &changed("[firewall]", "[tuning]\nprofile = true\n[firewall]"),
        "`profile` must be a string, not true or false",
    );
}

#[test]
fn an_invalid_value_is_reported_with_the_reason() {
    refused(
        &changed("\"etcd-1\"", "\"etcd_1\""),
        "`_` is not allowed in `etcd_1`",
    );
    refused(
        &changed("10.101.15.101", "10.101.15.256"),
        "bad value for `address`",
    );
    refused(
        &changed("3.6.14", "3.9.1"),
        "etcd 3.9.1 is not supported: expected 3.4 to 3.7",
    );
    refused(
        &changed("ffe840", "ffe84"),
        "a SHA-256 digest has 64 hexadecimal digits, but this text has 63 characters",
    );
    refused(
        &changed("https://github.com", "ftp://github.com"),
        "expected a URL with http:// or https://",
    );
    refused(
        &changed("[etcd]", "[etcd]\nquota = \"1 KiB\""),
        "expected 16 MiB or more",
    );
    refused(
        &changed("[etcd]", "[etcd]\nelection-timeout-ms = 200"),
        "expected 500 or more",
    );
    refused(
        &changed("[etcd]", "[etcd]\nheartbeat-interval-ms = 0"),
        "expected 10 to 5000",
    );
    refused(
        &changed(
            "[firewall]",
            "[install]\nroot-password = \"hunter2\"\n[firewall]",
        ),
        "openssl passwd -6",
    );
    refused(
        &changed("[firewall]", "[tuning.sysctl]\nswappiness = 1\n[firewall]"),
        "`swappiness` is not a sysctl key",
    );
    refused(
        &changed("[firewall]", "[tuning.sysctl]\n\"a.b=c\" = 1\n[firewall]"),
        "`a.b=c` is not a sysctl key",
    );
    refused(
        &changed("[firewall]", "[install]\npackages = [\"%end\"]\n[firewall]"),
        "name of a package",
    );
    refused(
        &changed("[etcd]", "[etcd]\nmax-request = \"9 TiB\""),
        "expected 64 KiB to 10 MiB",
    );
    refused(
        &changed("10.101.15.0/24\"]", "10.101.15.7/24\"]"),
        "did you mean 10.101.15.0/24?",
    );
}

#[test]
fn a_contradiction_names_both_sides() {
    refused(
        &changed("\"etcd-2\"", "\"etcd-1\""),
        "12:8 two nodes have the name etcd-1 | etcd-1 already has this value",
    );
    refused(
        &changed("10.101.15.102", "10.101.15.101"),
        "two nodes have the address 10.101.15.101 | etcd-1 already has this value",
    );
    let macs = GOOD.replace(
        "address = \"10.101.15.10",
        "mac = \"52:54:00:00:00:01\"\naddress = \"10.101.15.10",
    );
    refused(&macs, "two nodes have the MAC address 52:54:00:00:00:01");
    refused(
        &changed("10.101.15.103", "10.101.16.103"),
        "10.101.16.103 is not an address of a host in the network",
    );
    refused(
        &changed("10.101.15.103", "10.101.15.255"),
        "not an address of a host in the network",
    );
    refused(
        &changed("gateway = \"10.101.15.1\"", "gateway = \"10.101.15.102\""),
        "is the address of the node etcd-2",
    );
    let room = "[install.partitions]\netcd = \"4 GiB\"\n[firewall]";
    refused(
        &changed("[firewall]", room).replace("[etcd]", "[etcd]\nquota = \"4 GiB\""),
        "33:8 a volume of 4 GiB for etcd is too small for its quota of 4 GiB | ",
    );
    refused(
        &changed("[firewall]", "[tls]\nca-cert = \"a\"\n[firewall]"),
        "`ca-cert` needs `ca-key`",
    );
    let enrol = "[tls]\nenrol = \"https://a/\"\n[firewall]";
    refused(
        &changed("[firewall]", enrol),
        "`enrol` needs `keys = \"node\"`",
    );
    let plain = "[tls]\nkeys = \"node\"\nenrol = \"http://a/\"\n[firewall]";
    refused(&changed("[firewall]", plain), "`enrol` needs an HTTPS URL");
    refused(
        &changed("[firewall]", "[metadata]\nsources = [\"url\"]\n[firewall]"),
        "needs the key `url`",
    );
    let platform = "[metadata]\nplatform = \"ec2\"\nsources = [\"gce\"]\n[firewall]";
    refused(
        &changed("[firewall]", platform),
        "`sources` does not name the source of this platform",
    );
    refused(
        &changed("[firewall]", "[metadata]\nplatform = \"aws\"\n[firewall]"),
        "expected one of: openstack, ec2, gce",
    );
}

#[test]
fn nodes_that_enrol_decide_themselves_when_they_renew() {
    for (lifetimes, words) in [
        (
            "certificate-minutes = 10",
            "`certificate-minutes` is set without `enrol`",
        ),
        (
            "keys = \"node\"\nenrol = \"https://a/\"\ncertificate-minutes = 10\ncertificate-days = 1",
            "`certificate-minutes` and `certificate-days` are both set",
        ),
        (
            "keys = \"node\"\nenrol = \"https://a/\"\nrenew-before-days = 9",
            "`renew-before-days` is set together with `enrol`",
        ),
    ] {
        let text = format!("[tls]\n{lifetimes}\n[firewall]");
        refused(&changed("[firewall]", &text), words);
    }
}

#[test]
fn a_missing_key_is_reported_with_its_purpose() {
    let without_digest = GOOD.replace("sha256", "# sha256");
    refused(
        &without_digest,
        "`sha256` is missing in [etcd] | the digest pins the content of the release",
    );
    refused("", "the section [cluster] is missing");
    refused("", "no [[node]]");
    refused("", "the section [etcd] is missing");
}

#[test]
fn all_mistakes_are_reported_together_and_in_order() {
    let text = changed("domain", "domian")
        .replace("etcd-2", "-x")
        .replace("3.6.14", "x");
    let said = said(&text);
    let lines: Vec<usize> = said
        .iter()
        .map(|line| line.split(':').next().unwrap().parse().unwrap())
        .collect();
    assert!(lines.len() >= 4, "{said:#?}");
    assert!(lines.is_sorted(), "{said:#?}");
}

#[test]
fn an_even_number_of_members_is_a_warning_and_not_an_error() {
    let text = format!("{GOOD}\n[[node]]\nname = \"etcd-4\"\naddress = \"10.101.15.104\"\n");
    let reading = read(&text);
    assert!(reading.recipe.is_some());
    assert!(
        said(&text)[0]
            .contains("4 members tolerate the loss of 1, which is no better than a cluster of 3"),
        "{:?}",
        said(&text)
    );
    assert_eq!(reading.findings[0].severity, Severity::Warning);
}

#[test]
fn user_files_must_be_in_the_recipes_folder_and_not_replace_image_files() {
    let files = |line: &str| format!("{GOOD}\n[files.overlay]\n{line}\n");
    let text = files(
        "\"/etc/motd\" = \"motd\"\n\"/usr/local/bin/a\" = { source = \"b/a\", owner = \"etcd\", mode = \"0750\" }",
    );
    let recipe = read(&text).recipe.unwrap();
    let found: Vec<_> = recipe
        .files
        .overlay
        .iter()
        .map(|f| (f.path.as_str(), f.mode, f.owner))
        .collect();
    assert_eq!(
        found,
        [
            ("etc/motd", 0o644, 0),
            ("usr/local/bin/a", 0o750, crate::ETCD_ID)
        ]
    );
    for escape in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a"] {
        refused(
            &files(&format!("\"/etc/motd\" = \"{escape}\"")),
            "is not a path inside the recipe's folder",
        );
    }
    for place in [
        "etc/motd",
        "/etc/../etc/motd",
        "/etc//motd",
        "/etc/a\\nb",
        "/",
    ] {
        refused(
            &files(&format!("\"{place}\" = \"a\"")),
            "is not a path on the node",
        );
    }
    refused(
        &files("\"/etc/firstboot/trust.pub\" = \"a\""),
        "/etc/firstboot/trust.pub belongs to the image itself",
    );
    refused(
        &files("\"/etc/a\" = { source = \"a\", mode = \"4755\" }"),
        "expected permissions in octal",
    );
    refused(
        &files("\"/etc/a\" = { source = \"a\", owner = \"nobody\" }"),
        "expected one of: root, etcd",
    );
    refused(
        &files("\"/etc/a\" = { suorce = \"a\" }"),
        "did you mean `source`?",
    );
    refused(
        &format!("{GOOD}\n[files]\npost = [\"../a\"]\n"),
        "is not a path inside the recipe's folder",
    );
}

#[test]
fn a_syntax_error_is_reported_without_errors_that_follow_from_it() {
    let text = "[cluster\nname = \"etcd\"\ndomain = ";
    let reading = read(text);
    assert!(reading.recipe.is_none());
    assert!(
        !reading
            .findings
            .iter()
            .any(|f| f.message.contains("is missing")),
        "{:?}",
        reading.findings
    );
}
