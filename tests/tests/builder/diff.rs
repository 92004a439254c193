//! Tests `builder diff`, which shows how two images differ.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process::{self, Output};

use crate::fixtures::{Fixture, builder, check_output};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "two_images_are_compared_setting_by_setting",
        &[],
        compared,
    )]
}

fn compared() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    let (old, new) = (workshop.path("old"), workshop.out());
    process::check(
        "cp",
        &["-a", &new.to_string_lossy(), &old.to_string_lossy()],
    )?;
    let diff = |words: &[&str]| {
        builder(
            &[&["diff"], words, &[&old.to_string_lossy()]].concat(),
            &new,
        )
    };
    let same = diff(&[])?;
    check_output(&same, 0, &[])?;
    ensure!(same.stdout.is_empty() && same.stderr.is_empty(), "{same:?}");

    let recipe = fs::read_to_string(workshop.path("recipe.toml"))?;
    fs::write(workshop.path("motd"), "hello\n")?;
    let more = "\n[tuning.sysctl]\n\"vm.swappiness\" = 10\n\n[files.overlay]\n\"/etc/motd.d/own\" = \"motd\"\n";
    fs::write(
        workshop.path("recipe.toml"),
        format!(
            "{}{more}",
            recipe.replace("[etcd]\n", "[etcd]\nquota = \"4 GiB\"\n")
        ),
    )?;
    workshop.built()?;
    let ran = diff(&[])?;
    names_differences(&ran)?;
    let json: serde_json::Value = serde_json::from_str(&diff(&["--json"])?.stdout)?;
    ensure!(
        json[0]["what"] == "/etc/firstboot/cluster.json" && json[0]["lines"].is_array(),
        "{json:#}"
    );
    // Before the builder replaces the old image, it also warns about an update that etcd does not
    // support.
    warns_of_a_skipped_minor(&workshop, &old, &diff)
}

fn names_differences(ran: &Output) -> Result<()> {
    check_output(
        ran,
        4,
        &[
            "differences",
            "/etc/motd.d/own: new, 0644 0:0 6 bytes",
            "/etc/sysctl.d/95-etcd.conf\n",
        ],
    )?;
    for line in [
        "  +vm.swappiness = 10",
        "  -    \"quota-backend-bytes\": 2147483648,",
        "  +    \"quota-backend-bytes\": 4294967296,",
    ] {
        ensure!(
            ran.stdout.lines().any(|said| said == line),
            "not printed: {line}\n{}",
            ran.stdout
        );
    }
    for follows in ["image.json", "SHA256SUMS", "centos7.ks"] {
        ensure!(
            !ran.stdout.contains(follows),
            "{follows} is listed, although it differs only because other files differ:\n{}",
            ran.stdout
        );
    }
    Ok(())
}

fn warns_of_a_skipped_minor(
    workshop: &Fixture,
    old: &Path,
    diff: &dyn Fn(&[&str]) -> Result<Output>,
) -> Result<()> {
    let new = workshop.out();
    let manifest = old.join("image/manifest.json");
    let text = fs::read_to_string(&manifest)?;
    fs::write(
        &manifest,
        text.replace("\"etcd\": \"3.5.99\"", "\"etcd\": \"3.7.1\""),
    )?;
    let words = [
        "etcd: 3.7.1 -> 3.5.99",
        "warning: no node can be updated",
        "does not support skipping a minor version",
    ];
    check_output(&diff(&[])?, 4, &words)?;
    let json: serde_json::Value = serde_json::from_str(&diff(&["--json"])?.stdout)?;
    ensure!(
        json[0]["warning"]
            .as_str()
            .is_some_and(|warning| warning.contains("3.7.1")),
        "{json:#}"
    );
    fs::copy(&manifest, new.join("image/manifest.json"))?;
    check_output(
        &workshop.build(&[])?,
        0,
        &[
            "warning: the nodes may be running the image in",
            "does not support skipping a minor version",
        ],
    )?;
    check_output(
        &builder(&["diff", "/nowhere"], &new)?,
        1,
        &["/nowhere: it contains neither image/manifest.json"],
    )
}
