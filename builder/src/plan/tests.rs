//! Tests that a plan shows the contents of an image, and the CentOS 7 guide's values next to the
//! image's values.

use super::*;
use crate::documentation::{documented, keys};

const GOOD: &str = include_str!("../../../recipes/three-node.toml");

fn planned(more: &str) -> Plan {
    let reading = recipes::recipe::read(&format!("{GOOD}\n{more}"));
    let recipe = reading
        .recipe
        .unwrap_or_else(|| panic!("{:?}", reading.findings));
    plan(&recipe, &render::overlay(&recipe).unwrap(), &[]).unwrap()
}

#[test]
fn a_plan_shows_the_contents_of_the_image() {
    let shown = text::render(&planned("[install.partitions]\netcd = \"9 GiB\"\n"));
    for line in [
        "3 members of etcd in cluster.local, etcd 3.6.14, profile etcd",
        "etcd-2  10.101.15.102  etcd-2.cluster.local",
        "/var/lib/etcd  9 GiB  defaults,noatime",
        "etcd.service                        enabled",
        "kdump.service                       disabled",
        "2380  10.101.15.0/24",
        "/etc/systemd/system/etcd.service",
        "  quota-backend-bytes    -      2147483648",
    ] {
        let found = shown
            .lines()
            .any(|found| found.trim_start_matches('*').trim() == line.trim());
        assert!(found, "{line:?} is not in\n{shown}");
    }
}

#[test]
fn a_plan_shows_the_guides_and_the_images_values_side_by_side() {
    let line = |more: &str, key: &str| {
        let shown = text::render(&planned(more));
        let line = shown
            .lines()
            .find(|line| line.contains(key))
            .unwrap_or_else(|| panic!("no {key}"))
            .to_owned();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let guide = "[tuning]\nprofile = \"guide\"\n";
    assert_eq!(line("", " vm.dirty_ratio"), "* vm.dirty_ratio 60 10");
    assert_eq!(line(guide, " vm.dirty_ratio"), "vm.dirty_ratio 60 60");
    assert_eq!(
        line("", "ip_local_reserved_ports "),
        "* net.ipv4.ip_local_reserved_ports - 2379-2381"
    );
    assert_eq!(line("", "kernel.pid_max"), "* kernel.pid_max 65536 -");
    assert_eq!(
        line(
            "[tuning.sysctl]\n\"kernel.pid_max\" = 99\n",
            "kernel.pid_max"
        ),
        "* kernel.pid_max 65536 99"
    );
}

#[test]
fn the_json_contains_every_setting_with_both_values_and_its_reason() {
    let json = serde_json::to_value(planned("")).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let ratio = settings
        .iter()
        .find(|setting| setting["key"] == "vm.dirty_ratio")
        .unwrap();
    assert_eq!(
        (&ratio["place"], &ratio["guide"], &ratio["image"]),
        (&"sysctl".into(), &"60".into(), &"10".into())
    );
    assert!(ratio["why"].as_str().unwrap().contains("fsync"));
    assert!(settings.len() > 80, "{}", settings.len());
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_a_plan() {
    let plan = planned("");
    assert_eq!(documented("json.md", "builder plan"), keys(&plan));
    assert_eq!(documented("json.md", "A setting"), keys(&plan.settings[0]));
}

#[test]
fn the_files_can_be_written_to_a_new_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = (
        recipes::recipe::read(GOOD).recipe.unwrap(),
        folder.path().join("out"),
    );
    let overlay = render::overlay(&recipe).unwrap();
    let user_files = [user_file("etc/motd", b"\xffhello")];
    write(&out, &overlay, &user_files, "kickstart").unwrap();
    assert!(
        fs::read_to_string(out.join("overlay/etc/fstab"))
            .unwrap()
            .contains("LABEL=etcd")
    );
    let mode = |path: &str| {
        let metadata = fs::metadata(out.join("overlay").join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("etc/ssh/sshd_config"), 0o600);
    assert_eq!(mode("etc/motd"), 0o640);
    assert_eq!(
        fs::read(out.join("overlay/etc/motd")).unwrap(),
        b"\xffhello"
    );
    let again = format!("{:#}", write(&out, &overlay, &[], "").unwrap_err());
    assert!(again.contains("must not exist yet"), "{again}");
}

#[test]
fn a_plan_lists_the_users_files_among_the_others() {
    let recipe = recipes::recipe::read(GOOD).recipe.unwrap();
    let overlay = render::overlay(&recipe).unwrap();
    let files = plan(&recipe, &overlay, &[user_file("etc/motd", b"")])
        .unwrap()
        .files;
    assert!(files.contains(&"/etc/motd".to_owned()), "{files:?}");
    assert!(files.is_sorted(), "{files:?}");
    assert_eq!(files.len(), overlay.len() + 1);
}

fn user_file(path: &str, bytes: &[u8]) -> UserFile {
    UserFile {
        path: path.to_owned(),
        mode: 0o640,
        owner: 0,
        source: PathBuf::from("motd"),
        span: 0..0,
        bytes: bytes.to_vec(),
    }
}
