//! The network, the server and the machines of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Provisioning;
use tests::harness::tail;
use tests::process::KillOnDrop;
use tests::vm::KERNEL_ARGUMENTS;
use tests::{etcd, netboot, process, programs, run};

use super::node::Node;
use crate::bed::{SERVER, Server, allow, by_card};
use crate::enrolment::{ENROL, served};

/// The default partitions need 14 GiB. The files of the disks are sparse.
const DISK_BYTES: u64 = 16 << 30;
/// Each step takes minutes without KVM, and longer if other programs use the CPUs.
const STEP_TIMEOUT: Duration = Duration::from_secs(2400);

/// A server, DHCP, and the machines of a cluster.
pub(super) struct Bed {
    pub(super) ours: Provisioning,
    pub(super) server: Server,
    pub(super) nodes: Vec<Node>,
    _dhcp: KillOnDrop,
}

impl Bed {
    /// Builds a cluster with this many nodes, and allows its installation.
    pub(super) fn new(count: u8) -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let key = run::current()?.folder("ssh")?.join("key");
        process::check(
            "ssh-keygen",
            &[
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                &key.to_string_lossy(),
            ],
        )?;
        let ours = Provisioning::new()?;
        let recipe = recipe(count, &fs::read_to_string(key.with_extension("pub"))?)?;
        ours.build(&recipe)?;
        allow(&ours, &["--all", "--install"])?;
        let tree = netboot::tree(Path::new(env!("CARGO_BIN_EXE_anaconda")))?;
        let options = [
            "--append",
            KERNEL_ARGUMENTS,
            "--tree",
            &tree.to_string_lossy(),
        ];
        let server = served(&ours, &recipe, &options)?;
        let mut nodes = Vec::new();
        for last in 101..101 + count {
            let name = format!("etcd-{}", last - 100);
            nodes.push(Node::new(&name, last, &key, DISK_BYTES)?);
        }
        let cards: Vec<_> = nodes
            .iter()
            .map(|node| (node.mac.as_str(), node.address.as_str()))
            .collect();
        let script = format!("http://{SERVER}/boot.ipxe");
        let dhcp = netboot::dhcp(&ours.network, &cards, &script)?;
        Ok(Self {
            ours,
            server,
            nodes,
            _dhcp: dhcp,
        })
    }

    /// Repeats a script on the first machine until it succeeds, even while the machine reboots.
    pub(super) fn wait_for(&mut self, script: &str) -> Result<()> {
        let end = Instant::now() + STEP_TIMEOUT;
        while let Err(error) = self.nodes[0].shell(&self.ours, script) {
            self.nodes_are_on()?;
            ensure!(Instant::now() < end, "{error:#}\n{}", self.nodes[0].tail());
            sleep(Duration::from_secs(2));
        }
        Ok(())
    }

    /// Returns an error if a machine has switched itself off. If a machine is rebooting, continues
    /// its reboot.
    fn nodes_are_on(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let is_running = node.is_running()?;
            ensure!(is_running, "a machine has switched off:\n{}", node.tail());
        }
        Ok(())
    }

    /// Waits until the server has logged these words this many times.
    pub(super) fn wait(&mut self, words: &str, count: usize) -> Result<()> {
        let what = format!("the server does not log `{words}` {count} times");
        self.wait_until(&what, |bed| {
            Ok(bed.server.output()?.matches(words).count() >= count)
        })
    }

    /// Waits until the first machine has printed these words on its console.
    pub(super) fn wait_for_console(&mut self, words: &str) -> Result<()> {
        let what = format!("the first machine does not print `{words}`");
        self.wait_until(&what, |bed| Ok(bed.nodes[0].console().contains(words)))
    }

    /// Waits until a condition is met. `what` is the error message if the condition is not met in
    /// time.
    fn wait_until(&mut self, what: &str, is_met: impl Fn(&mut Self) -> Result<bool>) -> Result<()> {
        let end = Instant::now() + STEP_TIMEOUT;
        while !is_met(self)? {
            self.nodes_are_on()?;
            ensure!(
                Instant::now() < end,
                "{what}:\n{}\n{}",
                tail(&self.server.output()?, 30),
                self.nodes.iter().map(Node::tail).collect::<String>()
            );
            sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}

/// Writes the demo's recipe with this many nodes, which generate their own keys. The machines fetch
/// the tree, the image and the documents from the server.
fn recipe(count: u8, key: &str) -> Result<PathBuf> {
    let demo = programs::demo(
        usize::from(count),
        "",
        &format!(
            "repo = []\nconsole = \"ttyS0\"\nssh-keys = ['''{}''']\n\n[time]\nservers = [\"10.101.15.1\"]\n\n\
             [tls]\nkeys = \"node\"\nenrol = \"https://{ENROL}/\"\n\n\
             [update]\nfrom = \"http://{SERVER}/\"\nreboot = \"when-needed\"",
            key.trim()
        ),
    )?;
    let mut text = fs::read_to_string(&demo)?
        .replace(
            "http://10.101.15.1:8080/centos/7.9.2009/os/x86_64/",
            &format!("http://{SERVER}/tree/"),
        )
        .replace(
            "http://10.101.15.1:8080/image/",
            &format!("http://{SERVER}/image/"),
        );
    for last in 101..101 + count {
        let address = format!("address = \"10.101.15.{last}\"\n");
        ensure!(text.contains(&address), "the recipe has no {address}");
        text = text.replace(&address, &format!("{address}{}", by_card(last)));
    }
    fs::write(&demo, text).context("cannot write the recipe")?;
    Ok(demo)
}
