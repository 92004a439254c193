//! Tests of the lines of the kickstart.

use recipes::Sha256;

use super::*;

#[test]
fn the_kickstart_names_its_overlay_and_its_scripts_parse() {
    let digests = OverlayDigests {
        sha256: Sha256::of(b"x"),
        trust: Sha256::of(b"y"),
    };
    let text = kickstart(&recipe(""), digests).unwrap();
    assert_eq!(text.matches(&digests.sha256.to_string()).count(), 3);
    let scripts = scripts(&text);
    assert_eq!(scripts.len(), 5);
    assert!(scripts.iter().all(|script| bash_accepts(script)));
    assert!(!text.contains("PRIVATE KEY"));
    let mut downloads = text.lines().filter(|line| line.contains("curl --"));
    assert!(
        downloads.all(|line| line.contains("curl --globoff ")),
        "curl 7.29 reads an IPv6 address as a pattern"
    );
    assert!(text.contains("curl --globoff "));
}

#[test]
fn each_ssh_key_is_one_line_of_roots_keys_whatever_it_contains() {
    let one = format!(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} it's \\\"me\\\" $HOME `id` %end ü",
        "C".repeat(43)
    );
    let two = format!(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} two",
        "D".repeat(43)
    );
    let text = kickstart(
        &recipe(&format!("[install]\nssh-keys = [\"{one}\", \"{two}\"]\n")),
        OverlayDigests::NONE,
    )
    .unwrap();
    let keys = between(&text, "cat > /root/.ssh/authorized_keys <<'KEYS'", "KEYS");
    assert_eq!(keys, [one.replace("\\\"", "\""), two]);
    assert!(
        !text.lines().any(|line| line.starts_with("sshkey ")),
        "two sshkey lines crash pykickstart"
    );
    assert!(scripts(&text).iter().all(|script| bash_accepts(script)));
}

/// Some lines have a valid syntax, but change or break an installation by anaconda. The kickstart
/// must not contain such lines.
#[test]
fn the_kickstart_has_no_line_that_anaconda_treats_differently() {
    for mode in ["", "[network]\nmode = \"static\""] {
        let text = GOOD.replace(
            "[network]",
            if mode.is_empty() { "[network]" } else { mode },
        );
        let text = kickstart(
            &recipes::recipe::read(&text).recipe.unwrap(),
            OverlayDigests::NONE,
        )
        .unwrap();
        let commands: Vec<&str> = text
            .lines()
            .take_while(|line| *line != "%packages")
            .collect();
        let is = |start: &str| commands.iter().any(|line| line.starts_with(start));
        assert!(
            is("timezone UTC --isUtc")
                && !commands
                    .iter()
                    .any(|line| line.starts_with("timezone") && line.contains("--nontp"))
        );
        assert!(
            is("poweroff") && !is("reboot"),
            "anaconda would also reboot after an error"
        );
        assert!(
            !is("network"),
            "`network` would override the address on the kernel line"
        );
        assert!(!is("sshkey") && !is("services"));
    }
}
