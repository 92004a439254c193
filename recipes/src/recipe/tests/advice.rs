//! Tests that a finding points to the key to change, and that its advice leads to no further error.

use super::*;

/// Advice that leads to a second error is worse than no advice.
#[test]
fn a_size_without_quotes_is_reported_with_a_size_that_the_key_accepts() {
    for (section, key, number, expected) in [
        ("install.partitions", "etcd", "8", "etcd = \"8 GiB\""),
        ("install.partitions", "boot", "512", "boot = \"512 MiB\""),
        ("install.partitions", "root", "8192", "root = \"8192 MiB\""),
        (
            "install.partitions",
            "root",
            "8589934592",
            "root = \"8 GiB\"",
        ),
        (
            "install.partitions",
            "etcd",
            "1.5",
            "unit in quotes, as in \"8 GiB\"",
        ),
        (
            "install.partitions",
            "etcd",
            "-8",
            "unit in quotes, as in \"8 GiB\"",
        ),
        ("etcd", "quota", "8", "quota = \"8 GiB\""),
        ("etcd", "max-request", "2", "max-request = \"2 MiB\""),
        ("etcd", "max-request", "1536", "max-request = \"1536 KiB\""),
    ] {
        let text = if section == "etcd" {
            changed("[etcd]", &format!("[etcd]\n{key} = {number}"))
        } else {
            format!("{GOOD}\n[{section}]\n{key} = {number}\n")
        };
        refused(&text, &format!("`{key}` must be a string, not"));
        refused(&text, expected);
        let advice = said(&text);
        let Some((_, advised)) = advice[0].split_once("| write ") else {
            panic!("{advice:?}");
        };
        if advised.starts_with(key) {
            let text = text.replace(&format!("{key} = {number}"), advised);
            assert!(read(&text).recipe.is_some(), "{advised}: {:?}", said(&text));
        }
    }
}

#[test]
fn a_value_without_quotes_is_repeated_only_if_the_key_accepts_it_in_quotes() {
    let update = |line: &str| {
        let auto = "mode = \"auto\"\nfrom = \"http://10.0.0.5/\"";
        format!("{GOOD}\n[update]\n{auto}\n{line}\n")
    };
    let backup = format!("{GOOD}\n[backup]\nschedule = 6\n");
    for (text, expected) in [
        (update("every = 30"), "| write every = \"30 minutes\""),
        (update("every = 1"), "| write every = \"1 hour\""),
        (update("every = 24"), "| write every = \"24 hours\""),
        (update("every = 7"), "| expected 5, 6, 10, 12, 15, 20 or 30"),
        (update("window = 2"), "| expected a schedule and a length"),
        (
            update("reboot = true"),
            "| expected one of: never, when-needed",
        ),
        (backup, "| expected "),
        (changed("\"etcd-1\"", "1"), "expected a string | "),
        (changed("\"etcd-1\"", "true"), "| write name = \"true\""),
    ] {
        refused(&text, expected);
        assert!(
            !said(&text)[0].contains("| write window"),
            "{:?}",
            said(&text)
        );
    }
    assert!(!said(&changed("\"etcd-1\"", "1"))[0].contains("write name"));
}

#[test]
fn lifetimes_that_contradict_each_other_are_named_at_the_key_that_is_set() {
    for (lines, expected) in [
        (
            "certificate-days = 30",
            "32:20 `renew-before-days` is 90 by default, but must be less than `certificate-days`, which is 30",
        ),
        (
            "renew-before-days = 2000",
            "32:21 `renew-before-days` is 2000, but must be less than `certificate-days`, which is 1095 by default",
        ),
        (
            "certificate-days = 30\nrenew-before-days = 30",
            "33:21 `renew-before-days` is 30, but must be less than `certificate-days`, which is 30",
        ),
        (
            "ca-days = 365",
            "32:11 `certificate-days` is 1095 by default, but must be at most `ca-days`, which is 365",
        ),
        (
            "certificate-days = 3650\nca-days = 3649",
            "32:20 `certificate-days` is 3650, but must be at most `ca-days`, which is 3649",
        ),
    ] {
        let text = changed("[firewall]", &format!("[tls]\n{lines}\n[firewall]"));
        refused(&text, expected);
        assert_eq!(said(&text).len(), 1, "{:?}", said(&text));
    }
    let both = "certificate-days = 30\nca-days = 20";
    let text = changed("[firewall]", &format!("[tls]\n{both}\n[firewall]"));
    assert_eq!(said(&text).len(), 2, "{:?}", said(&text));
    let long = "keys = \"node\"\nenrol = \"https://a/\"\nca-days = 30\ncertificate-days = 31";
    refused(
        &changed("[firewall]", &format!("[tls]\n{long}\n[firewall]")),
        "`certificate-days` is 31, but must be at most `ca-days`, which is 30",
    );
}

#[test]
fn the_placeholder_of_a_server_is_refused_in_every_url() {
    let install = |line: &str| format!("{GOOD}\n[install]\n{line}\n");
    for text in [
        install("trees = [\"http://SERVER:8080/mirror/tree/\"]"),
        install("servers = [\"https://SERVER/\"]"),
        changed("https://github.com", "http://SERVER:8080"),
        format!("{GOOD}\n[update]\nfrom = \"http://SERVER/\"\n"),
    ] {
        refused(
            &text,
            "`SERVER` is a placeholder: write the name or the address",
        );
    }
    for url in ["http://server/", "http://a/SERVER/", "http://SERVERS/"] {
        let text = install(&format!("servers = [\"{url}\"]"));
        assert!(read(&text).recipe.is_some(), "{:?}", said(&text));
    }
}

#[test]
fn a_network_that_is_listed_twice_is_reported_at_its_second_place() {
    let twice = "clients = [\"10.0.0.0/8\", \"10.101.15.0/24\", \"10.0.0.0/8\"]";
    let text = changed("clients = [\"10.101.15.0/24\"]", twice);
    let said = said(&text);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(":44 10.0.0.0/8 is already listed in `clients` |"),
        "{said:?}"
    );
    let firewall = read(&text).recipe.unwrap().firewall;
    assert_eq!(firewall.clients.len(), 2, "{firewall:?}");
}
