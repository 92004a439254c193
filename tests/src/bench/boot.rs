//! Measures the time from power-on of three installed machines to a healthy cluster. Compares this
//! time with that of the same machines when etcd is configured by hand.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Row, table, timed};
use crate::cluster::{Provisioning, boot_all};
use crate::host::Host;
use crate::{etcd, process, programs, reference_setup};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

/// Measures both setups alternately, `runs` times each, and returns the table.
pub fn run(runs: usize) -> Result<String> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let mut hosts = NAMES
        .iter()
        .map(|name| provisioning.machine(name))
        .collect::<Result<Vec<Host>>>()?;
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..runs {
        for (setup, times) in times.iter_mut().enumerate() {
            for host in &mut hosts {
                host.wipe()?;
                provisioning.install(host)?;
                let configured = if setup == 1 {
                    reference_setup::configure(&provisioning, host, "new")
                } else {
                    provisioning.give_document(host, host.name())
                };
                configured?;
            }
            // A real installation ends with a reboot, which flushes everything to the disk. The
            // sync here has the same effect.
            nix::unistd::sync();
            times.push(timed(|| {
                boot_all(&mut hosts)?;
                wait_until_healthy(&provisioning)
            })?);
            for host in &mut hosts {
                host.cut_power()?;
            }
        }
    }
    let [ours, theirs] = times;
    let rows = [
        Row {
            name: "firstboot".to_owned(),
            times: ours,
            bytes: None,
        },
        Row {
            name: "etcd.conf by hand, systemd".to_owned(),
            times: theirs,
            bytes: None,
        },
    ];
    Ok(format!(
        "{}{runs} runs of each, alternating: three machines from power-on to healthy\n",
        table(&rows)
    ))
}

/// Waits until every member is healthy. In both setups, queries etcd's own health endpoint every 20
/// ms.
fn wait_until_healthy(provisioning: &Provisioning) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    let folder = provisioning.pki().join("nodes/etcd-1");
    for n in 1..=3 {
        let script = format!(
            "curl -sS -m 1 -k --cert {0}/client.crt --key {0}/client.key https://10.101.15.{1}:2379/health",
            folder.display(),
            100 + n
        );
        loop {
            let asked = process::run(
                provisioning
                    .network
                    .world()
                    .command("bash")
                    .args(["-c", &script]),
            )?;
            if asked.stdout.contains("\"health\":\"true\"") {
                break;
            }
            if Instant::now() >= end {
                bail!("etcd-{n} is not healthy after 120 s: {asked:?}");
            }
            sleep(Duration::from_millis(20));
        }
    }
    ensure!(Instant::now() < end);
    Ok(())
}
