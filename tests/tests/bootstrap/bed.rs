//! A bed of installed machines, with helpers to query them.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tests::cluster::{Provisioning, etcdctl, wait_healthy};
use tests::etcd;
use tests::harness::tail;
use tests::host::Host;
use tests::programs::recipe;
use tests::reference_setup;
use tests::requirement::{NEEDS_CLUSTER, Requirement};
use tests::{process, run};

pub(crate) const REQUIREMENTS: &[Requirement] = NEEDS_CLUSTER;
pub(crate) const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(240);

/// A cluster that has not been started yet. The machines are installed, have their node documents
/// and are off. firewalld does not run on the machines, except in a bed that [`Bed::unbuilt`]
/// makes.
pub(crate) struct Bed {
    // The hosts must be dropped before their network.
    pub(crate) hosts: Vec<Host>,
    pub(crate) provisioning: Provisioning,
    /// The version of etcd that the nodes run.
    pub(crate) version: String,
    /// The number of log entries after which etcd makes a snapshot.
    snapshot_count: usize,
}

impl Bed {
    /// Makes the given number of nodes: the demo's three, and more nodes like them if necessary.
    /// The variable `ETCD_VERSION` sets a different version of etcd for the whole suite.
    pub(crate) fn new(count: usize) -> Result<Self> {
        Self::with_etcd(&etcd::asked(), count)
    }

    /// Makes a bed whose nodes run this version of etcd instead of the suite's version.
    pub(crate) fn with_etcd(version: &str, count: usize) -> Result<Self> {
        // If etcd makes a snapshot after every 1000 entries, it soon discards old log entries, as
        // in a cluster that has run for a long time. A joining member then receives a snapshot of
        // the database instead of the whole log.
        Self::compacting(version, count, 1000)
    }

    /// Makes a bed with an etcd that compacts its log after this many entries.
    pub(crate) fn compacting(version: &str, count: usize, snapshot_count: usize) -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let provisioning = Provisioning::without_firewall()?;
        let mut bed = Self {
            hosts: Vec::new(),
            provisioning,
            version: version.to_owned(),
            snapshot_count,
        };
        bed.grow(count)?;
        Ok(bed)
    }

    /// Makes a bed that has no image and no nodes yet.
    pub(crate) fn unbuilt() -> Result<Self> {
        Self::unbuilt_in(Provisioning::without_firewall()?)
    }

    /// Does the same as [`Bed::unbuilt`], but the nodes will have a firewall, because the updates of
    /// some tests change the firewall's files.
    pub(crate) fn unbuilt_with_firewall() -> Result<Self> {
        Self::unbuilt_in(Provisioning::new()?)
    }

    fn unbuilt_in(provisioning: Provisioning) -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        Ok(Self {
            hosts: Vec::new(),
            provisioning,
            version: etcd::DEMO.to_owned(),
            snapshot_count: 1000,
        })
    }

    /// Installs new nodes from the current image until the bed has the given number of nodes.
    pub(crate) fn install_up_to(&mut self, count: usize) -> Result<()> {
        for number in self.hosts.len() + 1..=count {
            self.hosts
                .push(self.provisioning.machine(&format!("etcd-{number}"))?);
            self.reinstall(number - 1)?;
        }
        Ok(())
    }

    /// Rebuilds the image for the given number of nodes, and installs the new nodes from this
    /// image.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        let mut text = fs::read_to_string(recipe("demo"))?;
        text = text.replace(
            "[etcd]\n",
            &format!("[etcd]\nsnapshot-count = {}\n", self.snapshot_count),
        );
        for number in 4..=count {
            let node = format!(
                "[[node]]\nname = \"etcd-{number}\"\naddress = \"10.101.15.{}\"\n\n",
                100 + number
            );
            let end = text
                .find("[network]")
                .context("the demo's recipe has no [network]")?;
            text.insert_str(end, &node);
        }
        self.grow_from(&text, count)
    }

    /// Rebuilds the image from this recipe, and installs new nodes from the image until the bed has
    /// the given number of nodes.
    pub(crate) fn grow_from(&mut self, recipe: &str, count: usize) -> Result<()> {
        self.build(recipe)?;
        self.install_up_to(count)
    }

    /// Rebuilds the image from this recipe.
    pub(crate) fn build(&self, recipe: &str) -> Result<()> {
        let path = run::current()?.folder("recipe")?.join("recipe.toml");
        fs::write(&path, recipe)?;
        self.provisioning.build(&path).map(drop)
    }

    /// Adds a newly installed machine that is off, with this node's document but a different
    /// address.
    pub(crate) fn moved(&self, node: &str) -> Result<Host> {
        let mut host = self.provisioning.machine(&format!("{node}-new"))?;
        self.provisioning.install(&mut host)?;
        etcd::replace_etcd_binary(&host, &self.version)?;
        self.provisioning.give_document(&host, node)?;
        Ok(host)
    }

    /// Puts a new disk into a machine that is off. The disk has the state that the machine's disk
    /// had after its last installation.
    pub(crate) fn replace_disk(&mut self, at: usize) -> Result<()> {
        self.hosts[at].revert()
    }

    /// Puts a new disk into a machine that is off, and installs the image on this disk.
    pub(crate) fn reinstall(&mut self, at: usize) -> Result<()> {
        let host = &mut self.hosts[at];
        host.wipe()?;
        self.provisioning.install(host)?;
        etcd::replace_etcd_binary(host, &self.version)?;
        self.provisioning.give_document(host, host.name())?;
        host.snapshot()
    }

    /// Cuts a machine's power, and reinstalls it from an image with this version of etcd.
    pub(crate) fn install_with(&mut self, at: usize, version: &str) -> Result<()> {
        self.hosts[at].cut_power()?;
        version.clone_into(&mut self.version);
        self.reinstall(at)
    }

    /// Puts a new disk into a machine that is off, and sets up plain etcd on this disk as an
    /// operator would by hand, as a member of a new cluster.
    pub(crate) fn set_up_by_hand(&mut self, at: usize) -> Result<()> {
        self.hosts[at].revert()?;
        reference_setup::configure(&self.provisioning, &self.hosts[at], "new")
    }

    /// Adds a second installed machine that is off, with this node's document and address.
    pub(crate) fn twin(&self, node: &str) -> Result<Host> {
        let twin = self.provisioning.twin(node)?;
        etcd::replace_etcd_binary(&twin, &self.version)?;
        Ok(twin)
    }

    pub(crate) fn cut_power(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            if host.is_on()? {
                host.cut_power()?;
            }
        }
        Ok(())
    }

    /// Removes firstboot's state and etcd's data from the machines, which must be switched off.
    pub(crate) fn forget_all(&self) -> Result<()> {
        for host in &self.hosts {
            for folder in ["/var/lib/firstboot", "/var/lib/etcd"] {
                let folder = host.path(folder);
                for entry in fs::read_dir(&folder)
                    .with_context(|| format!("cannot list {}", folder.display()))?
                {
                    let path = entry?.path();
                    if path.is_dir() {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    }?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all three nodes are members of one cluster, and firstboot has reported the
    /// membership on each of them. Then checks that all have the same token.
    pub(crate) fn wait_all_healthy(&self) -> Result<()> {
        for host in &self.hosts {
            wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        }
        let mut tokens = self.hosts.iter().map(token).collect::<Result<Vec<_>>>()?;
        tokens.dedup();
        ensure!(
            tokens.len() == 1,
            "the members start with different tokens: {tokens:?}"
        );
        Ok(())
    }
}

/// Removes a member with etcdctl, as an operator would.
pub(crate) fn remove(host: &Host, member: &str) -> Result<()> {
    retry_etcdctl(host, &format!("member remove {member}"))
}

/// Runs etcdctl until the command succeeds, because etcd reports its cluster as unhealthy for five
/// seconds after an election or after a member was unreachable (server.go, HealthInterval).
pub(crate) fn retry_etcdctl(host: &Host, arguments: &str) -> Result<()> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while let Err(error) = etcdctl(host, arguments) {
        ensure!(Instant::now() < end, "{error:#}");
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Replaces a folder with a copy of another folder.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    process::check("rm", &["-rf", &to.to_string_lossy()])?;
    process::check(
        "cp",
        &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
    )
    .map(drop)
}

/// Returns the initial cluster token in a host's etcd.conf.
pub(crate) fn token(host: &Host) -> Result<String> {
    let conf = host.read("/etc/etcd/etcd.conf")?;
    let line = conf
        .lines()
        .find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER_TOKEN="));
    Ok(line
        .with_context(|| format!("no token in\n{conf}"))?
        .to_owned())
}

/// Returns a member's id, and its line in etcd's own member list.
pub(crate) fn listed(host: &Host, name: &str) -> Result<Option<(String, String)>> {
    let list = etcdctl(host, "member list")?;
    let line = list
        .lines()
        .find(|line| line.contains(&format!(" {name},")));
    Ok(line.map(|line| {
        (
            line.split(',').next().unwrap_or_default().to_owned(),
            line.to_owned(),
        )
    }))
}

/// Waits until firstboot has refused with these words in this boot, and etcd is down.
pub(crate) fn wait_refused(host: &Host, words: &[&str]) -> Result<()> {
    wait_said(host, words)?;
    host.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        CONVERGENCE_TIMEOUT,
    )?;
    host.wait_for(
        "! systemctl is-active --quiet etcd.service",
        CONVERGENCE_TIMEOUT,
    )
}

/// Waits until firstboot's current status text, as `systemctl status` shows it, contains all of
/// these words.
pub(crate) fn wait_said(host: &Host, words: &[&str]) -> Result<String> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    loop {
        let shown = host.run(&[
            "systemctl",
            "show",
            "--property=StatusText",
            "firstboot.service",
        ]);
        let text = shown.map(|ran| ran.stdout).unwrap_or_default();
        if words.iter().all(|word| text.contains(word)) {
            return Ok(text);
        }
        if Instant::now() >= end {
            let journal = tail(&host.journal("firstboot").unwrap_or_default(), 30);
            bail!(
                "{} does not report {words:?}, but {text:?}; its journal:\n{journal}",
                host.name()
            );
        }
        sleep(Duration::from_millis(100));
    }
}

/// Checks that etcd is not running and has no data.
pub(crate) fn has_no_etcd(host: &Host) -> Result<()> {
    let state = host
        .run(&["systemctl", "is-active", "etcd.service"])?
        .stdout;
    ensure!(
        state.trim() == "inactive",
        "etcd on {} is {state}",
        host.name()
    );
    let data = host.path("/var/lib/etcd/data");
    ensure!(!data.exists(), "{} exists", data.display());
    Ok(())
}
