//! Tests that a node gets the object store's keys from its document, and that neither the image nor
//! the systemd journal contains the keys.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::wait_healthy;
use tests::harness::trial;
use tests::host::Host;
use tests::process;
use tests::programs::demo;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_reinstalled_node_gets_the_store_keys_from_its_document",
        REQUIREMENTS,
        travel,
    )]
}

/// The address of a store that does not have to answer.
const STORE: &str =
    "destination = \"s3://backups/etcd\"\n[backup.s3]\nendpoint = \"http://10.101.15.1:9001\"";

const KEYS: &str = "AWS_ACCESS_KEY_ID=AKIATRAVELS\nAWS_SECRET_ACCESS_KEY=veryverysecret\n";

fn travel() -> Result<()> {
    let mut bed = Bed::new(1, STORE)?;
    let path = bed.provisioning.pki().join("s3-keys");
    fs::write(&path, KEYS)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    bed.provisioning
        .build(&demo(1, "", &format!("[backup]\n{STORE}"))?)?;
    for _ in 0..2 {
        let host = &mut bed.hosts[0];
        host.wipe()?;
        bed.provisioning.install(host)?;
        bed.provisioning.give_document(host, "etcd-1")?;
        host.boot()?;
        wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
        has_keys(host)?;
        let journal = host.journal("firstboot")?;
        ensure!(
            !journal.contains("veryverysecret") && !journal.contains("AKIATRAVELS"),
            "{journal}"
        );
        host.cut_power()?;
    }
    let image = bed
        .provisioning
        .out()
        .join("image")
        .to_string_lossy()
        .into_owned();
    let find = format!("cd {image}; zcat -f * | grep -a -c -e AKIATRAVELS -e veryverysecret");
    let found = process::run(std::process::Command::new("sh").args(["-c", &find]))?;
    ensure!(
        found.stdout.trim() == "0",
        "the image contains the keys: {found:?}"
    );
    Ok(())
}

fn has_keys(host: &Host) -> Result<()> {
    ensure!(host.read("/etc/firstboot/s3-keys")? == KEYS);
    let mode = host.check(&["stat", "-c", "%a %U", "/etc/firstboot/s3-keys"])?;
    ensure!(mode == "600 root\n", "{mode}");
    Ok(())
}
