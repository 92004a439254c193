//! The rendered kickstart before the model of anaconda: which disk it takes, which repositories,
//! and what is left where it cannot go on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, TREE};
use tests::harness::trial;
use tests::host::Host;
use tests::installer::{self, Disk, Hardware, Installation, Installer, Outcome, Quirk};
use tests::requirement::Requirement;
use tests::server::Fault;
use tests::{etcd, process, programs, run};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Network,
];
const BUILT: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
];
const CREATEREPO: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Createrepo,
];

/// Where the server of the tests is, as the demo's recipe has it.
const SERVER: &str = "http://10.101.15.1:8080";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_disk_is_chosen_that_anaconda_can_install_on_and_boot_from",
            REQUIREMENTS,
            disks,
        ),
        trial(
            "without_a_disk_the_machine_is_switched_off_and_says_why",
            REQUIREMENTS,
            no_disk,
        ),
        trial(
            "the_digest_is_of_what_yum_fetched_and_not_of_what_curl_got",
            REQUIREMENTS,
            lying_mirror,
        ),
        trial(
            "a_repository_that_anaconda_leaves_out_ends_the_installation",
            BUILT,
            left_out,
        ),
        trial(
            "a_package_that_is_not_there_ends_the_installation_safely",
            REQUIREMENTS,
            missing_package,
        ),
        trial(
            "updates_come_from_a_repository_made_by_createrepo",
            CREATEREPO,
            createrepo,
        ),
    ]
}

/// A machine that is installed with the demo's recipe, changed.
struct Bed {
    provisioning: Provisioning,
    host: Host,
}

impl Bed {
    fn new() -> Result<Self> {
        let provisioning = Provisioning::new()?;
        let host = provisioning.machine("etcd-1")?;
        Ok(Self { provisioning, host })
    }

    /// Installs with these lines at the recipe's end, up to the overlay, which is not there.
    fn install(&self, more: &str, hardware: &Hardware) -> Result<Installation> {
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
        let kickstart = fs::read_to_string(planned.join("centos7.ks"))?;
        let installer = Installer::new(&kickstart, &self.host.root()).hardware(hardware.clone());
        installer.namespace(&self.host.link().namespace).run()
    }
}

/// The disk and the partition table that were chosen, and the partitions.
fn chosen(installation: &Installation) -> String {
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

const USUAL: &str = "/ /boot /var/lib/etcd";
const LARGE: u64 = 3 << 40;
/// The last size that an MBR reaches, in blocks of 512 bytes.
const LAST: u64 = 0xffff_fffe * 512;

fn disks() -> Result<()> {
    let bed = Bed::new()?;
    let disk = |name: &str| Disk::new(name, 20 << 30);
    let large = |bytes: u64, block: u32| Disk {
        block,
        ..Disk::new("sda", bytes)
    };
    let mounted = Disk {
        partitions: vec![("sdaa1".into(), in_use()?)],
        ..disk("sdaa")
    };
    let link = Disk {
        links: vec!["disk/by-id/ata-X_1".into()],
        ..disk("sdc")
    };
    for (hardware, more, expected) in [
        (Hardware::default(), "", format!("sda msdos: {USUAL}")),
        (
            Hardware::default().uefi(),
            "",
            "sda gpt: / /boot /boot/efi /var/lib/etcd".into(),
        ),
        (
            Hardware::with([large(LAST, 512)]),
            "",
            format!("sda msdos: {USUAL}"),
        ),
        (
            Hardware::with([large(LAST + 512, 512)]),
            "",
            format!("sda gpt: {USUAL} biosboot"),
        ),
        (
            Hardware::with([large(LARGE, 512)]),
            "",
            format!("sda gpt: {USUAL} biosboot"),
        ),
        (
            Hardware::with([large(LARGE, 4096)]),
            "",
            format!("sda msdos: {USUAL}"),
        ),
        (
            Hardware::with([large(LARGE, 512)]).uefi(),
            "",
            "sda gpt: / /boot /boot/efi /var/lib/etcd".into(),
        ),
        (
            Hardware::with([disk("cciss/c0d0")]),
            "",
            format!("cciss/c0d0 msdos: {USUAL}"),
        ),
        (
            Hardware::with([disk("cciss/c0d0"), disk("cciss/c0d1")]),
            "disk = \"cciss/c0d1\"",
            format!("cciss/c0d1 msdos: {USUAL}"),
        ),
        // Compressed swap and loop devices are no disks, however large.
        (
            Hardware::with([disk("zram0").but(Quirk::Virtual), disk("vda")]),
            "",
            format!("vda msdos: {USUAL}"),
        ),
        (
            Hardware::with([disk("sda").but(Quirk::Multipath), disk("sdb")]),
            "",
            format!("sdb msdos: {USUAL}"),
        ),
        (
            Hardware::with([
                Disk {
                    properties: vec!["ID_FS_TYPE=mpath_member".into()],
                    ..disk("sda")
                },
                disk("sdb"),
            ]),
            "",
            format!("sdb msdos: {USUAL}"),
        ),
        (
            Hardware::with([
                Disk {
                    properties: vec!["ID_FS_TYPE=isw_raid_member".into()],
                    ..disk("sda")
                },
                disk("sdb"),
            ]),
            "",
            format!("sdb msdos: {USUAL}"),
        ),
        // What another disk of a longer name has mounted does not count.
        (
            Hardware::with([mounted.clone(), disk("sda")]),
            "",
            format!("sda msdos: {USUAL}"),
        ),
        (
            Hardware::with([disk("sda"), link]),
            "disk = \"/dev/disk/by-id/ata-X_1\"",
            format!("sdc msdos: {USUAL}"),
        ),
        (
            Hardware::with([disk("sda"), disk("sdb").but(Quirk::Removable)]),
            "disk = \"sdb\"",
            format!("sdb msdos: {USUAL}"),
        ),
    ] {
        let installation = bed.install(&install(more), &hardware)?;
        let log = installation.log();
        ensure!(
            chosen(&installation) == expected,
            "{hardware:?} {more}\n{}\nnot {expected}\n{log}",
            chosen(&installation)
        );
        // It went on to %post, where no server has the overlay.
        ensure!(
            log.contains("no server has the overlay"),
            "{hardware:?}\n{log}"
        );
        ensure!(
            installation.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
            "{:?}",
            installation.outcome
        );
    }
    Ok(())
}

/// A line of [install]: the demo's recipe ends with that section.
fn install(line: &str) -> String {
    format!("{line}\n")
}

/// The number of a device that is mounted in the installer: the one that the stand-in lays its
/// description of disks from.
fn in_use() -> Result<String> {
    let device = fs::metadata(run::current()?.folder("device")?)?.dev();
    Ok(format!(
        "{}:{}",
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device)
    ))
}

fn no_disk() -> Result<()> {
    let bed = Bed::new()?;
    let disk = |name: &str| Disk::new(name, 20 << 30);
    for (hardware, more, why) in [
        (Hardware::with([]), "", "there is none"),
        (
            Hardware::with([Disk::new("sda", 5 << 30)]),
            "",
            "sda has 5120 MiB, 13568 are needed",
        ),
        (
            Hardware::with([disk("sda").but(Quirk::ReadOnly)]),
            "",
            "sda can only be read",
        ),
        (
            Hardware::with([disk("sda").but(Quirk::Removable)]),
            "",
            "sda is removable",
        ),
        (
            Hardware::with([disk("sda").but(Quirk::Multipath)]),
            "disk = \"sda\"",
            "sda is one path to a multipath disk",
        ),
        (
            Hardware::with([disk("sda")]),
            "disk = \"sdb\"",
            "the recipe wants sdb of 13568 MiB, but there is none",
        ),
        (
            Hardware::with([
                Disk {
                    partitions: vec![("sda1".into(), in_use()?)],
                    ..disk("sda")
                },
                Disk::new("sdb", 1 << 30),
            ]),
            "",
            "sda is in use; sdb has 1024 MiB",
        ),
    ] {
        let installation = bed.install(&install(more), &hardware)?;
        let log = installation.log();
        ensure!(
            installation.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
            "{:?}",
            installation.outcome
        );
        ensure!(
            log.contains("INSTALLATION FAILED. %pre failed: no disk for the node")
                && log.contains(why),
            "{why}\n{log}"
        );
    }
    Ok(())
}

/// The mirror answers curl with the tree that the recipe pins, and yum with another.
fn lying_mirror() -> Result<()> {
    let bed = Bed::new()?;
    let www = bed.provisioning.www();
    let digest = digest(&www.join(TREE).join("repodata/repomd.xml"))?;
    let pinned = install(&format!("repomd-sha256 = \"{digest}\""));
    let honest = bed.install(&pinned, &Hardware::default())?;
    ensure!(
        honest.log().contains("no server has the overlay"),
        "{}",
        honest.log()
    );

    installer::write_tree(
        &www.join("other"),
        &[&installer::PACKAGES[..], &["evil"]].concat(),
    )?;
    for file in ["repomd.xml", "primary.xml.gz", "comps.xml.gz"] {
        let instead = Fault::Instead(
            "CentOS (anaconda)".into(),
            format!("/other/repodata/{file}"),
        );
        bed.provisioning
            .server
            .fault(&format!("{TREE}/repodata/{file}"), instead);
    }
    let lied = bed.install(&pinned, &Hardware::default())?;
    let log = lied.log();
    ensure!(
        lied.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
        "{:?}\n{log}",
        lied.outcome
    );
    ensure!(
        log.contains("the repomd.xml of anaconda that yum has fetched has sha256"),
        "{log}"
    );
    // Nothing of what it served was installed: no %post ran.
    ensure!(!log.contains("%post at"), "{log}");
    // Without a digest there is nothing to compare with.
    let trusted = bed.install(&install(""), &Hardware::default())?;
    ensure!(
        trusted.log().contains("no server has the overlay"),
        "{}",
        trusted.log()
    );
    Ok(())
}

/// A repository whose metadata does not fit its digests is disabled, and anaconda goes on without
/// it.
fn left_out() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let bed = Bed::new()?;
    bed.provisioning.build(&programs::recipe("demo"))?;
    let updates = TREE.replace("/os/", "/updates/");
    let primary = format!("{updates}/repodata/primary.xml.gz");
    bed.provisioning.server.fault(&primary, Fault::FlipByte(20));
    let installation = bed.provisioning.try_install(&bed.host)?;
    let log = installation.log();
    ensure!(
        installation.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
        "{:?}\n{log}",
        installation.outcome
    );
    ensure!(
        log.contains("metadata download for repo updates failed after 10 retries"),
        "{log}"
    );
    ensure!(
        log.contains("anaconda has installed without one of the repositories"),
        "{log}"
    );
    // The new system was whole, and had its stamp.
    ensure!(
        !bed.host.path("/etc/firstboot/installed").exists(),
        "it counts as installed"
    );

    // One that is not there at all is missed before any package is installed.
    bed.provisioning.server.heal(&primary);
    let repomd = format!("{updates}/repodata/repomd.xml");
    bed.provisioning.server.fault(
        &repomd,
        Fault::Instead("CentOS (anaconda)".into(), "/none".into()),
    );
    let log = bed.provisioning.try_install(&bed.host)?.log();
    ensure!(
        log.contains("anaconda does not use the repository updates") && !log.contains("%post at"),
        "{log}"
    );
    Ok(())
}

/// It fails inside anaconda, where neither %onerror nor %traceback runs.
fn missing_package() -> Result<()> {
    let bed = Bed::new()?;
    let installation = bed.install(
        &install("packages = [\"tmux\", \"no-such-package\"]"),
        &Hardware::default(),
    )?;
    let log = installation.log();
    ensure!(
        installation.outcome == Outcome::PoweredOff("systemctl --force poweroff".into()),
        "{:?}\n{log}",
        installation.outcome
    );
    ensure!(
        log.contains("INSTALLATION FAILED. anaconda ended before")
            && log.contains("Missing package: no-such-package"),
        "{log}"
    );
    // That is before the disks are written.
    ensure!(!log.contains("%pre-install at"), "{log}");
    Ok(())
}

/// A repository of real packages, whose metadata others have made; the recipe pins its digest.
fn createrepo() -> Result<()> {
    let bed = Bed::new()?;
    let els = bed.provisioning.www().join("els");
    let package = run::current()?.folder("package")?;
    fs::write(package.join("own.spec"), SPEC)?;
    let top = format!("_topdir {}", package.display());
    process::check(
        "rpmbuild",
        &[
            "-bb",
            "--quiet",
            "--define",
            &top,
            &package.join("own.spec").to_string_lossy(),
        ],
    )?;
    fs::create_dir_all(&els)?;
    fs::copy(
        package.join("RPMS/noarch/own-1-1.noarch.rpm"),
        els.join("own-1-1.noarch.rpm"),
    )?;
    process::check("createrepo_c", &["--quiet", &els.to_string_lossy()])?;
    let digest = digest(&els.join("repodata/repomd.xml"))?;
    let repo = format!(
        "packages = [\"own\"]\n[[install.repo]]\nname = \"els\"\nurls = [\"{SERVER}/gone/\", \"{SERVER}/els/\"]\nrepomd-sha256 = \"{digest}\"\n"
    );
    let installation = bed.install(&install(&repo), &Hardware::default())?;
    let log = installation.log();
    ensure!(log.contains("no server has the overlay"), "{log}");
    let repos: Vec<_> = installation
        .commands("repo")
        .iter()
        .map(|repo| repo.arguments.join(" "))
        .collect();
    ensure!(
        repos == [format!("--name=els --baseurl={SERVER}/els")],
        "{repos:?}"
    );
    // Without that repository its package is missing.
    let without = bed.install(&install("packages = [\"own\"]"), &Hardware::default())?;
    ensure!(
        without.log().contains("Missing package: own"),
        "{}",
        without.log()
    );
    Ok(())
}

const SPEC: &str = "Name: own\nVersion: 1\nRelease: 1\nSummary: A package of nothing\nLicense: MIT\nBuildArch: noarch\n\
                    %description\nNothing.\n%files\n";

fn digest(path: &Path) -> Result<String> {
    let said = process::check("sha256sum", &[&path.to_string_lossy()])?;
    said.split_whitespace()
        .next()
        .map(str::to_owned)
        .context("sha256sum says nothing")
}
