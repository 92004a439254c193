//! Tests of mistakes that were once silently accepted, and of findings that were once wrong.

use super::*;

/// An earlier reader silently accepted these mistakes.
#[test]
fn settings_that_cannot_work_on_the_nodes_are_refused() {
    let named = |name: &str| changed("\"etcd-1\"", &format!("\"{name}\""));
    refused(&named("localhost"), "a node cannot be called localhost");
    refused(
        &named(&"x".repeat(51)),
        "has 65 characters, but a host name has at most 64",
    );
    assert!(read(&named(&"x".repeat(50))).recipe.is_some());
    let peers = |list: &str| changed("[firewall]", &format!("[firewall]\npeers = [{list}]"));
    refused(
        &peers("\"10.101.15.101/32\", \"10.101.15.102/32\""),
        "`peers` excludes etcd-3 (10.101.15.103)",
    );
    assert!(read(&peers("\"10.101.15.96/28\"")).recipe.is_some());
    let any = changed("admins = [\"10.101.15.0/24\"]", "admins = [\"0.0.0.0/0\"]");
    assert!(
        said(&any)[0].contains("0.0.0.0/0 gives any address access to ssh, port 22"),
        "{:?}",
        said(&any)
    );
    let cidr = |cidr: &str| changed("\"10.101.15.0/24\"", &format!("\"{cidr}\""));
    for (text, words) in [
        ("0.0.0.0/0", "the network is too large"),
        ("10.101.15.101/32", "the network is a single address"),
    ] {
        assert!(
            said(&cidr(text)).iter().any(|line| line.contains(words)),
            "{:?}",
            said(&cidr(text))
        );
    }
    let dns = changed("[network]", "[network]\ndns = [\"10.0.0.1\"]");
    assert!(
        said(&dns)[0].contains("`dns` has no effect: DHCP provides the name servers"),
        "{:?}",
        said(&dns)
    );
    assert_eq!(
        said(&dns.replace("[network]", "[network]\nmode = \"static\"")),
        Vec::<String>::new()
    );
}

#[test]
fn errors_that_follow_from_an_error_are_not_reported() {
    for (text, count) in [
        (GOOD.replace("[[node]]", "[[nodes]]"), 1),
        (changed("[cluster]", "[clutser]"), 1),
        (changed("[etcd]", "[ectd]"), 1),
        (changed("\"10.101.15.0/24\"", "\"10.101.15.0\""), 1),
        (
            changed(
                "[firewall]",
                "[install]\ntrees = [\"ftp://x/\"]\n[firewall]",
            ),
            1,
        ),
        (
            changed(
                "[firewall]",
                "[backup]\ndestination = \"s3://X/\"\n[backup.s3]\nregion = \"x\"\n[firewall]",
            ),
            1,
        ),
        (
            changed(
                "[firewall]",
                "[backup]\ndestination = \"s3://b12/\"\n[backup.s3]\nendpoint = \"x\"\n[firewall]",
            ),
            1,
        ),
        (
            changed(
                "[network]",
                "[network]\nmode = \"manual\"\ndns = [\"10.0.0.1\"]",
            ),
            1,
        ),
    ] {
        assert_eq!(said(&text).len(), count, "{:#?}", said(&text));
        assert!(read(&text).recipe.is_none());
    }
}

#[test]
fn a_recipe_without_a_login_is_warned_about() {
    let warned = |text: &str| {
        read(text)
            .findings
            .iter()
            .any(|finding| finding.message.contains(NO_KEY))
    };
    assert!(warned(GOOD) && read(GOOD).recipe.is_some());
    for line in [
        "ssh-keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJ1c3R5a2V5cnVzdHlrZXlydXN0eWtleXJ1c3R5a2V5 me\"]"
            .to_owned(),
        format!("root-password = \"$6$salt${}\"", "a".repeat(86)),
    ] {
        assert!(!warned(&format!("{GOOD}\n[install]\n{line}\n")), "{line}");
    }
    assert!(warned(&format!("{GOOD}\n[install]\nssh-keys = []\n")));
    // Another mistake in a recipe may be the reason why the recipe has no SSH key, so the missing
    // key is not reported.
    for line in [
        "[install]\nssh-keys = [\"~/.ssh/id_ed25519.pub\"]",
        "[instal]\nssh-keys = [\"x\"]",
    ] {
        assert!(!warned(&format!("{GOOD}\n{line}\n")), "{line}");
    }
    assert!(!warned("# nothing yet\n"));
}

/// The demo uses 3.5.1, the release in the CentOS 7 guide (docs/guide.md).
#[test]
fn a_release_that_damages_data_is_warned_about() {
    let demo = include_str!("../../../demo.toml");
    assert!(read(demo).recipe.is_some());
    let said = said(demo);
    assert!(
        said.len() == 1
            && said[0].contains("etcd 3.5.1 is known to damage data: members can differ"),
        "{said:?}"
    );
    assert!(
        said[0].contains("etcd-io/etcd#13766") && said[0].ends_with("| use 3.5.23 or later"),
        "{said:?}"
    );
}

/// The installer's tar replaces a link of the base system with a folder, so that all programs that
/// use the link fail.
#[test]
fn a_file_below_a_link_of_the_base_system_is_refused_with_its_real_path() {
    let file = |path: &str| format!("{GOOD}\n[files.overlay]\n\"{path}\" = \"a\"\n");
    for (path, real) in [
        (
            "/lib/udev/rules.d/99-a.rules",
            "/usr/lib/udev/rules.d/99-a.rules",
        ),
        ("/lib64/a.so", "/usr/lib64/a.so"),
        ("/bin/a", "/usr/bin/a"),
        ("/lib", "/usr/lib"),
        ("/etc/init.d/a", "/etc/rc.d/init.d/a"),
        ("/etc/rc.local", "/etc/rc.d/rc.local"),
        ("/etc/ssl/certs/a.pem", "/etc/pki/tls/certs/a.pem"),
    ] {
        refused(&file(path), &format!("write \"{real}\""));
    }
    for path in [
        "/library/a",
        "/usr/lib/a",
        "/etc/init.d.own/a",
        "/etc/ssl/a",
    ] {
        assert!(read(&file(path)).recipe.is_some(), "{path}");
    }
}

/// firstboot refuses a node on which a file of the image was changed, so a file that firstboot, the
/// installer or a service writes cannot be in the image.
#[test]
fn a_file_that_the_node_writes_itself_is_refused() {
    let file = |path: &str| format!("{GOOD}\n[files.overlay]\n\"{path}\" = \"a\"\n");
    for path in [
        "/boot/efi/EFI/centos/grub.cfg",
        "/boot/grub2/grub.cfg",
        "/etc/adjtime",
        "/etc/audit/audit.rules",
        "/etc/etcd",
        "/etc/group",
        "/etc/gshadow",
        "/etc/hostname",
        "/etc/hostname/a",
        "/etc/machine-id",
        "/etc/udev/hwdb.bin",
        "/etc/etcd/etcd.conf",
        "/etc/passwd",
        "/etc/shadow",
        "/root/.ssh/authorized_keys",
        "/root/anaconda-ks.cfg",
        "/var/lib/etcd",
        "/var/lib/etcd/data/a",
        "/var/lib/firstboot",
        "/var/lib/firstboot/a",
        "/var/log/anaconda/a.log",
    ] {
        refused(
            &file(path),
            &format!("{path} cannot be a file of the image"),
        );
    }
    // systemd requires this name for a mount at /mnt/a-b.
    let mount = "/etc/systemd/system/mnt-a\\\\x2db.mount";
    for path in [
        "/boot/grub2/user.cfg",
        "/etc/audit/rules.d/own.rules",
        "/etc/default/grub",
        "/etc/hostname.own",
        "/etc/passwd.own",
        "/root/.ssh/config",
        "/etc/etcd.own/a",
        mount,
    ] {
        assert_eq!(said(&file(path)), Vec::<String>::new(), "{path}");
    }
    let resolver = file("/etc/resolv.conf");
    assert!(read(&resolver).recipe.is_some());
    assert!(
        said(&resolver)[0].contains("NetworkManager can rewrite /etc/resolv.conf"),
        "{:?}",
        said(&resolver)
    );
}

/// The installer's tar cannot replace a folder that has files, but replaces an empty folder. When
/// tar runs, the installer has already erased the disk.
#[test]
fn a_file_in_the_place_of_a_folder_is_refused() {
    let file = |path: &str| format!("{GOOD}\n[files.overlay]\n\"{path}\" = \"a\"\n");
    for path in [
        "/boot",
        "/dev",
        "/etc",
        "/etc/audit",
        "/etc/firstboot",
        "/etc/rc.d",
        "/etc/sysctl.d",
        "/etc/systemd",
        "/home",
        "/opt",
        "/proc",
        "/root",
        "/root/.ssh",
        "/run",
        "/srv",
        "/sys",
        "/tmp",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/local/bin",
        "/var",
        "/var/lib",
        "/var/run",
    ] {
        refused(&file(path), &format!("{path} is a folder on the node"));
    }
    for path in [
        "/.autorelabel",
        "/etc/sysctl.conf",
        "/etc/sysctl.d/own.conf",
        "/opt/own",
        "/root/own",
        "/srv/own/a",
        "/usr/bin/own",
        "/usr/local/bin/own",
        "/var/library",
    ] {
        assert_eq!(said(&file(path)), Vec::<String>::new(), "{path}");
    }
}
