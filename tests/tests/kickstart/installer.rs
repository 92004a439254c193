//! Tests the rendered kickstart with the model of anaconda: which disk and which repositories the
//! kickstart chooses, and in which state the machine is after an installation that cannot continue.

mod bed;
mod boot_order;
mod disks;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::TREE;
use tests::harness::trial;
use tests::installer::{self, Disk, DiskPartition, Hardware, Outcome, Quirk};
use tests::requirement::Requirement;
use tests::server::Fault;
use tests::{etcd, process, programs, run};

use self::bed::{Bed, in_use, install};
use self::boot_order::boot_order;
use self::disks::disks;

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

/// The address of the tests' server, which is also in the demo's recipe.
const SERVER: &str = "http://10.101.15.1:8080";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "anaconda_can_install_on_and_boot_from_the_chosen_disk",
            REQUIREMENTS,
            disks,
        ),
        trial(
            "a_machine_that_the_server_installs_keeps_booting_from_the_network_first",
            REQUIREMENTS,
            boot_order,
        ),
        trial(
            "without_a_disk_the_machine_reports_the_reason_and_switches_off",
            REQUIREMENTS,
            no_disk,
        ),
        trial(
            "the_digest_covers_the_metadata_that_yum_fetched_and_not_curls",
            REQUIREMENTS,
            lying_mirror,
        ),
        trial(
            "a_repository_that_anaconda_disables_ends_the_installation",
            BUILT,
            left_out,
        ),
        trial(
            "a_missing_package_ends_the_installation_safely",
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

/// Tests machines on which `%pre` finds no suitable disk, with the demo's recipe alone or with one
/// more line.
fn no_disk() -> Result<()> {
    let bed = Bed::new()?;
    let disk = |name: &str| Disk::new(name, 20 << 30);
    for (hardware, more, why) in [
        (Hardware::with([]), "", "there is none"),
        (
            Hardware::with([Disk::new("sda", 5 << 30)]),
            "",
            "sda has 5120 MiB, but 13568 MiB are needed",
        ),
        (
            Hardware::with([disk("sda").but(Quirk::ReadOnly)]),
            "",
            "sda is read-only",
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
            "the recipe requires sdb with 13568 MiB, but there is none",
        ),
        (
            Hardware::with([
                Disk {
                    partitions: vec![DiskPartition::new("sda1", &in_use()?)],
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

/// The mirror serves the pinned tree to curl, and a different tree to yum.
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
    // The installation ended before `%post`, so it used nothing from the other tree.
    ensure!(!log.contains("%post at"), "{log}");
    // Without a digest in the recipe, there is nothing to compare the metadata with.
    let trusted = bed.install(&install(""), &Hardware::default())?;
    ensure!(
        trusted.log().contains("no server has the overlay"),
        "{}",
        trusted.log()
    );
    Ok(())
}

/// anaconda disables a repository whose metadata does not match its digests, and continues without
/// that repository.
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
        log.contains("FAILED. %post (apply the overlay) failed: anaconda installed the system without one of the repositories: ")
            && log.contains("metadata download for repo updates failed after 10 retries. Its log is"),
        "{log}"
    );
    // The new system was complete and already had its installation marker, which the monitor has
    // removed.
    ensure!(
        !bed.host.path("/etc/firstboot/installed").exists(),
        "the machine counts as installed"
    );

    // If anaconda cannot fetch a repository that curl could fetch in `%pre`, `%pre-install` reports
    // the repository before any package is installed.
    bed.provisioning.server.clear_faults(&primary);
    let repomd = format!("{updates}/repodata/repomd.xml");
    bed.provisioning.server.fault(
        &repomd,
        Fault::Instead("CentOS (anaconda)".into(), "/none".into()),
    );
    let log = bed.provisioning.try_install(&bed.host)?.log();
    ensure!(
        log.contains("failed: anaconda does not use the repository updates: ")
            && log.contains("repo updates setup failed: Cannot retrieve repository metadata")
            && !log.contains("%post at"),
        "{log}"
    );
    Ok(())
}

/// The installation fails inside anaconda, where `%onerror` and `%traceback` do not run.
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
    // The failure occurs before the disks are written to.
    ensure!(!log.contains("%pre-install at"), "{log}");
    Ok(())
}

/// Tests a repository with a real package and with metadata made by createrepo. The recipe pins the
/// metadata's digest.
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
    // Without the repository in the recipe, anaconda does not find the repository's package.
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
        .context("sha256sum printed nothing")
}
