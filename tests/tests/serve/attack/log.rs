//! Tests the server's log and its disk during an attack.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tests::{programs, run};

use crate::bed::{
    SERVER, Server, built, connect, document_of, expect, installs, read_all, script_of,
};
pub(super) fn log() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    let macs: Vec<String> = (0..600)
        .map(|n| format!("mac=52:54:00:01:{:02x}:{:02x}", n / 256, n % 256))
        .collect();
    let odd = "serial=%E2%80%AE%1B%5B2Jreversed%0A10.0.0.1%20etcd-1:%20its%20document%20is%20handed%20out";
    let pages = [
        format!("node.json?{}", macs.join("&")),
        format!("boot.ipxe?{odd}"),
        format!("node.json?{odd}"),
    ];
    let mut stream = connect(&one.namespace)?;
    for _ in 0..1000 {
        for page in &pages {
            stream.write_all(format!("GET /{page} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
            let mut answer = [0; 4096];
            ensure!(
                stream.read(&mut answer)? > 0,
                "the server ended the connection"
            );
        }
    }
    drop(read_all(&mut stream, Duration::from_millis(200))?);
    let said = server.output()?;
    ensure!(said.len() < 64 << 10, "{} bytes of log", said.len());
    let longest = said.lines().map(str::len).max().unwrap_or_default();
    ensure!(longest < 700, "a line of {longest} bytes");
    ensure!(
        said.bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "unexpected characters:\n{said}"
    );
    ensure!(
        !said.lines().any(|line| line.starts_with("10.0.0.1")),
        "a line is forged:\n{said}"
    );
    // The server still answers and logs the requests of a different machine.
    expect(&two.namespace, &document_of(&two.mac), 200, "payload")?;
    server.wait_for_output("etcd-2: receives its document")?;
    // The server also logs a delivery to the machine that sent all these requests.
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    server.wait_for_output("etcd-1: receives its document")?;
    Ok(())
}

pub(super) fn full() -> Result<()> {
    let ours = built()?;
    let one = ours.network.add("etcd-1")?;
    let state = run::current()?.folder("state")?;
    mount(
        Some("tmpfs"),
        &state,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=64k"),
    )?;
    let done = full_at(&ours, &one, &state);
    umount2(&state, MntFlags::empty())?;
    done
}

fn full_at(
    ours: &tests::cluster::Provisioning,
    one: &tests::network::Link,
    state: &Path,
) -> Result<()> {
    let demo = ours.out().with_file_name("out.state").join("demo");
    tests::process::check(
        "cp",
        &["-a", &demo.to_string_lossy(), &state.to_string_lossy()],
    )?;
    let mut filler = fs::File::create(state.join("filler"))?;
    while filler.write_all(&[0; 4096]).is_ok() {}
    let builder = programs::builder()?;
    let mut command = ours.network.world().command("sh");
    // The disk for the server's log is also full.
    command
        .args(["-c", "exec \"$@\" > /dev/full", "sh"])
        .arg(builder)
        .arg("serve")
        .arg(ours.out());
    command
        .args([
            "--listen",
            SERVER,
            "--open",
            "0",
            "--tree",
            "http://10.101.15.1:8081/none/",
            "--state",
        ])
        .arg(state);
    let server = Server::run(&command)?;
    expect(&one.namespace, "image/centos7.ks?node=etcd-1", 200, "%pre")?;
    let script = expect(
        &one.namespace,
        &script_of(one),
        200,
        "cannot record an installation",
    )?;
    ensure!(
        !installs(&script),
        "an installation that is not recorded wipes a machine: {script}"
    );
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    std::thread::sleep(Duration::from_millis(20));
    expect(
        &one.namespace,
        &document_of(&one.mac),
        403,
        "[document-closed]",
    )?;
    server.wait_for_output("the server can remember the delivery only until it exits")?;
    // The disk has space again only when the file is also closed.
    drop(filler);
    after_space_returns(one, state)
}

/// Frees the disk, and checks that the server does not install the machine that already has its
/// document.
fn after_space_returns(one: &tests::network::Link, state: &Path) -> Result<()> {
    fs::remove_file(state.join("filler"))?;
    ensure!(
        fs::write(state.join("space"), [0; 4096]).is_ok(),
        "the disk is still full"
    );
    let script = expect(&one.namespace, &script_of(one), 200, "#!ipxe")?;
    ensure!(
        !installs(&script),
        "a machine that already has its document is installed: {script}"
    );
    let recorded = fs::read_to_string(state.join("demo/etcd-1/install.json"))?;
    ensure!(
        recorded.contains("\"installed\""),
        "the server does not record the installation when the disk has space: {recorded}"
    );
    Ok(())
}
