//! Tests that a newer image rolls through a cluster, one node at a time, while clients write. On
//! each node, the image passes its health check or is rolled back.

mod kernel_setting;
mod own_unit;

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::process::Output;
use tests::programs::recipe;
use tests::repack::{self, Repack};
use tests::requirement::Requirement;
use tests::run;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};

/// A newer patch release of the minor version that the demo uses.
const PATCH: &str = "3.5.35";

/// The part of a recipe that adds a file.
const WORD: &str = "[files.overlay]\n\"/etc/own/word\" = \"word\"\n";

pub(crate) fn trials() -> Vec<Trial> {
    let patch: Vec<Requirement> = [REQUIREMENTS, &[etcd::need(PATCH)]].concat();
    vec![
        trial(
            "an_image_rolls_through_a_cluster_while_clients_write",
            &patch,
            rolls,
        ),
        trial(
            "an_image_that_fails_is_rolled_back_and_not_tried_again",
            REQUIREMENTS,
            fails,
        ),
    ]
}

/// Builds the demo's recipe with these additional sections, and with these files next to it.
pub(crate) fn build(bed: &Bed, sections: &str, files: &[(&str, &str)]) -> Result<()> {
    build_from(bed, &fs::read_to_string(recipe("demo"))?, sections, files)
}

/// Builds a recipe with an `[update]` section and these additional sections, and with these files
/// next to it.
pub(crate) fn build_from(
    bed: &Bed,
    recipe: &str,
    sections: &str,
    files: &[(&str, &str)],
) -> Result<()> {
    let folder = run::current()?.folder("recipe")?;
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
    }
    let update = "[update]\nfrom = \"http://10.101.15.1:8080/\"\nsoak-seconds = 10\n";
    let path = folder.join("recipe.toml");
    fs::write(&path, format!("{recipe}\n{update}\n{sections}"))?;
    bed.provisioning.build(&path).map(drop)
}

pub(crate) fn bed() -> Result<Bed> {
    let mut bed = Bed::unbuilt_with_firewall()?;
    build(&bed, "", &[])?;
    bed.install_up_to(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    Ok(bed)
}

pub(crate) fn update(host: &Host, words: &str) -> Result<Output> {
    let ran = host.sh(&format!("firstboot update {words}"))?;
    println!(
        "{}: firstboot update {words}: {}\n{}{}",
        host.name(),
        ran.code(),
        ran.stdout,
        ran.stderr
    );
    Ok(ran)
}

/// Checks that the command exits with this code and prints these words.
#[track_caller]
pub(crate) fn ends(ran: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(
        ran.code() == code,
        "`{}` exits with {}, expected {code}:\n{said}",
        ran.command,
        ran.code()
    );
    for word in words {
        ensure!(
            said.contains(word),
            "`{}` does not print {word:?}, but:\n{said}",
            ran.command
        );
    }
    Ok(())
}

/// Checks that all nodes have the complete published image and run this version of etcd, that no
/// node has the turn, and that no order is pending.
pub(crate) fn all_have(bed: &Bed, etcd: &str) -> Result<()> {
    let image = repack::read(&bed.provisioning.out())?
        .overlay
        .sha256
        .to_string();
    for host in &bed.hosts {
        let installed = host.read("/etc/firstboot/installed")?;
        ensure!(
            installed.trim() == image,
            "{} has image {installed}, not {image}",
            host.name()
        );
        is_at_rest(host)?;
    }
    let seen = wait_healthy(&bed.hosts[0], bed.hosts.len(), CONVERGENCE_TIMEOUT)?;
    ensure!(
        seen.iter().all(|member| member.version == etcd),
        "not {etcd}: {seen:?}"
    );
    Ok(())
}

pub(crate) fn is_at_rest(host: &Host) -> Result<()> {
    host.check(&["firstboot", "image"])?;
    ensure!(
        !host.path("/var/lib/firstboot/update/state.json").exists(),
        "{}: an order is pending",
        host.name()
    );
    let turn = etcdctl(host, "get /etcd-image/update/turn")?;
    ensure!(turn.trim().is_empty(), "a node has the turn: {turn}");
    Ok(())
}

fn rolls() -> Result<()> {
    let mut bed = bed()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "roll/");
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    ends(&update(&bed.hosts[0], "")?, 0, &["already has image 1"])?;

    adds_files(&bed)?;

    // The update changes the patch release of etcd, a file and a unit, and removes another file.
    let unit = own_unit::text("second");
    let files = [("word", "two\n"), ("own.service", &unit), own_unit::PRESET];
    let sections = format!("{}{WORD}{}", kernel_setting::SECTION, own_unit::SECTIONS);
    build(&bed, &sections, &files)?;
    let mut image = Repack::of(&bed.provisioning.out())?;
    image.etcd(PATCH)?;
    image.pack(3, &bed.provisioning.signing_key()?)?;
    ends(
        &update(&bed.hosts[2], "--check")?,
        7,
        &["changed  /etc/own/word", "removed  /etc/own/gone"],
    )?;
    is_fetched_once(&bed.hosts[2])?;
    roll(&bed)?;
    all_have(&bed, PATCH)?;
    own_unit::is_active(&bed, "second")?;
    ensure!(
        bed.hosts[2].read("/etc/own/word")? == "two\n",
        "the operator's file is wrong"
    );
    ensure!(
        !bed.hosts[2].path("/etc/own/gone").exists(),
        "the file still exists"
    );

    no_write_is_lost(writers, &client, &addresses)?;

    // After a reboot, a node still has the image that it was updated to.
    bed.hosts[2].shutdown()?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(&bed.hosts[2])?;
    rolls_back(&bed.hosts[2])?;
    all_have(&bed, PATCH)
}

/// Updates all nodes to an image that changes a kernel setting, and adds the operator's own files.
fn adds_files(bed: &Bed) -> Result<()> {
    bed.hosts
        .iter()
        .try_for_each(kernel_setting::allow_writes)?;
    let gone = "\"/etc/own/gone\" = \"gone\"\n";
    let unit = own_unit::text("first");
    let files = [
        ("word", "one\n"),
        ("gone", "gone\n"),
        ("own.service", &unit),
        own_unit::PRESET,
    ];
    let sections = format!(
        "{}{WORD}{gone}{}",
        kernel_setting::SECTION,
        own_unit::SECTIONS
    );
    build(bed, &sections, &files)?;
    let check = update(&bed.hosts[0], "--check")?;
    let words = [
        "+net.ipv4.tcp_keepalive_time = 611",
        "new      /etc/own/word",
        "applies the kernel settings",
    ];
    ends(&check, 7, &words)?;
    ensure!(
        !bed.hosts[0].path("/etc/own").exists(),
        "--check changed something"
    );
    roll(bed)?;
    all_have(bed, etcd::DEMO)?;
    have_setting_and_file(bed)?;
    own_unit::is_active(bed, "first")
}

/// Checks that a node does not download an image that it has already unpacked. If a file of the
/// unpacked image was altered, the node must download the image again.
fn is_fetched_once(host: &Host) -> Result<()> {
    let fetches = || -> Result<bool> {
        let check = update(host, "--check")?;
        ends(&check, 7, &["changed  /etc/own/word"])?;
        Ok(check.stderr.contains("fetching image 3"))
    };
    ensure!(!fetches()?, "the unpacked image is downloaded again");
    host.sh("echo >> /var/lib/firstboot/update/new/usr/local/bin/etcdctl")?
        .ok()?;
    ensure!(fetches()?, "an altered image is used");
    ensure!(!fetches()?, "the image is downloaded each time");
    Ok(())
}

fn have_setting_and_file(bed: &Bed) -> Result<()> {
    for host in &bed.hosts {
        ensure!(
            host.read("/etc/own/word")? == "one\n",
            "the operator's file is wrong"
        );
        kernel_setting::has_value(host, "611")?;
    }
    Ok(())
}

/// Stops the writers. Checks that no acknowledged write is lost, and that every gap between
/// acknowledged writes was shorter than 10 s.
pub(crate) fn no_write_is_lost(
    writers: Writers,
    client: &Client,
    addresses: &[Ipv4Addr],
) -> Result<()> {
    let written = writers.stop()?;
    let (one, all) = written.longest_gaps();
    println!(
        "{} writes acknowledged; longest gap {one:.1?} for one writer, {all:.1?} for all",
        written.count()
    );
    for address in addresses {
        written.kept_in(&client::insist(|| client.all(*address, "roll/"))?)?;
    }
    ensure!(
        all < Duration::from_secs(10),
        "no write was acknowledged for {all:?}: were two members down?"
    );
    Ok(())
}

/// Checks that the operator's order `--rollback` restores the node's previous image. Then updates
/// the node again with `--retry`.
fn rolls_back(host: &Host) -> Result<()> {
    ends(
        &update(host, "--rollback")?,
        0,
        &["restoring the image that this node had before image 3"],
    )?;
    ensure!(
        host.read("/etc/own/word")? == "one\n" && host.path("/etc/own/gone").exists(),
        "the files were not restored"
    );
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(host)?;
    ends(&update(host, "--rollback")?, 3, &["[update-no-way-back]"])?;
    ends(&update(host, "")?, 3, &["[update-failed-before]"])?;
    ends(&update(host, "--retry")?, 0, &[])?;
    Ok(())
}

/// Updates all nodes, one after another.
fn roll(bed: &Bed) -> Result<()> {
    for host in &bed.hosts {
        let begun = Instant::now();
        ends(
            &update(host, "")?,
            0,
            &["the member is healthy and must stay healthy for 10 s"],
        )?;
        println!("{} took {:.1?}", host.name(), begun.elapsed());
    }
    Ok(())
}

fn fails() -> Result<()> {
    let bed = bed()?;
    let before = repack::read(&bed.provisioning.out())?;
    let kept = bed.provisioning.copy_output()?;
    kernel_setting::allow_writes(&bed.hosts[0])?;
    let setting = kernel_setting::read(&bed.hosts[0])?;
    // Replace etcd with a script that prints a part of the kernel setting and exits.
    let image = Repack::of(&bed.provisioning.out())?;
    fs::write(
        image.path("usr/local/bin/etcd"),
        kernel_setting::PRINT_AND_FAIL,
    )?;
    fs::write(
        image.path("etc/sysctl.d/99-own.conf"),
        format!("{} = 612\n", kernel_setting::KEY),
    )?;
    image.pack(2, &bed.provisioning.signing_key()?)?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "fail/");
    ends(
        &update(&bed.hosts[0], "")?,
        8,
        &["the health check of image 2 failed", "was rolled back"],
    )?;
    let journal = bed.hosts[0].journal("etcd")?;
    ensure!(!setting.starts_with('6') && journal.contains("the setting begins with 6"));
    kernel_setting::has_value(&bed.hosts[0], &setting)?;
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(&bed.hosts[0])?;
    let installed = bed.hosts[0].read("/etc/firstboot/installed")?;
    ensure!(
        installed.trim() == before.overlay.sha256.to_string(),
        "the previous image was not restored"
    );
    for host in &bed.hosts[..2] {
        ends(
            &update(host, "")?,
            3,
            &["image 2 failed on etcd-1", "[update-failed-before]"],
        )?;
    }
    writers.wait_for_more(10, CONVERGENCE_TIMEOUT)?;
    let written = writers.stop()?;
    written.kept_in(&client::insist(|| client.all(addresses[0], "fail/"))?)?;

    // The next release has a working etcd and a changed file.
    bed.provisioning.restore_output(&kept)?;
    let image = Repack::of(&bed.provisioning.out())?;
    fs::write(
        image.path("etc/hosts"),
        format!("{}# new\n", fs::read_to_string(image.path("etc/hosts"))?),
    )?;
    image.pack(3, &bed.provisioning.signing_key()?)?;
    halts_and_restarts_hold_it_back(&bed)?;
    ends(&update(&bed.hosts[0], "")?, 0, &[])?;
    ensure!(
        bed.hosts[0].read("/etc/hosts")?.contains("# new"),
        "the new file is missing"
    );
    wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    is_at_rest(&bed.hosts[0])
}

/// Checks that an update waits while an operator has halted updates, and while a member restarts
/// its etcd because of a rotation.
fn halts_and_restarts_hold_it_back(bed: &Bed) -> Result<()> {
    ends(&update(&bed.hosts[1], "--halt 'release freeze'")?, 0, &[])?;
    ends(
        &update(&bed.hosts[0], "--deadline 3")?,
        4,
        &["release freeze", "[update-halted]"],
    )?;
    ends(&update(&bed.hosts[2], "--resume")?, 0, &[])?;
    etcdctl(&bed.hosts[1], "put /etcd-image/restart etcd-3")?;
    ends(
        &update(&bed.hosts[0], "--deadline 3")?,
        4,
        &["etcd-3 is restarting its etcd", "[update-turn]"],
    )?;
    etcdctl(&bed.hosts[1], "del /etcd-image/restart")?;
    Ok(())
}
