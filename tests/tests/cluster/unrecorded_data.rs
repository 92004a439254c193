//! Tests that unrecorded data stays unchanged, and that etcd does not start on it. Unrecorded data
//! is data that the journal does not record.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{etcd, process, programs, run};

use crate::lifecycle::REQUIREMENTS;
use crate::refusal::refused;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "data_that_the_journal_does_not_record_stays_unchanged",
        REQUIREMENTS,
        unrecorded_data,
    )]
}

const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(180);
const VOLUME: &str = "/var/lib/etcd";
const STATE: &str = "/var/lib/firstboot";

fn unrecorded_data() -> Result<()> {
    etcd::release("3.5.1")?;
    let ours = Provisioning::new()?;
    ours.build(&programs::demo(1, "", "")?)?;
    let mut host = ours.node("etcd-1")?;
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    etcdctl(&host, "put answer 42")?;
    host.cut_power()?;
    let kept = run::current()?
        .folder("kept")?
        .join("volume")
        .display()
        .to_string();
    let volume = host.path(VOLUME).display().to_string();
    process::check("cp", &["-a", &volume, &kept])?;

    // A newly installed system gets the old volume.
    process::check(
        "find",
        &[
            &host.path(STATE).display().to_string(),
            "-mindepth",
            "1",
            "-delete",
        ],
    )?;
    let refuses = |host: &mut Host, words: &str| -> Result<()> {
        let before = picture(host)?;
        refused(host, words)?;
        ensure!(
            picture(host)? == before,
            "refused data was changed ({words})"
        );
        Ok(())
    };
    refuses(&mut host, "[data-unknown]")?;

    // The operator moves the data away, as the refusal advises. After the node's journal has
    // recorded a new disk id, a copy of the old volume is attached to the node.
    fs::rename(
        host.path("/var/lib/etcd/data"),
        host.path("/var/lib/etcd/moved"),
    )?;
    host.boot()?;
    wait_healthy(&host, 1, CONVERGENCE_TIMEOUT)?;
    ensure!(
        etcdctl(&host, "get answer")?.is_empty(),
        "the new cluster has the old cluster's data"
    );
    host.cut_power()?;
    process::check("rm", &["-rf", &volume])?;
    process::check("cp", &["-a", &kept, &volume])?;
    refuses(&mut host, "[data-other-volume]")?;

    // The journal is damaged and cannot be trusted.
    let journal = host.read(&format!("{STATE}/journal"))?;
    fs::write(
        host.path(STATE).join("journal"),
        journal.replacen("accepted", "excepted", 1),
    )?;
    refuses(&mut host, "journal:1 is damaged")
}

/// Returns a listing of etcd's data, including inodes and modification times.
fn picture(host: &Host) -> Result<Vec<String>> {
    let data = host.path(VOLUME).join("data").display().to_string();
    let found = process::check("find", &[&data, "-printf", "%p %m %U:%G %s %i %T@\n"])?;
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    ensure!(
        lines.iter().any(|line| line.contains("member/wal")),
        "there is no data: {lines:?}"
    );
    lines.sort();
    Ok(lines)
}
