//! Tests that the rendered files can be parsed and contain the recipe's values unchanged.

mod kickstart;
mod renewal;

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::documentation::documented;

const GOOD: &str = include_str!("../../../recipes/three-node.toml");

fn recipe(more: &str) -> Recipe {
    let text = format!("{GOOD}\n{more}");
    let reading = recipes::recipe::read(&text);
    reading
        .recipe
        .unwrap_or_else(|| panic!("{:?}", reading.findings))
}

fn file(files: &[Rendered], path: &str) -> String {
    files
        .iter()
        .find(|file| file.path == path)
        .unwrap_or_else(|| panic!("no {path}"))
        .content
        .clone()
}

fn scripts(kickstart: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    let mut current: Option<String> = None;
    for line in kickstart.lines() {
        match (&mut current, line) {
            (None, line)
                if ["%pre", "%post", "%onerror", "%traceback"]
                    .iter()
                    .any(|s| line.starts_with(s)) =>
            {
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
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let said = bash.wait_with_output().unwrap();
    // bash only warns about an unterminated heredoc.
    said.status.success() && said.stderr.is_empty()
}

#[test]
fn every_step_of_the_guide_has_its_file() {
    let files = overlay(&recipe("")).unwrap();
    assert!(file(&files, "etc/hosts").contains("10.101.15.102 etcd-2.cluster.local etcd-2"));
    assert!(
        file(&files, "etc/fstab").contains("LABEL=etcd  /var/lib/etcd  xfs   defaults,noatime")
    );
    // A BIOS machine has no ESP, so neither a boot nor a program may wait long for the ESP.
    let fstab = file(&files, "etc/fstab");
    let esp = fstab.lines().find(|line| line.starts_with("LABEL=ESP"));
    assert!(esp.unwrap().contains(
        "umask=0077,shortname=winnt,noauto,x-systemd.automount,x-systemd.device-timeout=5 "
    ));
    assert!(file(&files, "etc/chrony.conf").contains("pool pool.ntp.org iburst"));
    assert!(
        file(&files, "etc/sysctl.d/95-etcd.conf")
            .contains("net.ipv4.ip_local_reserved_ports = 2379-2381")
    );
    assert!(file(&files, "etc/firewalld/zones/etcd.xml").contains("2380"));
    assert!(file(&files, "etc/selinux/config").contains("SELINUX=enforcing"));
    let sshd = files
        .iter()
        .find(|file| file.path == "etc/ssh/sshd_config")
        .unwrap();
    assert_eq!(sshd.mode, 0o600);
}

#[test]
fn only_a_recipe_with_backup_has_the_snapshot_timer() {
    const TIMER: &str = "etc/systemd/system/firstboot-snapshot.timer";
    const SERVICE: &str = "etc/systemd/system/firstboot-snapshot.service";
    const PRESET: &str = "usr/lib/systemd/system-preset/10-etcd.preset";
    let without = recipe("");
    let files = overlay(&without).unwrap();
    assert!(files.iter().all(|file| !file.path.contains("snapshot")));
    assert!(!file(&files, PRESET).contains("snapshot"));
    assert!(
        !kickstart(&without, OverlayDigests::NONE)
            .unwrap()
            .contains("firstboot-snapshot")
    );
    let with = recipe("[backup]\nschedule = \"Sun 02:30\"\n");
    let files = overlay(&with).unwrap();
    assert!(
        file(&files, TIMER).contains("OnCalendar=Sun *-*-* 02:30:00\n"),
        "{}",
        file(&files, TIMER)
    );
    assert!(file(&files, PRESET).ends_with("enable firstboot-snapshot.timer\n"));
    let at = |destination: &str| overlay(&recipe(&format!("[backup]\n{destination}\n"))).unwrap();
    for (destination, writes) in [
        (
            "destination = \"/srv/share\"",
            "ReadWriteDirectories=-/srv/share\n",
        ),
        (
            "destination = \"s3://backups/\"\n[backup.s3]\nregion = \"x\"",
            "ReadWriteDirectories=-/var/backups/etcd\n",
        ),
    ] {
        assert!(
            file(&at(destination), SERVICE).contains(writes),
            "{}",
            file(&at(destination), SERVICE)
        );
    }
    assert!(
        kickstart(&with, OverlayDigests::NONE)
            .unwrap()
            .contains("systemctl preset firstboot-snapshot.timer")
    );
}

#[test]
fn only_a_recipe_with_automatic_updates_has_the_update_timer() {
    const TIMER: &str = "etc/systemd/system/firstboot-update.timer";
    const SERVICE: &str = "etc/systemd/system/firstboot-auto-update.service";
    const PRESET: &str = "usr/lib/systemd/system-preset/10-etcd.preset";
    let from = "[update]\nfrom = \"http://10.101.15.1/\"\n";
    let manual = recipe(from);
    let files = overlay(&manual).unwrap();
    assert!(
        files
            .iter()
            .all(|file| ![TIMER, SERVICE].contains(&&*file.path))
    );
    assert!(!file(&files, PRESET).contains("firstboot-update.timer"));
    let kickstart = |recipe| kickstart(recipe, OverlayDigests::NONE).unwrap();
    assert!(!kickstart(&manual).contains("firstboot-update.timer"));

    let auto = recipe(&format!("{from}mode = \"auto\"\nevery = \"30 minutes\"\n"));
    let files = overlay(&auto).unwrap();
    for line in [
        "OnCalendar=*-*-* *:00/30:00",
        "RandomizedDelaySec=180",
        "Unit=firstboot-auto-update.service",
    ] {
        let timer = file(&files, TIMER);
        assert!(timer.lines().any(|found| found == line), "{timer}");
    }
    assert!(file(&files, SERVICE).contains("firstboot update --scheduled\n"));
    assert!(file(&files, PRESET).ends_with("enable firstboot-update.timer\n"));
    assert!(kickstart(&auto).contains("systemctl preset firstboot-update.timer\n"));
}

#[test]
fn the_guides_profile_uses_the_guides_values() {
    let text = GOOD.to_owned() + "[tuning]\nprofile = \"guide\"\n";
    let recipe = recipes::recipe::read(&text).recipe.unwrap();
    let files = overlay(&recipe).unwrap();
    assert!(file(&files, "etc/fstab").contains("noatime,nodiratime,allocsize=64m"));
    assert!(file(&files, "etc/sysctl.d/95-etcd.conf").contains("vm.dirty_ratio = 60"));
    assert!(
        kickstart(&recipe, OverlayDigests::NONE)
            .unwrap()
            .contains("rootflags=defaults,noatime,nodiratime,allocsize=64m")
    );
}

#[test]
fn etcds_selinux_module_is_loaded_only_if_the_recipe_requests_it() {
    for (more, expected) in [("", false), ("[selinux]\nmodule = true\n", true)] {
        let recipe = recipe(more);
        assert_eq!(
            kickstart(&recipe, OverlayDigests::NONE)
                .unwrap()
                .contains("semodule -n -s targeted -i"),
            expected
        );
        assert_eq!(
            file(&overlay(&recipe).unwrap(), "etc/selinux/config").contains("unconfined_service_t"),
            !expected
        );
    }
}

#[test]
fn the_documentation_lists_the_ids_of_the_installer() {
    let keep = recipe("[install]\ndata = \"keep\"\n");
    let text = kickstart(&keep, OverlayDigests::NONE).unwrap();
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    let ids = words.filter(|word| word.starts_with("keep-"));
    assert_eq!(
        documented("exit-codes.md", "Ids of the installer"),
        ids.map(str::to_owned).collect()
    );
}

#[test]
fn only_a_recipe_that_keeps_the_data_has_the_script_that_keeps_it() {
    for (data, keeps) in [
        ("", false),
        ("data = \"wipe\"", false),
        ("data = \"keep\"", true),
    ] {
        let recipe = recipe(&format!("[install]\n{data}\n"));
        let text = kickstart(&recipe, OverlayDigests::NONE).unwrap();
        assert_eq!(text.contains("firstboot-kept"), keeps, "{data}");
        assert_eq!(text.contains("--onpart="), keeps, "{data}");
        assert!(text.contains("clearpart --all"), "{data}");
        assert!(scripts(&text).iter().all(|script| bash_accepts(script)));
    }
}

/// Returns the lines between the lines `first` and `last`.
fn between<'t>(text: &'t str, first: &str, last: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| *line != first).skip(1);
    lines.take_while(|line| *line != last).collect()
}

#[test]
fn a_package_that_the_recipe_lists_is_not_excluded() {
    let packages = |packages: &str| {
        let text = kickstart(
            &recipe(&format!("[install]\npackages = {packages}\n")),
            OverlayDigests::NONE,
        )
        .unwrap();
        between(&text, "%packages", "%end")
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let is = |lines: &[String], line: &str| lines.iter().any(|found| found == line);
    let lines =
        packages("[\"lib*-devel\", \"@base\", \"postfix\", \"iwl7260-firmware\", \"glibc.i686\"]");
    for line in [
        "lib*-devel",
        "@base",
        "postfix",
        "iwl7260-firmware",
        "glibc.i686",
        "-plymouth",
        "-tuned",
    ] {
        assert!(is(&lines, line), "{line} in {lines:?}");
    }
    assert!(
        !is(&lines, "-postfix") && !is(&lines, "-iwl*firmware"),
        "{lines:?}"
    );
    assert!(is(&packages("[]"), "-postfix"));
    let wrong = contradictions(&recipe("[install]\npackages = [\"tmux\", \"tuned\"]\n")).unwrap();
    assert!(
        wrong.len() == 1
            && wrong[0].message.contains("`tuned`")
            && wrong[0].label.contains("swappiness"),
        "{wrong:?}"
    );
    let oracle = kickstart(
        &recipe("[install]\nfamily = \"oracle\"\n"),
        OverlayDigests::NONE,
    )
    .unwrap();
    assert!(
        oracle.lines().any(|line| line == "-kernel-uek")
            && oracle.contains("# Installs Oracle Linux 7.9 unattended")
    );
}

#[test]
fn a_node_keeps_the_repositories_of_its_installation() {
    let own = "[[install.repo]]\nname = \"els\"\nurls = [\"http://a/els\", \"http://b/els\"]\nkey = \"els.asc\"\n\
               [[install.repo]]\nname = \"more\"\nurls = [\"http://a/more\"]\n";
    let recipe = recipe(own);
    let repositories = file(
        &overlay(&recipe).unwrap(),
        "etc/yum.repos.d/etcd-image.repo",
    );
    for part in [
        "[base]\nname=CentOS 7.9\nbaseurl=https://vault.centos.org/7.9.2009/os/x86_64/ https://",
        "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-7\n",
        "[els]\nname=els\nbaseurl=http://a/els/ http://b/els/ \nfailovermethod=priority\ngpgcheck=1\n\
         gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-etcd-image-els\n",
        "[more]\nname=more\nbaseurl=http://a/more/ \nfailovermethod=priority\n# The recipe does not name a key for this repository.\ngpgcheck=0\n",
    ] {
        assert!(repositories.contains(part), "{part}\nin\n{repositories}");
    }
    let text = kickstart(&recipe, OverlayDigests::NONE).unwrap();
    assert!(
        text.contains("answers 'the repository els' '' 'http://a/els/' 'http://b/els/'"),
        "{text}"
    );
    assert!(text.contains("\nused els ''\nused more ''\n"));
}

#[test]
fn a_value_that_is_not_a_word_must_be_quoted() {
    let context = minijinja::context! { x => "a b; reboot" };
    let error = render("a.conf", "x={{ x }}\n", &context)
        .unwrap_err()
        .to_string();
    assert!(error.contains("needs quoting"), "{error}");
    assert_eq!(
        render("a.conf", "x={{ x|sh }}\n", &context).unwrap(),
        "x='a b; reboot'\n"
    );
    assert_eq!(
        render("a.xml", "{{ x }}", &minijinja::context! { x => "<&>" }).unwrap(),
        "&lt;&amp;&gt;"
    );
}

/// Each of these keywords is from a later OpenSSH version (release notes 7.5 to 9.9), and prevents
/// CentOS 7's sshd 7.4 from starting.
#[test]
fn sshd_config_has_no_keyword_of_a_later_version() {
    const LATER: &str = "exposeauthinfo rdomain setenv permitlisten casignaturealgorithms include pubkeyauthoptions \
                         securitykeyprovider logverbose persourcemaxstartups persourcenetblocksize modulifile \
                         pubkeyacceptedalgorithms hostbasedacceptedalgorithms requiredrsasize channeltimeout \
                         unusedconnectiontimeout persourcepenalties persourcepenaltyexemptlist refuseconnection \
                         sshdsessionpath sshdauthpath";
    let config = file(&overlay(&recipe("")).unwrap(), "etc/ssh/sshd_config");
    let lines = config
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words: Vec<String> = lines
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_lowercase)
        .collect();
    assert!(
        words.len() > 20 && words.iter().any(|word| word == "passwordauthentication"),
        "{words:?}"
    );
    for word in LATER.split_whitespace() {
        assert!(!words.iter().any(|own| own == word), "{word}");
    }
}
