//! Many machines of one cluster, each with its own address on the server's network. All machines
//! share one network namespace and one network card, so the recipe identifies them by their IP
//! addresses.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::server::wait;
use crate::cluster::Provisioning;
use crate::network::{Namespace, connect_from};
use crate::process::{self, KillOnDrop};
use crate::{etcd, programs, run};

/// The number of machines. The builder only warns about a cluster of this size.
pub(super) const COUNT: u16 = 500;
/// The address of the server, which serves documents and enrolment on different ports.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 101, 16, 1);
pub(super) const DOCUMENTS: SocketAddrV4 = SocketAddrV4::new(SERVER, 8081);
pub(super) const ENROL: SocketAddrV4 = SocketAddrV4::new(SERVER, 8443);
/// The folders that a server changes.
const CHANGED: [&str; 2] = ["out.pki", "out.state"];

/// The machines, and the builder's output that their server serves.
pub(super) struct Machines {
    provisioning: Provisioning,
    namespace: Namespace,
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) recipe: PathBuf,
    kept: PathBuf,
}

impl Machines {
    /// Builds a recipe that ends with this text. Then runs `builder allow` for all machines, so
    /// that the server has a record of each machine.
    pub(super) fn new(more: &str) -> Result<Self> {
        etcd::release(etcd::DEMO)?;
        let first = u32::from(SERVER) + 10;
        let addresses: Vec<Ipv4Addr> = (0..u32::from(COUNT))
            .map(|nth| (first + nth).into())
            .collect();
        let recipe = run::current()?.folder("recipe")?.join("recipe.toml");
        fs::write(&recipe, text(&addresses)? + more)?;
        let provisioning = Provisioning::new()?;
        provisioning
            .network
            .add_address(&format!("{}/22", DOCUMENTS.ip()))?;
        let namespace = provisioning.network.add("machines")?.namespace;
        let lines = addresses
            .iter()
            .map(|address| format!("addr add {address}/22 dev eth0\n"));
        let batch = recipe.with_extension("addresses");
        fs::write(&batch, lines.collect::<String>())?;
        let batch = batch.to_string_lossy();
        process::check("ip", &["-n", namespace.name(), "-batch", &batch])?;
        provisioning.build(&recipe)?;
        let out = provisioning.out();
        let allow = ["allow", "--all", "--install", "--out"];
        programs::run_builder(&[&allow[..], &[&out.to_string_lossy()]].concat())?.ok()?;
        let machines = Self {
            provisioning,
            namespace,
            addresses,
            recipe,
            kept: run::current()?.folder("kept")?,
        };
        for name in CHANGED {
            copy(&machines.folder()?.join(name), &machines.kept)?;
        }
        Ok(machines)
    }

    fn folder(&self) -> Result<PathBuf> {
        let out = self.provisioning.out();
        Ok(out.parent().context("no folder")?.to_owned())
    }

    /// Returns the folder of the certificates.
    pub(super) fn pki(&self) -> PathBuf {
        self.provisioning.pki()
    }

    /// Starts a server with these additional options. The server has no record of earlier requests.
    pub(super) fn serve(&self, options: &[&str]) -> Result<KillOnDrop> {
        let folder = self.folder()?;
        for name in CHANGED {
            fs::remove_dir_all(folder.join(name))?;
            copy(&self.kept.join(name), &folder)?;
        }
        // Flush the copies now, so that they are not written during the measurement.
        nix::unistd::sync();
        let world = self.provisioning.network.world();
        let mut builder = world.command(&programs::builder()?.to_string_lossy());
        builder.arg("serve").arg(self.provisioning.out());
        builder
            .args(["--listen", &DOCUMENTS.to_string()])
            .args(options);
        let log = File::create(run::current()?.folder("serve")?.join("log"))?;
        let server = KillOnDrop::spawn(&builder, &log)?;
        wait(world, &DOCUMENTS.to_string())?;
        Ok(server)
    }

    /// Runs work in the namespace of the machines.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.within(work)?
    }
}

fn copy(from: &Path, into: &Path) -> Result<()> {
    let (from, into) = (from.to_string_lossy(), into.to_string_lossy());
    process::check("cp", &["-a", &from, &into]).map(drop)
}

pub(super) fn connect(from: Ipv4Addr, server: SocketAddrV4) -> Result<TcpStream> {
    let stream = connect_from(from, server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Returns the demo's recipe with these nodes.
fn text(addresses: &[Ipv4Addr]) -> Result<String> {
    let demo = fs::read_to_string(programs::recipe("demo"))?;
    let parts = |text: &str, at: &str| {
        let parts = text
            .split_once(at)
            .map(|(one, two)| (one.to_owned(), two.to_owned()));
        parts.with_context(|| format!("the demo has no {at}"))
    };
    let (head, rest) = parts(&demo, "[[node]]")?;
    let (_, rest) = parts(&rest, "[network]")?;
    let (_, rest) = parts(&rest, "[etcd]")?;
    let nodes = addresses.iter().zip(1..).map(|(address, number)| {
        format!("[[node]]\nname = \"etcd-{number}\"\naddress = \"{address}\"\n")
    });
    Ok(format!(
        "{head}{}[network]\ncidr = \"10.101.16.0/22\"\ngateway = \"{SERVER}\"\n[etcd]{rest}\n",
        nodes.collect::<String>()
    ))
}
