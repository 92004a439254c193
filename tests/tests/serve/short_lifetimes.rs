//! Tests nodes whose certificates are valid only for minutes. While clients write to etcd, a server
//! signs the nodes' requests for new certificates. No operator is involved, and etcd does not
//! restart. No private key appears outside the files in which it is stored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, OPERATOR, Writers};
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::harness::{long, trial};
use tests::host::Host;
use tests::network::Capture;
use tests::process;
use tests::requirement::NEEDS_CLUSTER;
use tests::run;
use tests::secrets::PrivateKeys;

use crate::bed::Server;
use crate::enrolment::{built_with, served};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const TIMEOUT: Duration = Duration::from_secs(180);
/// The interval at which the test reads the certificates that etcd's ports present. Every
/// certificate is in use for longer than this interval.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The pause between two writes of one writer. The test lasts for minutes and sets no limit on the
/// gaps between writes, so few writes are enough.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);
/// The time limit for a member's answer. etcd itself gives up after 7 s, so a write fails only if
/// etcd refuses it, and not if the machine that runs the tests stalls for some seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const PORTS: [u16; 2] = [2379, 2380];
const OWN_KEYS: &str = "/var/lib/firstboot/keys.pem";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "short_lived_certificates_are_renewed_while_clients_write",
            NEEDS_CLUSTER,
            || renewed(2, 1),
        ),
        long(
            "certificates_of_ten_minutes_are_renewed_while_clients_write",
            NEEDS_CLUSTER,
            || renewed(10, 3),
        ),
        long(
            "a_node_that_waits_or_is_off_until_its_certificates_expire_gets_new_certificates",
            NEEDS_CLUSTER,
            off,
        ),
    ]
}

/// Runs a cluster whose certificates are valid for `minutes`, until each node has renewed its
/// certificates at least `times` times.
fn renewed(minutes: u64, times: usize) -> Result<()> {
    let (ours, recipe) = built_with(&format!("certificate-minutes = {minutes}"))?;
    let scratch = run::current()?.folder("secrets")?;
    let traffic = Capture::start(ours.network.world(), &scratch, &[8081, 8443])?;
    let server = served(&ours, &recipe, &[])?;
    let mut hosts = machines(&ours)?;
    for host in &hosts {
        let debug = "[Manager]\nDefaultEnvironment=ETCD_LOG_LEVEL=debug RUST_LOG=trace RUST_BACKTRACE=full\n";
        host.write("/etc/systemd/system.conf.d/96-debug.conf", debug, 0o644)?;
    }
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, TIMEOUT)?;
    }
    let etcd = etcd_processes(&hosts)?;
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    Client::operator(&ours)?;
    let client = Client::with_timeout(&ours, OPERATOR, CALL_TIMEOUT)?;
    let writers = Writers::with_interval(&client, &addresses, "renew/", WRITE_INTERVAL);

    let life = Duration::from_secs(60 * minutes);
    let mut seen = Presented::new(&ours, &hosts);
    seen.wait_for(times, life * u32::try_from(times + 1)?)?;
    let (server, log) = outage(&ours, &recipe, &hosts[0], (server, life))?;
    let before = seen.least();
    seen.wait_for(before, life)?;

    writers.wait_for_more(10, TIMEOUT)?;
    let written = writers.stop()?;
    println!(
        "{} writes acknowledged, {} failed, longest gap {:.1?}; each port presented at least {} certificates",
        written.count(),
        written.failed,
        written.longest_gaps().1,
        before + 1
    );
    ensure!(
        written.failed == 0,
        "{} writes failed; the last failure: {}",
        written.failed,
        written.trouble
    );
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "renew/"))?)?;
    }
    ensure!(etcd_processes(&hosts)? == etcd, "etcd was restarted");
    nothing_accumulates(&ours)?;
    let logs = log + &server.output()?;
    no_key_is_anywhere(&ours, &hosts, (&scratch, &traffic, logs))
}

fn machines(ours: &Provisioning) -> Result<Vec<Host>> {
    let install = |name: &&str| {
        let mut host = ours.machine(name)?;
        ours.install(&mut host)?;
        Ok(host)
    };
    NAMES.iter().map(install).collect()
}

/// Stops the server until a renewal has failed. The node reports the failure and tries again.
/// Returns the new server, and the output of the old server.
fn outage(
    ours: &Provisioning,
    recipe: &Path,
    host: &Host,
    (server, life): (Server, Duration),
) -> Result<(Server, String)> {
    let log = server.output()?;
    drop(server);
    host.wait_for("firstboot status | grep -qF '[renewal-failed]'", life)?;
    let said = host.check(&["firstboot", "status"])?;
    println!("{said}");
    let json = host.check(&["firstboot", "status", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    let failed = &json["renewal"];
    ensure!(
        failed["attempts"].as_u64() > Some(0)
            && failed["next"].as_u64() > failed["since"].as_u64()
            && failed["why"]
                .as_str()
                .is_some_and(|why| why.contains("8443")),
        "{json:#}"
    );
    let server = served(ours, recipe, &[])?;
    host.wait_for("! firstboot status | grep -qF '[renewal-failed]'", life)?;
    Ok((server, log))
}

/// The fingerprints of the certificates that each node has presented so far, by host and port.
struct Presented<'a> {
    ours: &'a Provisioning,
    hosts: &'a [Host],
    seen: Vec<BTreeSet<String>>,
}

impl<'a> Presented<'a> {
    fn new(ours: &'a Provisioning, hosts: &'a [Host]) -> Self {
        Self {
            ours,
            hosts,
            seen: vec![BTreeSet::new(); hosts.len() * PORTS.len()],
        }
    }

    fn look(&mut self) -> Result<()> {
        let places = self
            .hosts
            .iter()
            .flat_map(|host| PORTS.map(|port| (host, port)));
        for ((host, port), seen) in places.zip(&mut self.seen) {
            let place = format!("{}:{port}", host.address());
            let script = format!(
                "openssl s_client -connect {place} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
            );
            let mut shell = self.ours.network.world().command("sh");
            let shown = process::run(shell.args(["-c", &script]))?.ok()?;
            ensure!(shown.contains("Fingerprint"), "{place}: {shown}");
            seen.insert(shown);
        }
        Ok(())
    }

    /// Returns the smallest number of renewals that any port has shown.
    fn least(&self) -> usize {
        let least = self.seen.iter().map(BTreeSet::len).min();
        least.unwrap_or_default().saturating_sub(1)
    }

    /// Waits until every port has shown this many renewals.
    fn wait_for(&mut self, renewals: usize, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout;
        loop {
            self.look()?;
            if self.least() >= renewals {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "after {timeout:?} some port has shown fewer than {renewals} renewals: {:?}",
                self.seen.iter().map(BTreeSet::len).collect::<Vec<_>>()
            );
            sleep(LOOK_INTERVAL);
        }
    }
}

/// Checks that the renewals add no files to the nodes' folders in the PKI.
fn nothing_accumulates(ours: &Provisioning) -> Result<()> {
    for name in NAMES {
        let folder = ours.pki().join("nodes").join(name);
        let mut files: Vec<String> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        files.sort();
        ensure!(
            files
                == [
                    "client.crt",
                    "contents-digest",
                    "enrolled.pub",
                    "peer.crt",
                    "server.crt"
                ],
            "{files:?}"
        );
    }
    Ok(())
}

fn etcd_processes(hosts: &[Host]) -> Result<Vec<String>> {
    let begun = "--property=MainPID,ExecMainStartTimestampMonotonic,NRestarts";
    let process = |host: &Host| host.check(&["systemctl", "show", begun, "etcd.service"]);
    hosts.iter().map(process).collect()
}

/// Searches the files, journals and logs of the server and the nodes, and the traffic with the
/// server, for every private key of the nodes.
fn no_key_is_anywhere(
    ours: &Provisioning,
    hosts: &[Host],
    (scratch, traffic, logs): (&Path, &Capture, String),
) -> Result<()> {
    let mut keys = PrivateKeys::default();
    let copies = run::current()?.folder("copies")?;
    fs::write(copies.join("packets"), traffic.packets()?)?;
    fs::write(copies.join("server"), &logs)?;
    let out = ours.out();
    let world = out.parent().unwrap_or(&out).to_owned();
    let mut folders = vec![copies.clone(), world];
    for host in hosts {
        keys.add(&host.read(OWN_KEYS)?)?;
        let journal = host.check(&["journalctl", "--no-pager", "--all", "--output=export"])?;
        ensure!(
            journal.contains("\"level\":\"debug\""),
            "etcd's log has no debug messages"
        );
        fs::write(copies.join(format!("{}-journal", host.name())), journal)?;
        // Copy the content of /run, a tmpfs that is visible only inside the host.
        let run = "grep -raF -D skip '' /run --exclude-dir=lock 2>/dev/null || true";
        let run = host.check(&["sh", "-c", run])?;
        fs::write(copies.join(format!("{}-run", host.name())), run)?;
        let places = ["etc", "var", "root", "tmp", "boot", "home", "opt", "srv"];
        folders.extend(
            places
                .map(|place| host.path(place))
                .into_iter()
                .filter(|path| path.exists()),
        );
    }
    ensure!(keys.count() == 9, "{} keys", keys.count());
    for (file, words) in [
        ("packets", "POST /enrol"),
        ("server", "receives new certificates"),
    ] {
        let found = fs::read(copies.join(file))?;
        let is_there = found
            .windows(words.len())
            .any(|part| part == words.as_bytes());
        // The packets must not contain the request in plain text, and the log must show that there
        // was a request.
        ensure!(
            is_there == (file == "server"),
            "{file}: {words}: {is_there}"
        );
    }
    ensure!(traffic.packets()?.len() > 10_000, "no traffic was recorded");
    let found = keys.search(&folders, scratch)?;
    let own = |place: &str| {
        let installed = place.split_once("/etc/etcd/tls/").map(|(_, name)| name);
        place.ends_with(OWN_KEYS)
            || installed
                .is_some_and(|name| ["server.key", "peer.key", "client.key"].contains(&name))
    };
    let exposed: Vec<&String> = found.iter().filter(|place| !own(place)).collect();
    ensure!(exposed.is_empty(), "private keys are in {exposed:#?}");
    ensure!(
        found.len() == 4 * hosts.len(),
        "the search did not find all of the keys' own files: {found:#?}"
    );
    Ok(())
}

/// Tests a node whose certificates expire while it waits for another member, and a node whose
/// certificates expire while it is off.
fn off() -> Result<()> {
    let (ours, recipe) = built_with("certificate-minutes = 1")?;
    let _server = served(&ours, &recipe, &[])?;
    let mut hosts = machines(&ours)?;
    boot_all(&mut hosts[..2])?;
    for host in &hosts[..2] {
        let waits = "journalctl --no-pager -u firstboot | grep -qF '[members-not-ready]'";
        host.wait_for(waits, TIMEOUT)?;
    }
    let certificate = |host: &Host| host.read("/etc/etcd/tls/peer.crt");
    let first = certificate(&hosts[0])?;
    sleep(Duration::from_secs(90));
    ensure!(
        certificate(&hosts[0])? != first,
        "the node still has its old certificates while it waits"
    );
    hosts[2].boot()?;
    for host in &hosts {
        wait_healthy(host, 3, TIMEOUT)?;
    }

    // If the timer were enabled, it could renew the certificates before firstboot.service does.
    hosts[1].check(&["systemctl", "disable", "firstboot-renew.timer"])?;
    hosts[1].shutdown()?;
    let last = certificate(&hosts[1])?;
    sleep(Duration::from_secs(75));
    hosts[1].boot()?;
    wait_healthy(&hosts[1], 3, TIMEOUT)?;
    ensure!(
        certificate(&hosts[1])? != last,
        "the node still has its old certificates after the boot"
    );
    let said = hosts[1].journal("firstboot")?;
    ensure!(
        said.contains("the certificates of the node document expired on "),
        "{said}"
    );
    Ok(())
}
