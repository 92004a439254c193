//! Tests how the board shows the stages of machines that only send reports over HTTP, without a
//! real installation.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::network::{Link, Namespace};
use tests::programs;

use super::page::{LIVE_TIMEOUT, Page};
use crate::bed::{SERVER, Server, allow, built, connect, document_of, expect, report, script_of};
use crate::board::{TOKEN, power, token};

const TREE: &[&str] = &["--tree", "http://10.101.15.1:8081/none/"];
/// A reason that contains a long word in which a line cannot break.
const REASON: &str = "no server has the overlay with sha256 \
    2c29cca10823c70f70f9d455441df0121c59193826eca04802b6ba43b618ceda";
/// The maximum number of pages that the server keeps up to date.
const MAX_PAGES: usize = 64;

fn boot(machine: &Link) -> Result<String> {
    expect(&machine.namespace, &script_of(machine), 200, "kernel ")
}

fn reports(machine: &Link, script: &str, stage: &str, why: &str) -> Result<()> {
    let (status, text) = report(&machine.namespace, script, stage, why)?;
    ensure!(status == 200, "{stage}: {status}: {text}");
    Ok(())
}

pub(super) fn every_stage() -> Result<()> {
    let ours = built()?;
    let (token, [power, _]) = (token()?, power()?);
    let pki = ours.pki().to_string_lossy().into_owned();
    programs::run_builder(&["pki", "client", "alice", "--pki", &pki])?.ok()?;
    let client = format!("{pki}/clients/alice");
    let options = ["--board-token", &token, "--power", &power];
    let server = Server::start(&ours, &[TREE, &options].concat())?;
    let machines = ["etcd-1", "etcd-2", "etcd-3"].map(|name| ours.network.add(name));
    let [one, two, three] = machines;
    let (one, two, three) = (one?, two?, three?);

    let page = Page::open(ours.network.world(), "stages", true)?;
    page.becomes_live()?;
    page.check(
        "waiting",
        &["3 allowed", "○ allowed", "Start it with --client"],
    )?;
    let first = boot(&one)?;
    page.follows(&["sent the installer"], LIVE_TIMEOUT)?;
    reports(&one, &first, "installing", "")?;
    page.follows(&["1 installing", "2 allowed"], LIVE_TIMEOUT)?;
    page.check("installing", &["◐ installing"])?;

    let second = boot(&two)?;
    reports(&two, &second, "failed", REASON)?;
    page.follows(&["! failed", REASON], LIVE_TIMEOUT)?;
    // The server tries to boot the machine again, but cannot reach the management controller.
    page.follows(&["! power failed", "no route to the BMC"], LIVE_TIMEOUT)?;
    page.check("failed", &["1 failed", "1 installing", "1 allowed"])?;
    for _ in 0..3 {
        let script = boot(&two)?;
        reports(&two, &script, "failed", "no disk for the node")?;
    }
    reports(&one, &first, "installed", "")?;
    let third = boot(&three)?;
    reports(&three, &third, "installed", "")?;
    let document = document_of(&three.mac);
    expect(&three.namespace, &document, 200, "payload")?;
    reports(&three, &third, "healthy", "")?;
    page.follows(&["1 held", "1 healthy", "1 installed"], LIVE_TIMEOUT)?;
    page.check("held", &["✕ held", "✓ healthy", "◐ installed"])?;
    page.stays_at_home()?;

    // The page stays open while the server restarts. No host answers at the members' addresses.
    drop(server);
    page.browser
        .wait_for("live", &["Trying again"], LIVE_TIMEOUT)?;
    let more = [TREE, &options, &["--client", &client]].concat();
    let _server = Server::start(&ours, &more)?;
    page.follows(&["✕ NO QUORUM", "✕ UNHEALTHY"], LIVE_TIMEOUT * 3)?;
    page.becomes_live()?;
    page.check("unreachable", &["0 of 3 members are healthy"])
}

/// Checks that the page reloads itself without JavaScript, and shows the same content as with
/// JavaScript. A page that the server cannot keep up to date must also reload itself.
pub(super) fn reloads() -> Result<()> {
    let ours = built()?;
    let token = token()?;
    let server = Server::start(&ours, &[TREE, &["--board-token", &token]].concat())?;
    let one = ours.network.add("etcd-1")?;
    let world = ours.network.world();
    let live = Page::open(world, "with-scripts", true)?;
    live.becomes_live()?;
    let plain = Page::open(world, "without-scripts", false)?;
    let says = "this page reloads every 10 seconds";
    plain.browser.wait_for("live", &[says], Duration::ZERO)?;
    let script = boot(&one)?;
    reports(&one, &script, "failed", "no disk for the node")?;
    let words = ["! failed", "no disk for the node"];
    let shown = plain.browser.wait_for("board", &words, LIVE_TIMEOUT)?;
    live.follows(&words, LIVE_TIMEOUT)?;
    ensure!(shown == live.browser.text_of("board")?, "it shows {shown}");
    plain.check("failed", &words)?;
    plain.stays_at_home()?;
    drop(live);
    drop(plain);

    let request = format!(
        "GET /board/events HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let busy: Vec<_> = (0..MAX_PAGES)
        .map(|_| subscribe(world, &request))
        .collect::<Result<_>>()?;
    let page = Page::open(world, "busy", true)?;
    let says = "therefore reloads every 10 seconds";
    page.browser.wait_for("live", &[says], LIVE_TIMEOUT)?;
    allow(&ours, &["etcd-1", "--install"])?;
    page.browser
        .wait_for("board", &["3 allowed"], LIVE_TIMEOUT)?;
    drop(busy);
    page.browser.wait_for("live", &["Live"], LIVE_TIMEOUT)?;
    drop(server);
    Ok(())
}

/// Subscribes to the board's changes. The server may refuse the first attempts, because it may
/// still count a page that was just closed.
fn subscribe(world: &Namespace, request: &str) -> Result<TcpStream> {
    let end = Instant::now() + LIVE_TIMEOUT;
    loop {
        let mut stream = connect(world)?;
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        if status == *b"HTTP/1.1 200" {
            return Ok(stream);
        }
        ensure!(Instant::now() < end, "the server accepts too few pages");
        sleep(Duration::from_millis(200));
    }
}
