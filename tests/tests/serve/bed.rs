//! The builder that serves, and who asks it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Provisioning;
use tests::etcd;
use tests::network::Namespace;
use tests::process::{self, Tied};
use tests::programs::{self, recipe};
use tests::run;

/// Where it serves.
pub(crate) const SERVER: &str = "10.101.15.1:8081";
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The demo's cluster, whose nodes are known by their cards, and ask the builder.
pub(crate) fn built() -> Result<Provisioning> {
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    let mut text = fs::read_to_string(recipe("demo"))?.replace(
        "servers = [\"http://10.101.15.1:8080/image/\"]",
        &format!("servers = [\"http://{SERVER}/image/\"]\n\n[metadata]\nurl = \"http://{SERVER}/\""),
    );
    for last in [101, 102, 103] {
        let address = format!("address = \"10.101.15.{last}\"\n");
        text = text.replace(&address, &format!("{address}mac = \"52:54:0a:65:0f:{last:02x}\"\n"));
    }
    let path = run::current()?.folder("recipe")?.join("recipe.toml");
    fs::write(&path, text)?;
    provisioning.build(&path)?;
    Ok(provisioning)
}

/// A running `builder serve`.
pub(crate) struct Server {
    _process: Tied,
    log: PathBuf,
}

impl Server {
    /// With these options besides.
    pub(crate) fn start(provisioning: &Provisioning, options: &[&str]) -> Result<Self> {
        let log = run::current()?.folder("serve")?.join("log");
        let mut builder = provisioning.network.world().command(&programs::builder()?.to_string_lossy());
        builder.arg("serve").arg(provisioning.out()).args(["--listen", SERVER]).args(options);
        let server = Self { _process: Tied::spawn(&builder, &File::create(&log)?)?, log };
        let end = Instant::now() + PATIENCE;
        while !server.said()?.contains("serving ") {
            ensure!(Instant::now() < end, "builder serve does not begin:\n{}", server.said()?);
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// All that it said so far.
    pub(crate) fn said(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }
}

/// The status and the text of a page, as somebody in a namespace gets it.
pub(crate) fn ask(from: &Namespace, page: &str) -> Result<(u16, String)> {
    let mut curl = from.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"]);
    let said = process::run(curl.arg(format!("http://{SERVER}/{page}")))?.ok()?;
    let (text, status) = said.rsplit_once('\n').context("curl says no status")?;
    Ok((status.parse()?, text.to_owned()))
}
