//! Tests the main path: recipe, image, installation, first boot, cluster, second boot.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, etcdctl, fingerprint, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::programs::recipe;
use tests::requirement::{NEEDS_CLUSTER, Requirement};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;
/// A command that succeeds on a host whose firstboot has accepted its document.
pub(crate) const ACCEPTED: &str =
    "grep -q '\"event\":\"accepted\",\"name\":\"etcd-1\"' /var/lib/firstboot/journal";
pub(crate) const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(180);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "one_recipe_makes_a_healthy_cluster_that_stays_healthy",
        REQUIREMENTS,
        whole,
    )]
}

fn whole() -> Result<()> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&recipe("demo"))?;
    let mut hosts = NAMES
        .iter()
        .map(|name| provisioning.node(name))
        .collect::<Result<Vec<Host>>>()?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    }
    hosts.iter().try_for_each(is_left_in_peace)?;
    etcdctl(&hosts[0], "put answer 42")?;
    for host in &hosts {
        let value = etcdctl(host, "get answer --print-value-only")?;
        ensure!(value.trim() == "42", "{} reads {value:?}", host.name());
    }

    hosts.iter().try_for_each(runs_twice)?;
    let before = hosts.iter().map(fingerprint).collect::<Result<Vec<_>>>()?;
    for host in &mut hosts {
        host.shutdown()?;
    }
    boot_all(&mut hosts)?;
    for (host, before) in hosts.iter().zip(before) {
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        let after = fingerprint(host)?;
        ensure!(
            before == after,
            "{} rewrote a file:\n{before}\n{after}",
            host.name()
        );
    }
    ensure!(etcdctl(&hosts[2], "get answer --print-value-only")?.trim() == "42");
    Ok(())
}

/// Checks that firstboot aborted no request while etcd was starting. An aborted request would cause
/// a warning in etcd's log. Later warnings may come from etcdctl.
fn is_left_in_peace(host: &Host) -> Result<()> {
    let log =
        host.sh("journalctl -u etcd -o cat | sed '/ready to serve client requests/q' | grep 'rejected connection'")?;
    ensure!(log.stdout.is_empty(), "{}: {}", host.name(), log.stdout);
    Ok(())
}

/// Checks that two more runs of firstboot write nothing, because everything is already correct. The
/// check ignores the files that etcd and the system's own services write in the meantime, and the
/// folder in which each run creates and removes its lock.
fn runs_twice(host: &Host) -> Result<()> {
    let written =
        host.sh("touch /tmp/before && sleep 0.1 && firstboot run >/tmp/said 2>&1 && firstboot run >>/tmp/said 2>&1 &&
         find /boot /etc /home /opt /root /run/firstboot /srv /usr /var/backups /var/lib/etcd /var/lib/firstboot \\
              -path /var/lib/etcd/data -prune -o ! -path /run/firstboot -cnewer /tmp/before -print")?;
    ensure!(
        written.stdout.is_empty() && written.success(),
        "{} has written {written:?}",
        host.name()
    );
    let said = host.check(&["cat", "/tmp/said"])?;
    ensure!(
        said.matches("is a healthy member").count() == 2,
        "{}: {said}",
        host.name()
    );
    Ok(())
}
