//! A complete cluster as an operator sets it up. The builder builds the image from a recipe. The
//! machines are installed from the image and receive their node documents.

mod etcdctl;
mod status;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use recipes::node::NODE_TYPE;
use recipes::{Envelope, SigningKey};
use sha2::{Digest as _, Sha256};

pub use self::etcdctl::{etcdctl, move_leadership};
pub use self::status::{MemberError, MemberStatus, no_downgrade, status, wait_healthy, wait_minor};
use crate::host::Host;
use crate::installer::{self, Hardware, Installation, Installer};
use crate::network::{Link, Network};
use crate::overlay::Overlay;
use crate::server::FileServer;
use crate::{base, cache, etcd, process, programs, run};

/// The address of the server that serves the image. The test recipes contain the same address.
const SERVER: &str = "10.101.15.1:8080";
/// The installation tree's path on the server.
pub const TREE: &str = "centos/7.9.2009/os/x86_64";
/// The update repository's path on the server.
const UPDATES: &str = "centos/7.9.2009/updates/x86_64";
/// The address of the release mirror.
const MIRROR: &str = "10.101.15.1:8379";

/// The units that are masked on a machine without a firewall.
const WITHOUT_FIREWALL: [&str; 3] = [
    "firewalld.service",
    "polkit.service",
    "systemd-logind.service",
];

/// The network of a cluster, the servers in this network, and the builder's output.
#[derive(Debug)]
pub struct Provisioning {
    /// The network that hosts are added to.
    pub network: Network,
    /// The HTTP server for the kickstart and the overlay. The server can inject faults.
    pub server: FileServer,
    /// The release mirror.
    pub mirror: FileServer,
    folder: PathBuf,
    has_firewall: bool,
}

impl Provisioning {
    /// Makes the network and starts both servers. Nothing is built yet.
    pub fn new() -> Result<Self> {
        let network = Network::new()?;
        let folder = run::current()?.folder("provisioning")?;
        let www = folder.join("www");
        // The tree and the updates from which the real anaconda would install the packages.
        installer::write_tree(&www.join(TREE), &installer::PACKAGES)?;
        installer::write_repository(&www.join(UPDATES), &["kernel"])?;
        symlink("../out/image", www.join("image"))?;
        symlink("../out/release.json", www.join("release.json"))?;
        let server = FileServer::start(network.world().listen(SERVER)?, &www)?;
        let mirror = etcd::mirror();
        fs::create_dir_all(&mirror)?;
        let mirror = FileServer::start(network.world().listen(MIRROR)?, &mirror)?;
        Ok(Self {
            network,
            server,
            mirror,
            folder,
            has_firewall: true,
        })
    }

    /// Does the same as [`Provisioning::new`], but the machines run neither firewalld nor the
    /// services that only firewalld and logins need. These services use a tenth of the CPU time of
    /// a test that reboots its machines often. The tests of the firewall, the installation, the
    /// server and some updates use machines with a firewall.
    pub fn without_firewall() -> Result<Self> {
        let mut provisioning = Self::new()?;
        provisioning.has_firewall = false;
        Ok(provisioning)
    }

    /// Returns the folder with the builder's output, such as `image/` and `nodes/`.
    pub fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Returns the folder with the cluster's certificates.
    pub fn pki(&self) -> PathBuf {
        self.folder.join("out.pki")
    }

    /// Builds the recipe with the real builder, which fetches the release from the mirror. In a
    /// suite, the first build of each recipe saves its output. If another cluster has the same
    /// recipe, the first build of that cluster copies the saved output.
    pub fn build(&self, recipe: &Path) -> Result<String> {
        let Some(shared) = run::shared().filter(|_| !self.out().exists() && !self.pki().exists())
        else {
            return self.build_elsewhere(recipe, &self.out(), &self.pki().to_string_lossy());
        };
        let name = format!(
            "built/{}",
            digest(recipe.parent().unwrap_or(recipe), Some(recipe))?
        );
        let built = cache::entry_of(shared, &name, |folder| {
            let said = self.build_elsewhere(
                recipe,
                &folder.join("out"),
                &folder.join("out.pki").to_string_lossy(),
            )?;
            fs::write(folder.join("said"), said).context("cannot save the builder's output")
        })?;
        process::check(
            "cp",
            &[
                "-a",
                &format!("{}/.", built.display()),
                &self.folder.to_string_lossy(),
            ],
        )?;
        fs::read_to_string(built.join("said")).context("cannot read the builder's saved output")
    }

    /// Builds the recipe into the folder `out`, with the certificates in the folder `pki`. The
    /// server serves only the output in [`Provisioning::out`].
    pub fn build_elsewhere(&self, recipe: &Path, out: &Path, pki: &str) -> Result<String> {
        let mut builder = self
            .network
            .world()
            .command(&programs::builder()?.to_string_lossy());
        builder
            .arg("build")
            .arg(recipe)
            .arg("--out")
            .arg(out)
            .args(["--pki", pki]);
        builder.arg("--cache").arg(self.builder_cache());
        let ran = process::run(&mut builder)?;
        let said = ran.stderr.clone();
        ran.ok().context("builder build")?;
        Ok(said)
    }

    /// Returns the builder's cache. All runs of a suite share one cache, as all builds of an
    /// operator do.
    pub fn builder_cache(&self) -> PathBuf {
        run::shared().unwrap_or(&self.folder).join("builder-cache")
    }

    /// Keeps a copy of the builder's output for [`Provisioning::restore_output`].
    pub fn copy_output(&self) -> Result<PathBuf> {
        let kept = run::current()?.folder("kept")?.join("out");
        process::check(
            "cp",
            &["-a", &self.out().to_string_lossy(), &kept.to_string_lossy()],
        )?;
        Ok(kept)
    }

    /// Restores a saved output. From now on, machines are installed from this output.
    pub fn restore_output(&self, kept: &Path) -> Result<()> {
        fs::remove_dir_all(self.out())
            .with_context(|| format!("cannot remove {}", self.out().display()))?;
        process::check(
            "cp",
            &["-a", &kept.to_string_lossy(), &self.out().to_string_lossy()],
        )
        .map(drop)
    }

    /// Returns the text of the kickstart.
    pub fn kickstart(&self) -> Result<String> {
        let path = self.out().join("image/centos7.ks");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Adds a new machine with the given name. The machine is off, and its disk is empty.
    pub fn machine(&self, name: &str) -> Result<Host> {
        self.machine_at(self.network.add(name)?)
    }

    fn machine_at(&self, link: Link) -> Result<Host> {
        let mut host = Host::at(&self.network, link, &base::base()?)?;
        if !self.has_firewall {
            for unit in WITHOUT_FIREWALL {
                host.mask(unit);
            }
        }
        Ok(host)
    }

    /// Adds a second installed machine with the node's document and address. The machine is off.
    pub fn twin(&self, node: &str) -> Result<Host> {
        self.second(node, self.network.add_twin(&format!("{node}-twin"), node)?)
    }

    /// Adds a machine as [`Provisioning::twin`] does, but with the node's MAC address.
    pub fn clone_machine(&self, node: &str) -> Result<Host> {
        self.second(
            node,
            self.network.add_clone(&format!("{node}-clone"), node)?,
        )
    }

    fn second(&self, node: &str, link: Link) -> Result<Host> {
        let mut host = self.machine_at(link)?;
        self.install(&mut host)?;
        self.give_document(&host, node)?;
        Ok(host)
    }

    /// Runs the kickstart's scripts on a machine as anaconda would, and returns the result.
    pub fn try_install(&self, host: &Host) -> Result<Installation> {
        self.run_installer(&host.root(), host)
    }

    /// Runs the kickstart's scripts on a machine with this hardware, and returns the result.
    pub fn try_install_on(&self, host: &Host, hardware: Hardware) -> Result<Installation> {
        self.installer(&host.root(), host)?.hardware(hardware).run()
    }

    fn run_installer(&self, root: &Path, host: &Host) -> Result<Installation> {
        self.installer(root, host)?.run()
    }

    fn installer(&self, root: &Path, host: &Host) -> Result<Installer> {
        let installer = Installer::new(&self.kickstart()?, root)
            .cmdline(&format!(
                "inst.ks=http://{SERVER}/image/centos7.ks inst.stage2=http://{SERVER}/{TREE}"
            ))
            .namespace(&host.link().namespace);
        Ok(installer)
    }

    /// Installs a machine. In a suite, only the first new machine is actually installed from an
    /// image. All other new machines with the same image use the disk of the first machine as a
    /// layer.
    pub fn install(&self, host: &mut Host) -> Result<()> {
        let what = format!("cannot install {}", host.name());
        let Some(shared) = run::shared().filter(|_| host.is_new().unwrap_or_default()) else {
            return self.try_install(host)?.installed().context(what);
        };
        let name = format!("installed/{}", digest(&self.out().join("image"), None)?);
        let installed = cache::entry_of(shared, &name, |folder| {
            let overlay = Overlay::new("installed", &base::base()?)?;
            self.run_installer(&overlay.root(), host)?
                .installed()
                .context(what)?;
            overlay.into_layer(&folder.join("layer"))
        })?;
        host.use_layer(&installed.join("layer"))
    }

    /// Writes a node's metadata to a machine, as a NoCloud seed folder.
    pub fn give_document(&self, host: &Host, node: &str) -> Result<()> {
        give_document(host, &self.out(), node)
    }

    /// Returns the folder that the server serves.
    pub fn www(&self) -> PathBuf {
        self.folder.join("www")
    }

    /// Returns a node's document as JSON, for a test to alter.
    pub fn document(&self, node: &str) -> Result<serde_json::Value> {
        let path = self.out().join("nodes").join(node).join("node.json");
        let envelope: Envelope = serde_json::from_slice(&fs::read(&path)?)?;
        let payload = envelope.open(NODE_TYPE, &self.signing_key()?.public())?;
        serde_json::from_slice(&payload)
            .with_context(|| format!("cannot read the payload of {}", path.display()))
    }

    /// Signs a document in the same way as the cluster's own builder.
    pub fn sign(&self, document: &serde_json::Value) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(
            &self
                .signing_key()?
                .sign(NODE_TYPE, &serde_json::to_vec(document)?),
        )?)
    }

    /// Returns the key that signs the cluster's documents and releases.
    pub fn signing_key(&self) -> Result<SigningKey> {
        use base64::Engine as _;
        let pem = fs::read_to_string(self.pki().join("signing.key"))?;
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(base64)?;
        Ok(SigningKey::from_pkcs8(&der)?)
    }

    /// Adds an installed machine that has the name and the document of this node. The machine is
    /// off.
    pub fn node(&self, name: &str) -> Result<Host> {
        let mut host = self.machine(name)?;
        self.install(&mut host)?;
        self.give_document(&host, name)?;
        Ok(host)
    }
}

impl Drop for Provisioning {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns a digest of the names and contents of a folder's files. For the `unnamed` file, only the
/// content counts.
fn digest(folder: &Path, unnamed: Option<&Path>) -> Result<String> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_file() {
            let name = path
                .file_name()
                .filter(|_| unnamed != Some(&path))
                .unwrap_or_default()
                .to_owned();
            files.push((name, etcd::sha256(&path)?));
        }
    }
    files.sort();
    Ok(base::hex(&Sha256::digest(format!("{files:?}"))))
}

/// Writes a node's metadata from an output of the builder to a machine.
pub fn give_document(host: &Host, out: &Path, node: &str) -> Result<()> {
    for file in ["meta-data", "user-data"] {
        let path = out.join("nodes").join(node).join(file);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        host.write(
            &format!("/var/lib/cloud/seed/nocloud/{file}"),
            content,
            0o600,
        )?;
    }
    Ok(())
}

/// Boots all hosts at the same time, like a rack that is switched on.
pub fn boot_all(hosts: &mut [Host]) -> Result<()> {
    hosts.iter_mut().try_for_each(Host::boot)
}

/// Returns a fingerprint of the files that configure the host's names, etcd and firstboot, and of
/// the files in which firstboot keeps its state. If a reboot rewrites one of these files, the
/// fingerprint changes.
pub fn fingerprint(host: &Host) -> Result<String> {
    let ran = host.sh(
        "cd / && find etc/etcd etc/firstboot etc/hostname etc/hosts var/lib/firstboot -type f -printf '%p %m %U:%G %i %T@\\n' | sort",
    )?;
    let text = ran.ok()?;
    ensure!(
        text.contains("etc/etcd/etcd.conf"),
        "no etcd.conf on {}:\n{text}",
        host.name()
    );
    Ok(text)
}
