//! Three installed hosts that stay on. The sweep resets the hosts to their installed state instead
//! of booting new hosts, because a boot takes longer than the test of a crash point.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::order::TracerOrder;
use super::releases::{self, Releases, UpdateKind};
use super::state::State;
use super::traced::CRASH;
pub use super::traced::Traced;
use crate::client::Client;
use crate::cluster::{
    Provisioning, boot_all, etcdctl, give_document, move_leadership, status, wait_healthy,
};
use crate::harness::tail;
use crate::host::{Host, POLL_INTERVAL};
use crate::lossy::{Disk, Loss, Tree};
use crate::{etcd, process, programs, run};

/// The time limit for any step. The limit is generous, because no test measures the duration of a
/// step.
pub const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(240);

/// Resets a host to the state right after its installation.
const FORGET: &str = "set -e
systemctl stop leave.service order-update.service firstboot-update.service firstboot.service etcd.service
systemctl reset-failed
find /etc/etcd /var/lib/firstboot /var/lib/etcd -mindepth 1 -delete
rm -rf /etc/hostname /run/firstboot/*
tar -C / -xpf /crash/installed.tar";

/// The paths on a host that firstboot writes to and that `installed.tar` contains.
const WRITTEN: [&str; 4] = ["etc/etcd", "etc/hosts", "var/lib/firstboot", "var/lib/etcd"];

/// Three hosts of one cluster, with the orders for their tracers.
#[derive(Debug)]
pub struct Bed {
    // The hosts must be dropped before their network.
    /// The hosts etcd-1 to etcd-3.
    pub hosts: Vec<Host>,
    folders: Vec<PathBuf>,
    /// For each host, two disks: one with the files of firstboot, of the image and of the operator,
    /// and one with etcd's volume. The list is empty if no host loses unflushed data.
    disks: Vec<[Disk; 2]>,
    provisioning: Provisioning,
    /// The builder's output after the replacement of the CA.
    rotated: PathBuf,
}

impl Bed {
    /// Makes three installed nodes of the demo's recipe with their node documents. The nodes are
    /// switched off. `tracer` is the path of the program `tracer`.
    pub fn new(tracer: &Path, kind: UpdateKind) -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let provisioning = Provisioning::without_firewall()?;
        releases::build(&provisioning)?;
        let releases = Releases::new(&provisioning, kind)?;
        let (mut hosts, mut folders) = (Vec::new(), Vec::new());
        for name in ["etcd-1", "etcd-2", "etcd-3"] {
            let mut host = provisioning.node(name)?;
            releases.install(&mut host)?;
            let folder = run::current()?.folder("crash")?;
            fs::copy(tracer, folder.join("tracer"))
                .with_context(|| format!("cannot copy {}", tracer.display()))?;
            for traced in Traced::ALL {
                let own = folder.join(traced.name());
                fs::create_dir(&own)?;
                fs::set_permissions(&own, fs::Permissions::from_mode(0o777))?;
                traced.install(&host)?;
            }
            host.bind(&folder, CRASH);
            let root = host.root().display().to_string();
            for (name, paths) in [("installed.tar", &WRITTEN[..]), ("image.tar", kind.paths())] {
                let tar = folder.join(name).display().to_string();
                process::check("tar", &[&["-C", &root, "-cpf", &tar][..], paths].concat())?;
            }
            hosts.push(host);
            folders.push(folder);
        }
        let rotated = rotated(&provisioning)?;
        Ok(Self {
            hosts,
            folders,
            disks: Vec::new(),
            provisioning,
            rotated,
        })
    }

    /// Makes the hosts as [`Bed::new`] does, and switches them on. firstboot and etcd are not
    /// started yet.
    pub fn booted(tracer: &Path, kind: UpdateKind) -> Result<Self> {
        Self::new(tracer, kind)?.switched_on()
    }

    /// Makes the hosts on disks that lose unflushed data in a power cut. etcd's volume keeps
    /// directory operations in order, as XFS does, because etcd relies on that order. The disk with
    /// firstboot's own files does not keep the order.
    pub fn lossy(tracer: &Path, kind: UpdateKind) -> Result<Self> {
        let mut bed = Self::new(tracer, kind)?;
        for host in &mut bed.hosts {
            let (mut own, mut volume) = (Tree::default(), Tree::in_order());
            own.take_in(&host.path("/etc/etcd"), "conf")?;
            own.take_in(&host.path("/var/lib/firstboot"), "state")?;
            own.take_in(&host.path("/etc/firstboot"), "image")?;
            own.take_in(&host.path("/etc/own"), "own")?;
            volume.take_in(&host.path("/var/lib/etcd"), "etcd")?;
            let disks = [Disk::new(own)?, Disk::new(volume)?];
            host.bind(&disks[0].path().join("conf"), "/etc/etcd");
            host.bind(&disks[0].path().join("state"), "/var/lib/firstboot");
            host.bind(&disks[0].path().join("image"), "/etc/firstboot");
            host.bind(&disks[0].path().join("own"), "/etc/own");
            host.bind(&disks[1].path().join("etcd"), "/var/lib/etcd");
            bed.disks.push(disks);
        }
        bed.switched_on()
    }

    fn switched_on(self) -> Result<Self> {
        let mut bed = self;
        boot_all(&mut bed.hosts)?;
        for host in &bed.hosts {
            host.wait_for(
                "systemctl is-active --quiet dbus.service",
                CONVERGENCE_TIMEOUT,
            )?;
        }
        bed.forget_all()?;
        Ok(bed)
    }

    /// Returns the folder of orders for a program on a host.
    pub fn orders(&self, at: usize, traced: Traced) -> PathBuf {
        self.folders[at].join(traced.name())
    }

    /// Resets all hosts to the state right after their installation.
    pub fn forget_all(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let work: Vec<_> = (0..self.hosts.len())
                .map(|at| scope.spawn(move || self.forget(at)))
                .collect();
            work.into_iter().try_for_each(|work| {
                work.join()
                    .map_err(|_| anyhow!("a thread that resets a host panicked"))?
            })
        })
    }

    /// Resets one host, as if it had a new disk.
    pub fn forget(&self, at: usize) -> Result<()> {
        for traced in Traced::ALL {
            TracerOrder::take(&self.orders(at, traced))?;
        }
        let script = format!("{FORGET}\nhostname {}", self.hosts[at].name());
        let host = &self.hosts[at];
        host.sh(&script)?
            .ok()
            .with_context(|| format!("cannot reset {}", host.name()))?;
        self.provisioning.give_document(host, host.name())
    }

    /// Removes a member's data, as an operator or an accident might, and kills its etcd.
    pub fn remove_data(&self, at: usize) -> Result<()> {
        let script = "rm -rf /var/lib/etcd/data; systemctl kill --signal=KILL etcd.service || true";
        self.hosts[at].sh(script)?.ok().map(drop)
    }

    /// Removes a member's data and restarts etcd, whose guard then starts firstboot. Returns when
    /// firstboot has started.
    pub fn call_firstboot(&self, at: usize) -> Result<()> {
        self.remove_data(at)?;
        self.hosts[at].check(&["systemctl", "restart", "--no-block", "etcd.service"])?;
        self.hosts[at].wait_for(
            "! systemctl is-active --quiet firstboot.service",
            CONVERGENCE_TIMEOUT,
        )
    }

    /// Replaces the first CA: writes the node documents with the new CA to all hosts.
    pub fn send_rotated_documents(&self) -> Result<()> {
        self.hosts
            .iter()
            .try_for_each(|host| give_document(host, &self.rotated, host.name()))
    }

    /// Flushes everything to the disks.
    pub fn flush_disks(&self) {
        self.disks
            .iter()
            .flatten()
            .for_each(|disk| disk.tree().flush_all());
    }

    /// Cuts the power of all these hosts, and then boots them again. Their disks lose unflushed
    /// data as `loss` specifies.
    pub fn power_cut(&mut self, hosts: &[usize], loss: Loss) -> Result<()> {
        for at in hosts {
            self.hosts[*at].cut_power()?;
        }
        for at in hosts {
            for disk in self.disks.get_mut(*at).into_iter().flatten() {
                disk.cut(loss)?;
            }
            self.hosts[*at].boot()?;
        }
        Ok(())
    }

    /// Starts firstboot on these hosts.
    pub fn start(&self, hosts: &[usize]) -> Result<()> {
        hosts
            .iter()
            .try_for_each(|at| self.launch(*at, Traced::Firstboot))
    }

    /// Stops the unit of a program that has finished its work, so that it can be started again.
    pub fn stop(&self, at: usize, traced: Traced) -> Result<()> {
        self.hosts[at]
            .check(&["systemctl", "stop", &format!("{}.service", traced.name())])
            .map(drop)
    }

    /// Starts a program.
    pub fn launch(&self, at: usize, traced: Traced) -> Result<()> {
        let unit = format!("{}.service", traced.name());
        self.hosts[at]
            .check(&["systemctl", "start", "--no-block", &unit])
            .map(drop)
    }

    /// Makes sure that all three hosts form a healthy cluster with the first CA, and that this host
    /// is the leader.
    pub fn make_healthy(&self, leader: usize) -> Result<()> {
        let host = &self.hosts[leader];
        let seen = status(host).unwrap_or_default();
        let healthy =
            seen.len() == 3 && seen.iter().all(|member| member.healthy && !member.learner);
        // After a scenario that replaces the CA, the cluster is healthy, but this client does not
        // trust the cluster's certificates. Therefore, also require that a write by this client
        // succeeds.
        if !healthy
            || self
                .client()?
                .put(host.address(), "crash", "ready")
                .is_err()
        {
            self.forget_all()?;
            self.start(&[0, 1, 2])?;
            self.wait_healthy()?;
        }
        move_leadership(&self.hosts, leader)
    }

    /// Waits until all three hosts are healthy members of one cluster, and until firstboot has
    /// succeeded on each host.
    pub fn wait_healthy(&self) -> Result<()> {
        for host in &self.hosts {
            wait_finished(host)?;
        }
        for host in &self.hosts {
            wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        }
        // While this function waited for the members, etcd's guard may have started firstboot
        // again.
        for host in &self.hosts {
            wait_finished(host)?;
        }
        let mut clusters = Vec::new();
        for host in &self.hosts {
            let list = etcdctl(host, "endpoint status --write-out=json")?;
            let (_, id) = list
                .split_once("\"cluster_id\":")
                .with_context(|| format!("no cluster in {list}"))?;
            clusters.push(id.split(',').next().unwrap_or_default().to_owned());
        }
        clusters.dedup();
        ensure!(
            clusters.len() == 1,
            "the members are in different clusters: {clusters:?}"
        );
        Ok(())
    }

    /// Waits until a program reaches the point that the order to its tracer names, and returns
    /// true. Returns false if the program that `Traced::started_by` names finishes first.
    pub fn reaches_point(&self, at: usize, traced: Traced) -> Result<bool> {
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        let orders = self.orders(at, traced);
        let mut next_look = Instant::now();
        while !TracerOrder::was_reached(&orders) {
            if Instant::now() < next_look {
                sleep(Duration::from_millis(10));
                continue;
            }
            next_look = Instant::now() + POLL_INTERVAL;
            if has_finished(&self.hosts[at], traced.started_by())?.0 {
                // Check again, because the program may have reached the point since the last check.
                return Ok(TracerOrder::was_reached(&orders));
            }
            ensure!(
                Instant::now() < end,
                "the point was not reached, and the program has not finished\n{}",
                self.journals()
            );
        }
        Ok(true)
    }

    /// Makes a client of the cluster.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.provisioning)
    }

    /// Returns the last lines that firstboot wrote to the systemd journal on each host.
    pub fn journals(&self) -> String {
        let tails = self
            .hosts
            .iter()
            .map(|host| tail(&host.journal("firstboot").unwrap_or_default(), 15));
        tails.collect::<Vec<_>>().join("\n--\n")
    }

    /// Returns the state that firstboot left on a host.
    pub fn state(&self, at: usize) -> Result<State> {
        State::of(&self.hosts[at])
    }
}

/// Replaces the CA in a copy of the cluster's PKI, and builds from that copy.
fn rotated(provisioning: &Provisioning) -> Result<PathBuf> {
    let folder = run::current()?.folder("rotated")?;
    let (out, pki) = (folder.join("out"), folder.join("pki"));
    process::check(
        "cp",
        &[
            "-a",
            &provisioning.pki().to_string_lossy(),
            &pki.to_string_lossy(),
        ],
    )?;
    let pki = pki.to_string_lossy();
    for command in ["rotate", "retire"] {
        programs::run_builder(&["pki", command, &pki])?.ok()?;
        provisioning.build_elsewhere(&programs::recipe("demo"), &out, &pki)?;
    }
    Ok(out)
}

/// Returns whether a program has finished its work, together with the properties of its unit.
pub fn has_finished(host: &Host, traced: Traced) -> Result<(bool, String)> {
    let unit = format!("{}.service", traced.name());
    let shown = host
        .run(&[
            "systemctl",
            "show",
            "--property=ActiveState,SubState,StatusText,ExecMainStatus",
            &unit,
        ])?
        .stdout;
    Ok((
        shown.contains("ActiveState=active\n") && shown.contains("SubState=exited\n"),
        shown,
    ))
}

/// Waits until firstboot has finished its work by itself.
pub fn wait_finished(host: &Host) -> Result<()> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    loop {
        let (done, shown) = has_finished(host, Traced::Firstboot)?;
        if done {
            return Ok(());
        }
        if Instant::now() >= end {
            let journal = tail(&host.journal("firstboot").unwrap_or_default(), 40);
            let etcd = tail(&host.journal("etcd").unwrap_or_default(), 10);
            bail!(
                "firstboot on {} has not finished:\n{shown}\n{journal}\netcd:\n{etcd}",
                host.name()
            );
        }
        sleep(POLL_INTERVAL);
    }
}
