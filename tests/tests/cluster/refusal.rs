//! A host on which firstboot must refuse to start etcd.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Provisioning;
use tests::etcd;
use tests::host::Host;
use tests::programs::recipe;

pub(crate) fn provisioned() -> Result<Provisioning> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&recipe("demo"))?;
    Ok(provisioning)
}

/// Boots a host, waits until firstboot fails, and checks that etcd is not running. Returns
/// firstboot's last message and exit code.
pub(crate) fn refusal(host: &mut Host) -> Result<(String, i32)> {
    host.boot()?;
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let shown = host
            .run(&[
                "systemctl",
                "show",
                "firstboot",
                "-p",
                "ActiveState,ExecMainStatus",
            ])?
            .stdout;
        if shown.contains("ActiveState=failed") {
            let code = shown
                .lines()
                .find_map(|line| line.strip_prefix("ExecMainStatus=")?.parse().ok());
            let journal = host.journal("firstboot")?;
            let said = journal
                .lines()
                .rfind(|line| line.contains("firstboot: "))
                .unwrap_or(&journal)
                .to_owned();
            let etcd = host.run(&["systemctl", "is-active", "etcd"])?.stdout;
            ensure!(
                etcd.trim() == "inactive",
                "etcd is {etcd} although firstboot reported {said}"
            );
            return Ok((said, code.context("no exit code")?));
        }
        ensure!(
            Instant::now() < end,
            "firstboot on {} does not stop: {shown}\n{}",
            host.name(),
            host.journal("firstboot")?
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Boots a host whose firstboot must refuse with this text, and then cuts the host's power.
pub(crate) fn refused(host: &mut Host, expected: &str) -> Result<()> {
    let (said, code) = refusal(host)?;
    ensure!(code == 3, "exit code {code}: {said}");
    ensure!(
        said.contains(expected),
        "expected {expected:?}, but firstboot reports:\n{said}"
    );
    host.cut_power()
}

pub(crate) fn replace_document(host: &Host, document: &[u8]) -> Result<()> {
    host.write("/var/lib/cloud/seed/nocloud/user-data", document, 0o600)
}
