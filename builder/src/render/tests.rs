//! Whatever a recipe holds, what is rendered from it parses, and holds it unchanged.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const GOOD: &str = include_str!("../../../recipes/three-node.toml");

fn recipe(more: &str) -> Recipe {
    let text = format!("{GOOD}\n{more}");
    let reading = recipes::recipe::read(&text);
    reading.recipe.unwrap_or_else(|| panic!("{:?}", reading.findings))
}

fn file(files: &[Rendered], path: &str) -> String {
    files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).content.clone()
}

/// The scripts of a kickstart.
fn scripts(kickstart: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    let mut current: Option<String> = None;
    for line in kickstart.lines() {
        match (&mut current, line) {
            (None, line) if ["%pre", "%post", "%onerror", "%traceback"].iter().any(|s| line.starts_with(s)) => {
                current = Some(String::new());
            }
            (Some(_), "%end") => scripts.extend(current.take()),
            (Some(script), line) => script.extend([line, "\n"]),
            _ => {}
        }
    }
    scripts
}

fn bash_accepts(script: &str) -> bool {
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    bash.wait().unwrap().success()
}

#[test]
fn every_step_of_the_guide_has_its_file() {
    let files = overlay(&recipe("")).unwrap();
    assert!(file(&files, "etc/hosts").contains("10.101.15.102 etcd-2.cluster.local etcd-2"));
    assert!(file(&files, "etc/fstab").contains("LABEL=etcd  /var/lib/etcd  xfs   defaults,noatime"));
    assert!(file(&files, "etc/chrony.conf").contains("pool pool.ntp.org iburst"));
    assert!(file(&files, "etc/sysctl.d/95-etcd.conf").contains("net.ipv4.ip_local_reserved_ports = 2379-2381"));
    assert!(file(&files, "etc/firewalld/zones/etcd.xml").contains("2380"));
    assert!(file(&files, "etc/selinux/config").contains("SELINUX=enforcing"));
    let sshd = files.iter().find(|file| file.path == "etc/ssh/sshd_config").unwrap();
    assert_eq!(sshd.mode, 0o600);
}

#[test]
fn only_a_recipe_with_backup_has_the_timer() {
    const TIMER: &str = "etc/systemd/system/firstboot-snapshot.timer";
    const SERVICE: &str = "etc/systemd/system/firstboot-snapshot.service";
    const PRESET: &str = "usr/lib/systemd/system-preset/10-etcd.preset";
    let without = recipe("");
    let files = overlay(&without).unwrap();
    assert!(files.iter().all(|file| !file.path.contains("snapshot")));
    assert!(!file(&files, PRESET).contains("snapshot"));
    assert!(!kickstart(&without, Sha256::of(b"")).unwrap().contains("firstboot-snapshot"));
    let with = recipe("[backup]\nschedule = \"Sun 02:30\"\n");
    let files = overlay(&with).unwrap();
    assert!(file(&files, TIMER).contains("OnCalendar=Sun *-*-* 02:30:00\n"), "{}", file(&files, TIMER));
    assert!(file(&files, PRESET).ends_with("enable firstboot-snapshot.timer\n"));
    let at = |destination: &str| overlay(&recipe(&format!("[backup]\n{destination}\n"))).unwrap();
    for (destination, writes) in [
        ("destination = \"/srv/share\"", "ReadWriteDirectories=-/srv/share\n"),
        ("destination = \"s3://backups/\"\n[backup.s3]\nregion = \"x\"", "ReadWriteDirectories=-/var/backups/etcd\n"),
    ] {
        assert!(file(&at(destination), SERVICE).contains(writes), "{}", file(&at(destination), SERVICE));
    }
    assert!(kickstart(&with, Sha256::of(b"")).unwrap().contains("systemctl preset firstboot-snapshot.timer"));
}

#[test]
fn the_guides_profile_says_what_the_guide_says() {
    let text = GOOD.to_owned() + "[tuning]\nprofile = \"guide\"\n";
    let recipe = recipes::recipe::read(&text).recipe.unwrap();
    let files = overlay(&recipe).unwrap();
    assert!(file(&files, "etc/fstab").contains("noatime,nodiratime,allocsize=64m"));
    assert!(file(&files, "etc/sysctl.d/95-etcd.conf").contains("vm.dirty_ratio = 60"));
    assert!(
        kickstart(&recipe, Sha256::of(b"")).unwrap().contains("rootflags=defaults,noatime,nodiratime,allocsize=64m")
    );
}

#[test]
fn etcds_own_domain_is_loaded_only_where_it_is_wanted() {
    for (more, expected) in [("", false), ("[selinux]\nmodule = true\n", true)] {
        let recipe = recipe(more);
        assert_eq!(kickstart(&recipe, Sha256::of(b"")).unwrap().contains("semodule -n -s targeted -i"), expected);
        assert_eq!(file(&overlay(&recipe).unwrap(), "etc/selinux/config").contains("unconfined_service_t"), !expected);
    }
}

#[test]
fn the_kickstart_names_its_overlay_and_its_scripts_parse() {
    let text = kickstart(&recipe(""), Sha256::of(b"x")).unwrap();
    assert_eq!(text.matches(&Sha256::of(b"x").to_string()).count(), 3);
    let scripts = scripts(&text);
    assert_eq!(scripts.len(), 6);
    assert!(scripts.iter().all(|script| bash_accepts(script)));
    assert!(!text.contains("PRIVATE KEY"));
}

#[test]
fn quotes_and_dollars_in_a_key_line_stay_in_it() {
    let key = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} it's \\\"me\\\" $HOME `id` %end ü", "C".repeat(43));
    let text = kickstart(&recipe(&format!("[install]\nssh-keys = [\"{key}\"]\n")), Sha256::of(b"")).unwrap();
    let line = text.lines().find(|line| line.starts_with("sshkey ")).unwrap();
    let script = format!("set -- {line}; printf %s \"$3\"");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), key.replace("\\\"", "\""));
    assert!(scripts(&text).iter().all(|script| bash_accepts(script)));
}

#[test]
fn a_value_that_is_no_word_must_be_quoted() {
    let context = minijinja::context! { x => "a b; reboot" };
    let error = render("a.conf", "x={{ x }}\n", &context).unwrap_err().to_string();
    assert!(error.contains("is no plain word"), "{error}");
    assert_eq!(render("a.conf", "x={{ x|sh }}\n", &context).unwrap(), "x='a b; reboot'\n");
    assert_eq!(render("a.xml", "{{ x }}", &minijinja::context! { x => "<&>" }).unwrap(), "&lt;&amp;&gt;");
}

/// Of OpenSSH's later words each stops the sshd of CentOS 7, 7.4, at its start (release notes 7.5 to 9.9).
#[test]
fn sshd_gets_no_word_that_came_after_its_version() {
    const LATER: &str = "exposeauthinfo rdomain setenv permitlisten casignaturealgorithms include pubkeyauthoptions \
                         securitykeyprovider logverbose persourcemaxstartups persourcenetblocksize modulifile \
                         pubkeyacceptedalgorithms hostbasedacceptedalgorithms requiredrsasize channeltimeout \
                         unusedconnectiontimeout persourcepenalties persourcepenaltyexemptlist refuseconnection \
                         sshdsessionpath sshdauthpath";
    let config = file(&overlay(&recipe("")).unwrap(), "etc/ssh/sshd_config");
    let lines = config.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words: Vec<String> = lines.filter_map(|line| line.split_whitespace().next()).map(str::to_lowercase).collect();
    assert!(words.len() > 20 && words.iter().any(|word| word == "passwordauthentication"), "{words:?}");
    for word in LATER.split_whitespace() {
        assert!(!words.iter().any(|own| own == word), "{word}");
    }
}
