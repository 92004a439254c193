//! Tests that the builder checks a user's files before any download, and packs them unchanged.
//! `builder check` also checks a single file according to its kind.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::harness::trial;

use crate::fixtures::{Fixture, builder, check_output};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_users_files_are_in_the_image_with_their_owner_and_mode",
            &[],
            packed,
        ),
        trial(
            "a_users_wrong_file_stops_the_build_before_anything_is_fetched",
            &[],
            wrong,
        ),
        trial("single_files_are_checked_by_their_kind", &[], loose),
    ]
}

const UNIT: &str = "[Unit]\nDescription=a\n[Service]\nExecStart=/usr/local/bin/own\n[Install]\nWantedBy=multi-user.target\n";

const FILES: &str = r#"
[files]
post = ["files/motd.sh"]

[files.overlay]
"/etc/systemd/system/own.service" = "files/own.service"
"/usr/lib/systemd/system-preset/20-own.preset" = "files/own.preset"
"/usr/local/bin/own" = { source = "files/own", owner = "etcd", mode = "0750" }
"#;

/// Makes a fixture whose recipe includes user files.
fn with_files(unit: &str) -> Result<Fixture> {
    let workshop = Fixture::warm()?;
    let recipe = fs::read_to_string(workshop.path("recipe.toml"))?;
    fs::write(workshop.path("recipe.toml"), recipe + FILES)?;
    fs::create_dir(workshop.path("files"))?;
    let put = |name: &str, text: &[u8]| fs::write(workshop.path("files").join(name), text);
    put("motd.sh", b"echo own > /etc/motd\n")?;
    put("own.service", unit.as_bytes())?;
    put("own.preset", b"enable own.service\n")?;
    // The file `own` stands for a program, and is not text.
    put("own", b"\x7fELF\xff\xfe")?;
    Ok(workshop)
}

fn packed() -> Result<()> {
    let workshop = with_files(UNIT)?;
    workshop.built()?;
    let image = workshop.out().join("image");
    let manifest: Value = serde_json::from_slice(&fs::read(image.join("manifest.json"))?)?;
    let entry = |path: &str| {
        let entries = manifest["overlay"]
            .as_array()
            .context("the manifest has no list `overlay`")?;
        entries
            .iter()
            .find(|entry| entry["path"] == path)
            .cloned()
            .with_context(|| format!("no {path}"))
    };
    let own = entry("usr/local/bin/own")?;
    ensure!(
        own["mode"] == "0750" && own["uid"] == 450 && own["gid"] == 450 && own["size"] == 6,
        "{own:#}"
    );
    let script = entry("etc/firstboot/post/01-motd.sh")?;
    ensure!(script["mode"] == "0700" && script["uid"] == 0, "{script:#}");
    entry("etc/systemd/system/own.service")?;
    let kickstart = fs::read_to_string(image.join("centos7.ks"))?;
    ensure!(
        kickstart.contains("systemctl preset 'own.service'"),
        "its unit is not preset"
    );
    ensure!(
        kickstart.contains("bash -eu /etc/firstboot/post/01-motd.sh"),
        "its script is not run"
    );
    check_output(&builder(&["verify"], &workshop.out())?, 0, &[])
}

fn wrong() -> Result<()> {
    let workshop = with_files(&UNIT.replace("[Install]", "StateDirectory=own\n[Install]"))?;
    let ran = workshop.build(&[])?;
    let place = format!("{}:5:1", workshop.path("files/own.service").display());
    check_output(
        &ran,
        3,
        &[
            "systemd 235 added StateDirectory=",
            &place,
            "tmpfiles.d",
            "nothing was built",
        ],
    )?;
    ensure!(
        workshop.server.requests().is_empty() && !workshop.out().exists(),
        "the build continued after the errors"
    );

    // The builder refuses the service, because no preset enables it.
    fs::write(workshop.path("files/own.service"), UNIT)?;
    fs::write(workshop.path("files/own.preset"), "# nothing\n")?;
    check_output(&workshop.build(&[])?, 3, &["no preset enables own.service"])?;
    fs::write(workshop.path("files/own.preset"), "enable own.service\n")?;
    workshop.built()?;

    // The recipe includes, one after another, a script that bash cannot parse, a file that would
    // replace a file of the image, and a link that leads out of the folder.
    fs::write(workshop.path("files/motd.sh"), "if true; do\n")?;
    check_output(
        &workshop.build(&[])?,
        3,
        &["files/motd.sh:1", "bash cannot parse the script"],
    )?;
    fs::write(workshop.path("files/motd.sh"), "true\n")?;
    let recipe = fs::read_to_string(workshop.path("recipe.toml"))?;
    fs::write(
        workshop.path("recipe.toml"),
        recipe.replace("/etc/systemd/system/own", "/etc/systemd/system/etcd"),
    )?;
    check_output(
        &workshop.build(&[])?,
        3,
        &["/etc/systemd/system/etcd.service is one of the image's own files"],
    )?;
    fs::write(workshop.path("recipe.toml"), recipe)?;
    fs::remove_file(workshop.path("files/own"))?;
    std::os::unix::fs::symlink("/etc/shadow", workshop.path("files/own"))?;
    check_output(
        &workshop.build(&[])?,
        3,
        &["contains a link that leads out of the recipe's folder"],
    )
    .map(drop)
}

fn loose() -> Result<()> {
    let workshop = Fixture::new()?;
    let folder = workshop.path("etc/sysctl.d");
    fs::create_dir_all(&folder)?;
    let path = folder.join("00-own.conf");
    fs::write(&path, "net.ipv4.conf.all.rp_filter = 2\n")?;
    check_output(
        &builder(&["check"], &path)?,
        0,
        &["warning: ", "50-default.conf is read later"],
    )?;
    check_output(
        &builder(&["check", "--strict"], &path)?,
        3,
        &["1 error in "],
    )?;
    let ran = builder(&["check", "--strict", "--format", "sarif"], &path)?;
    let log: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(
        ran.code() == 3 && log["runs"][0]["results"][0]["ruleId"] == "sysctl/overridden",
        "{log:#}"
    );

    let other = workshop.path("own.conf");
    fs::write(&other, "server a iburst nts\n")?;
    check_output(
        &builder(&["check"], &other)?,
        1,
        &["does not show what kind of file this is", "--as"],
    )?;
    let ran = builder(&["check", "--as", "/etc/chrony.conf"], &other)?;
    check_output(
        &ran,
        3,
        &["chrony 3.4 has no option nts", "chronyd does not start"],
    )
}
