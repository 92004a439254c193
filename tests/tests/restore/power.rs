//! Tests that a power failure at any step of a restore is safe.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS, token};
use crate::orders::{SNAPSHOT, cluster, content, restore, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "power_may_fail_at_any_step_of_a_restore",
        REQUIREMENTS,
        pulled,
    )]
}

/// Returns the number of times that an event occurs in a host's journal. The host can be on or off.
fn count(host: &Host, event: &str) -> usize {
    let journal = fs::read_to_string(host.path("/var/lib/firstboot/journal")).unwrap_or_default();
    journal.matches(&format!("\"event\":\"{event}\"")).count()
}

fn pulled() -> Result<()> {
    let mut bed = cluster("3.5.1")?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    snapshot(&bed, 0)?;
    let wanted = content(&bed.hosts[0])?;
    for (step, all) in [
        ("told", false),
        ("ready", false),
        ("exchange", false),
        ("exchanged", false),
        ("ready", true),
    ] {
        etcdctl(&bed.hosts[1], "put later 1")?;
        let first = token(&bed.hosts[0])?;
        let (others, victim) = bed.hosts.split_at_mut(2);
        let victim = &mut victim[0];
        cut(others, victim, step, all)?;
        if all {
            victim.boot()?;
        }
        // Either all members or none have restored the snapshot. In both cases, the members form a
        // single cluster.
        for host in &bed.hosts {
            wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        }
        bed.wait_all_healthy()?;
        let restored = token(&bed.hosts[0])? != first;
        println!(
            "cut at {step}: {}",
            if restored { "restored" } else { "rolled back" }
        );
        for host in &bed.hosts {
            let later = etcdctl(host, "get later --consistency=s")?;
            ensure!(
                later.is_empty() == restored,
                "{} after a cut at {step}",
                host.name()
            );
            ensure!(
                !restored || content(host)? == wanted,
                "{} after a cut at {step}",
                host.name()
            );
        }
        ensure!(
            restored || all,
            "after a cut at {step} on one of three members, no member restored"
        );
    }
    Ok(())
}

/// Restores three nodes, and cuts the power of the third node as soon as its journal contains the
/// step. If `all` is false, boots the third node again before the orders on the other nodes end.
fn cut(others: &[Host], victim: &mut Host, step: &str, all: bool) -> Result<()> {
    let last = count(victim, step);
    let arguments: &[&str] = &[SNAPSHOT, "--deadline", "60"];
    thread::scope(|scope| -> Result<()> {
        let orders = [(&others[0], arguments), (&others[1], arguments)];
        let waiting = scope.spawn(move || restore(&orders));
        let mut command = victim.command(&[&["firstboot", "restore"], arguments].concat())?;
        let mut child = command.stdout(std::process::Stdio::null()).spawn()?;
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        while count(victim, step) == last {
            ensure!(
                Instant::now() < end,
                "{} never reached {step}",
                victim.name()
            );
            sleep(Duration::from_millis(1));
        }
        victim.cut_power()?;
        child.wait()?;
        if !all {
            victim.boot()?;
        }
        let came = waiting
            .join()
            .map_err(|_| anyhow!("a command panicked"))??;
        println!(
            "cut at {step}: the other members ended with {:?}",
            came.iter()
                .map(tests::process::Output::code)
                .collect::<Vec<_>>()
        );
        Ok(())
    })
}
