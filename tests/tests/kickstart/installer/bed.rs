//! A test bed for machines on which the installer runs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::Result;
use tests::cluster::Provisioning;
use tests::host::Host;
use tests::installer::{Hardware, Installation, Installer};
use tests::{programs, run};

pub(super) struct Bed {
    pub(super) provisioning: Provisioning,
    pub(super) host: Host,
}

impl Bed {
    pub(super) fn new() -> Result<Self> {
        let provisioning = Provisioning::new()?;
        let host = provisioning.machine("etcd-1")?;
        Ok(Self { provisioning, host })
    }

    /// Runs an installation with these lines appended to the recipe. The installation stops at the
    /// overlay at the latest, because no server provides the overlay.
    pub(super) fn install(&self, more: &str, hardware: &Hardware) -> Result<Installation> {
        self.run(&Self::kickstart(more)?, "initrd=initrd.img", hardware)
    }

    /// Runs an installation of this kickstart with this kernel command line.
    pub(super) fn run(
        &self,
        kickstart: &str,
        words: &str,
        hardware: &Hardware,
    ) -> Result<Installation> {
        let installer = Installer::new(kickstart, &self.host.root()).hardware(hardware.clone());
        let installer = installer.cmdline(words);
        installer.namespace(&self.host.link().namespace).run()
    }

    /// Renders the demo's recipe with these lines appended.
    pub(super) fn kickstart(more: &str) -> Result<String> {
        let folder = run::current()?.folder("recipe")?;
        let recipe = folder.join("recipe.toml");
        fs::write(
            &recipe,
            fs::read_to_string(programs::recipe("demo"))? + more,
        )?;
        let planned = folder.join("planned");
        let arguments = [
            "plan",
            &recipe.display().to_string(),
            "--files",
            &planned.display().to_string(),
        ];
        programs::run_builder(&arguments)?.ok()?;
        Ok(fs::read_to_string(planned.join("centos7.ks"))?)
    }
}

/// Returns the chosen disk, its partition table and the mount points of its partitions, as one
/// line.
pub(super) fn chosen(installation: &Installation) -> String {
    let parts: Vec<&str> = installation
        .plan
        .partitions
        .iter()
        .map(|part| part.mount.as_str())
        .collect();
    let labels: Vec<String> = installation
        .plan
        .labels
        .iter()
        .map(|(disk, label)| format!("{disk} {label}"))
        .collect();
    format!("{}: {}", labels.join(", "), parts.join(" "))
}

/// Returns a line that can be appended to the demo's recipe. The line belongs to `[install]`,
/// because `[install]` is the recipe's last section.
pub(super) fn install(line: &str) -> String {
    format!("{line}\n")
}

/// Returns the number, `MAJOR:MINOR`, of a device that is mounted in the installer. This device
/// contains the stand-in's description of the disks.
pub(super) fn in_use() -> Result<String> {
    let device = fs::metadata(run::current()?.folder("device")?)?.dev();
    Ok(format!(
        "{}:{}",
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device)
    ))
}
