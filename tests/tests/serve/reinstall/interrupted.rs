//! Tests interrupted reinstallations of nodes that generate their own keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tests::cluster::{Provisioning, etcdctl, wait_healthy};
use tests::etcd;
use tests::host::{Host, OffReason};
use tests::run;

use super::machines::{
    JOURNAL, Machines, REINSTALL, TURN, is_reinstalled, read_all, recipe, script, wait_restarted,
};
use crate::bed::{SERVER, START_TIMEOUT, Server, installs};
use crate::enrolment::{ENROL, served};

const KEYS: &str = "/var/lib/firstboot/keys.pem";
const TREE: [&str; 2] = ["--tree", "http://10.101.15.1:8081/none/"];

/// Writes a recipe whose nodes keep etcd's volume and generate their own keys.
fn own_keys(install: &str) -> Result<PathBuf> {
    let path = recipe(&format!("data = \"keep\"\n{install}"))?;
    let text = fs::read_to_string(&path)?;
    let url = format!("[metadata]\nurl = \"http://{SERVER}/\"\n");
    ensure!(text.contains(&url), "{text}");
    let tls = format!("[tls]\nkeys = \"node\"\nenrol = \"https://{ENROL}/\"\n");
    fs::write(&path, text.replace(&url, &tls))?;
    Ok(path)
}

fn installed(ours: &Provisioning, name: &str) -> Result<Host> {
    let mut host = ours.machine(name)?;
    ours.install(&mut host)?;
    Ok(host)
}

/// Checks that a node whose installation does not begin keeps the turn, so that no other node
/// stops. If an operator has released such a node's turn, or if the node has lost power after its
/// request, the next boot from the network still installs the node. All nodes keep their keys, so
/// the operator does not have to approve a key.
pub(super) fn finished() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let ours = Provisioning::new()?;
    let path = own_keys("")?;
    ours.build(&path)?;
    let server = served(&ours, &path, &TREE)?;
    let mut bed = Machines::boot(ours, installed)?;
    drop(server);
    let path = own_keys("console = \"ttyS0\"\n")?;
    bed.ours.build(&path)?;
    let server = served(&bed.ours, &path, &[&TREE[..], &["--reinstall"]].concat())?;
    let (journals, keys) = (read_all(&bed.hosts, JOURNAL)?, read_all(&bed.hosts, KEYS)?);
    let members = bed.members()?;

    turn_of_an_absent_node(&mut bed)?;
    power_cut_after_the_request(&mut bed, &server)?;
    no_approval_was_needed(&server)?;
    drop(server);
    let server = server_switches_the_machine(&mut bed, &path)?;

    for (host, journal) in bed.hosts.iter().zip(&journals) {
        wait_healthy(host, 3, START_TIMEOUT)?;
        is_reinstalled(&bed.ours, host, journal)?;
    }
    ensure!(read_all(&bed.hosts, KEYS)? == keys, "a node has other keys");
    ensure!(bed.members()? == members, "the members have changed");
    no_approval_was_needed(&server)
}

fn no_approval_was_needed(server: &Server) -> Result<()> {
    ensure!(
        !server.output()?.contains("[key-not-approved]"),
        "a node waited for an operator"
    );
    Ok(())
}

fn order(host: &Host) -> Result<()> {
    host.check(&["sh", "-c", REINSTALL]).map(drop)
}

/// Waits until no node has the turn.
fn is_free(host: &Host) -> Result<()> {
    let free = format!(". /etc/profile.d/etcdctl.sh; test -z \"$(etcdctl {TURN})\"");
    host.wait_for(&free, START_TIMEOUT)
}

/// Leaves the machine of etcd-1 off, and checks that etcd-2 does not begin its own reinstallation,
/// even after an operator has released the turn.
fn turn_of_an_absent_node(bed: &mut Machines) -> Result<()> {
    order(&bed.hosts[0])?;
    ensure!(wait_restarted(bed)? == 0, "another node restarts");
    ensure!(installs(&script(&bed.hosts[0])?), "etcd-1 is not installed");
    waits(&bed.hosts[1], "[update-turn]")?;
    let early = bed.hosts[1].run(&["firstboot", "update", "--break-turn", "etcd-3"])?;
    ensure!(
        early.code() == 3 && early.stderr.contains("etcd-1 has the turn, not etcd-3"),
        "{early:?}"
    );
    bed.hosts[1].check(&["firstboot", "update", "--break-turn", "etcd-1"])?;
    ensure!(
        etcdctl(&bed.hosts[1], TURN)?.trim().is_empty(),
        "the turn is kept"
    );
    waits(&bed.hosts[1], "[update-not-healthy]")?;
    // The server sent the installer at the first attempt, and sends it again at this second
    // attempt.
    ensure!(bed.boot_from_network(0)?, "etcd-1 was not installed");
    wait_healthy(&bed.hosts[0], 3, START_TIMEOUT)?;
    is_free(&bed.hosts[0])
}

/// Checks that a node reports this reason while it waits, does not stop etcd, and gives up at its
/// deadline.
fn waits(host: &Host, id: &str) -> Result<()> {
    let ran = host.run(&["firstboot", "update", "--reinstall", "--deadline", "8"])?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    println!("{said}");
    ensure!(
        ran.code() == 4 && said.contains(id),
        "no {id} with exit code 4, but {}:\n{said}",
        ran.code()
    );
    ensure!(
        !said.contains("stopping etcd"),
        "{} stops etcd:\n{said}",
        host.name()
    );
    Ok(())
}

/// Cuts the power of etcd-3 between its request and its reboot.
fn power_cut_after_the_request(bed: &mut Machines, server: &Server) -> Result<()> {
    order(&bed.hosts[2])?;
    server.wait_for_output("etcd-3: asks to be installed again")?;
    bed.hosts[2].cut_power()?;
    ensure!(bed.boot_from_network(2)?, "etcd-3 was not installed");
    wait_healthy(&bed.hosts[2], 3, START_TIMEOUT)?;
    is_free(&bed.hosts[2])
}

/// Writes a program for `--power` that records its calls, and resets the machine whose first
/// process has this id. Returns the paths of the program and of the record.
fn power(init: u32) -> Result<[PathBuf; 2]> {
    let folder = run::current()?.folder("power")?;
    let [program, calls] = ["power", "calls"].map(|name| folder.join(name));
    let text = format!(
        "#!/bin/sh\necho \"$*\" >> '{}'\n[ \"$2\" != cycle ] || kill -KILL {init}\n",
        calls.display()
    );
    fs::write(&program, text)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    Ok([program, calls])
}

/// With `--power`, the server resets the machine of etcd-2. Until the reset, etcd-2 waits with etcd
/// stopped. Returns the server.
fn server_switches_the_machine(bed: &mut Machines, recipe: &Path) -> Result<Server> {
    let [program, calls] = power(bed.hosts[1].init()?)?;
    let program = program.to_string_lossy();
    let options = [&TREE[..], &["--reinstall", "--power", &program]].concat();
    let server = served(&bed.ours, recipe, &options)?;
    order(&bed.hosts[1])?;
    let off = bed.hosts[1].wait_off(START_TIMEOUT)?;
    ensure!(
        off == OffReason::Killed,
        "etcd-2 restarts by itself: {off:?}"
    );
    server.wait_for_output("server etcd-2: power: `netboot` and `cycle` succeeded")?;
    ensure!(bed.boot_from_network(1)?, "etcd-2 was not installed");
    wait_healthy(&bed.hosts[1], 3, START_TIMEOUT)?;
    is_free(&bed.hosts[1])?;
    let calls = fs::read_to_string(calls)?;
    ensure!(calls == "etcd-2 netboot\netcd-2 cycle\n", "{calls}");
    Ok(server)
}
