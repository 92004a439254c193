//! Power-on of three installed machines to a healthy cluster, against the same machines with etcd configured by hand.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Row, table, timed};
use crate::cluster::{Provisioning, boot_all};
use crate::host::Host;
use crate::{etcd, process, programs};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

/// Measures so many runs of each, in turns, and gives the table.
pub fn run(runs: usize) -> Result<String> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let mut hosts = NAMES.iter().map(|name| provisioning.machine(name)).collect::<Result<Vec<Host>>>()?;
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..runs {
        for (by_hand, times) in times.iter_mut().enumerate() {
            for host in &mut hosts {
                host.wipe()?;
                provisioning.install(host)?;
                let configured = if by_hand == 1 {
                    configure_by_hand(&provisioning, host)
                } else {
                    provisioning.tell(host, host.name())
                };
                configured?;
            }
            times.push(timed(|| {
                boot_all(&mut hosts)?;
                wait_until_healthy(&provisioning)
            })?);
            for host in &mut hosts {
                host.pull_the_plug()?;
            }
        }
    }
    let [ours, theirs] = times;
    let rows = [
        Row { name: "firstboot".to_owned(), times: ours, bytes: 1 },
        Row { name: "etcd.conf by hand, systemd".to_owned(), times: theirs, bytes: 1 },
    ];
    Ok(format!("{}{runs} runs of each, in turns: three machines from power-on to healthy\n", table(&rows)))
}

/// What the guide has an operator write on each node, and no firstboot.
fn configure_by_hand(provisioning: &Provisioning, host: &Host) -> Result<()> {
    let (name, own) = (host.name(), host.address());
    for file in ["server.crt", "server.key", "peer.crt", "peer.key"] {
        let bytes = fs::read(provisioning.pki().join("nodes").join(name).join(file))?;
        host.write(&format!("/etc/etcd/tls/{file}"), bytes, 0o600)?;
    }
    host.write("/etc/etcd/tls/ca.crt", fs::read(provisioning.pki().join("ca.crt"))?, 0o644)?;
    let members: Vec<String> = (1..=3).map(|n| format!("etcd-{n}=https://10.101.15.{}:2380", 100 + n)).collect();
    let pairs = [
        ("NAME", name.to_owned()),
        ("DATA_DIR", "/var/lib/etcd/data".to_owned()),
        ("LISTEN_PEER_URLS", format!("https://{own}:2380")),
        ("LISTEN_CLIENT_URLS", format!("https://{own}:2379,https://127.0.0.1:2379")),
        ("INITIAL_ADVERTISE_PEER_URLS", format!("https://{own}:2380")),
        ("ADVERTISE_CLIENT_URLS", format!("https://{own}:2379")),
        ("INITIAL_CLUSTER", members.join(",")),
        ("INITIAL_CLUSTER_STATE", "new".to_owned()),
        ("CERT_FILE", "/etc/etcd/tls/server.crt".to_owned()),
        ("KEY_FILE", "/etc/etcd/tls/server.key".to_owned()),
        ("TRUSTED_CA_FILE", "/etc/etcd/tls/ca.crt".to_owned()),
        ("CLIENT_CERT_AUTH", "true".to_owned()),
        ("PEER_CERT_FILE", "/etc/etcd/tls/peer.crt".to_owned()),
        ("PEER_KEY_FILE", "/etc/etcd/tls/peer.key".to_owned()),
        ("PEER_TRUSTED_CA_FILE", "/etc/etcd/tls/ca.crt".to_owned()),
        ("PEER_CLIENT_CERT_AUTH", "true".to_owned()),
    ];
    let conf: Vec<String> = pairs.iter().map(|(key, value)| format!("ETCD_{key}={value}\n")).collect();
    host.write("/etc/etcd/etcd.conf", conf.concat(), 0o644)?;
    let unit = host.read("/etc/systemd/system/etcd.service")?;
    let unit = unit.replace("ConditionPathExists=/run/firstboot/ready\n", "").replace("firstboot.service", "");
    host.write("/etc/systemd/system/etcd.service", unit, 0o644)?;
    fs::remove_file(host.path("/etc/systemd/system/multi-user.target.wants/firstboot.service"))?;
    let owned = [host.path("/etc/etcd/tls"), host.path("/var/lib/etcd")].map(|path| path.display().to_string());
    process::check("chown", &["-R", "450:450", &owned[0], &owned[1]])?;
    Ok(())
}

/// Asks each member the same way for both: by the health of etcd itself, every 20 ms.
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
            let asked = process::run(provisioning.network.world().command("bash").args(["-c", &script]))?;
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
