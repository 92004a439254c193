//! Tests a member that does not wait for other members, and therefore prepares the new data while
//! etcd is still running. etcd keeps running after every fault in that data.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::cluster::{Provisioning, etcdctl, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::programs::demo;

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS, token};
use crate::orders::{SNAPSHOT, content};

const IN_THE_MAKING: &str = "/var/lib/etcd/restore";
/// The maximum number of attempts to signal etcdutl. If etcdutl finishes before the test sends the
/// signal, the test tries again.
const MAX_ATTEMPTS: usize = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "etcd_survives_every_failure_of_the_prebuilt_data",
        REQUIREMENTS,
        all,
    )]
}

fn begin(host: &Host) -> Result<Child> {
    let mut command = host.command(&["firstboot", "restore", SNAPSHOT])?;
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the command")
}

struct Before(Value, String);

impl Before {
    fn of(host: &Host) -> Result<Self> {
        etcdctl(host, "put answer 43")?;
        Ok(Self(content(host)?, token(host)?))
    }

    fn still(&self, host: &Host) -> Result<()> {
        wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
        ensure!(
            content(host)? == self.0 && token(host)? == self.1,
            "the member has changed"
        );
        Ok(())
    }
}

/// Sends a signal to etcdutl while it works on a restore. The test cannot replace the image's
/// etcdutl, because firstboot would detect the change.
fn caught(host: &Host, signal: &str) -> Result<(Child, Before)> {
    for _ in 0..MAX_ATTEMPTS {
        let before = Before::of(host)?;
        host.sh("rm -f /root/there /root/enough")?.ok()?;
        let script = format!(
            "until [ -e /root/enough ]; do if pkill -{signal} -x etcdutl; then touch /root/there; exit; fi; done"
        );
        let mut catcher = host
            .command(&["sh", "-c", &script])?
            .spawn()
            .context("cannot start the catcher")?;
        let mut restore = begin(host)?;
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        while !host.path("/root/there").exists() && restore.try_wait()?.is_none() {
            ensure!(
                Instant::now() < end,
                "etcdutl was not caught, and the restore did not finish"
            );
            sleep(Duration::from_millis(10));
        }
        fs::write(host.path("/root/enough"), "")?;
        catcher.wait()?;
        if host.path("/root/there").exists() {
            return Ok((restore, before));
        }
        restore.wait()?;
        wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
    }
    bail!("etcdutl was never caught while it worked")
}

fn all() -> Result<()> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::without_firewall()?;
    provisioning.build(&demo(1, "", "")?)?;
    let host = &mut provisioning.node("etcd-1")?;
    host.boot()?;
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
    etcdctl(host, "put answer 42")?;
    // With this much data, etcdutl runs long enough for the test to kill it midway.
    host.sh("head -c 1000000 /dev/urandom | base64 -w 0 > /root/value")?
        .ok()?;
    for number in 0..30 {
        etcdctl(host, &format!("put fill/{number} < /root/value"))?;
    }
    etcdctl(host, &format!("snapshot save {SNAPSHOT}"))?;

    // etcdutl fails, and leaves incomplete data behind.
    let (restore, before) = caught(host, "KILL")?;
    let failed = restore.wait_with_output()?;
    let said = String::from_utf8_lossy(&failed.stderr);
    ensure!(
        failed.status.code() == Some(1) && said.contains("etcd keeps running"),
        "{failed:?}"
    );
    ensure!(
        !host.path(IN_THE_MAKING).exists(),
        "partial new data is left"
    );
    before.still(host)?;

    // The power is cut while etcdutl is at work.
    let (mut restore, before) = caught(host, "STOP")?;
    host.cut_power()?;
    restore.wait()?;
    host.boot()?;
    before.still(host)?;

    // The power is cut again after the node has received the order. The next boot completes the
    // restore, and the leftovers of the interrupted restore are harmless.
    let before = Before::of(host)?;
    let orders = |host: &Host| {
        let journal =
            fs::read_to_string(host.path("/var/lib/firstboot/journal")).unwrap_or_default();
        journal.matches("\"event\":\"told\"").count()
    };
    let count = orders(host);
    let mut restore = begin(host)?;
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while orders(host) == count {
        ensure!(Instant::now() < end, "no host has an order");
        sleep(Duration::from_millis(1));
    }
    host.cut_power()?;
    restore.wait()?;
    host.boot()?;
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
    ensure!(
        token(host)? != before.1,
        "the order from before the power cut was not carried out"
    );
    ensure!(etcdctl(host, "get answer --print-value-only")?.trim() == "42");
    ensure!(
        !host.path(IN_THE_MAKING).exists(),
        "the prepared data is left"
    );
    Ok(())
}
