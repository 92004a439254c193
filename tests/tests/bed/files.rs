//! Tests the file server: the files that it serves, and the effect of its faults on curl.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process::{self, Output};
use tests::requirement::Requirement;
use tests::server::{Fault, FileServer};

const CONTENT: &str = "0123456789";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_server_serves_ranges_and_records_requests",
            &[Requirement::Curl],
            serves,
        ),
        trial(
            "each_injected_fault_has_its_effect",
            &[Requirement::Curl],
            misbehaves,
        ),
    ]
}

fn serves() -> Result<()> {
    let (_folder, server) = server()?;
    let url = server.url("a");
    ensure!(curl(&["-f", &url])?.ok()? == CONTENT);
    ensure!(curl(&["-f", "-r", "3-5", "-H", "X-Test: yes", &url])?.ok()? == "345");
    ensure!(curl(&["-fI", &url])?.ok()?.contains("Content-Length: 10"));
    ensure!(
        curl(&["-f", &server.url("b")])?.code() == 22,
        "a missing file is served"
    );
    curl(&[
        "-f",
        "--data-binary",
        "it failed",
        &server.url("report?node=etcd-1"),
    ])?
    .ok()?;
    let requests = server.requests_for("a");
    ensure!(
        requests.len() == 3 && requests[1].header("x-test") == Some("yes"),
        "{requests:?}"
    );
    let report = server
        .requests_for("report")
        .pop()
        .context("the report is not recorded")?;
    ensure!(
        report.body == b"it failed" && report.query.as_deref() == Some("node=etcd-1"),
        "{report:?}"
    );
    Ok(())
}

fn misbehaves() -> Result<()> {
    let (_folder, server) = server()?;
    let url = server.url("a");
    let with = |fault: Fault, arguments: &[&str]| -> Result<Output> {
        server.clear_faults("a");
        server.fault("a", fault);
        curl(&[arguments, &[&url]].concat())
    };
    ensure!(with(Fault::Status(404), &["-f"])?.code() == 22);
    ensure!(with(Fault::StatusTimes(500, 2), &["-f"])?.code() == 22);
    ensure!(curl(&["-f", &url])?.code() == 22);
    ensure!(
        curl(&["-f", &url])?.ok()? == CONTENT,
        "the third request failed"
    );

    let cut = with(Fault::CutOnceAfter(4), &["-f"])?;
    ensure!(cut.code() != 0 && cut.stdout == "0123", "{cut:?}");
    ensure!(
        curl(&["-f", &url])?.ok()? == CONTENT,
        "the answer was truncated more than once"
    );
    ensure!(with(Fault::CutAfter(0), &["-f"])?.code() != 0);

    let flipped = with(
        Fault::FlipByte(2),
        &["-fo", "/dev/null", "-w", "%{size_download}"],
    )?;
    ensure!(flipped.ok()? == "10");
    ensure!(
        curl(&["-f", "-r", "3-5", &url])?.ok()? == "345",
        "a flipped byte outside the range is visible"
    );
    ensure!(
        curl(&["-f", "-r", "0-2", &url])?.ok()? != "012",
        "a flipped byte inside the range is not visible"
    );

    ensure!(with(Fault::IgnoreRange, &["-f", "-r", "3-5"])?.stdout == CONTENT);
    ensure!(
        with(Fault::ContentLength(20), &["-f"])?.code() == 18,
        "a truncated body is accepted"
    );
    ensure!(with(Fault::ContentLength(5), &["-f"])?.stdout == "01234");
    ensure!(with(Fault::Redirect(server.url("c")), &["-fL"])?.ok()? == "elsewhere");

    let stalled = with(
        Fault::Stall(3, Duration::from_secs(60)),
        &["-f", "--max-time", "1"],
    )?;
    ensure!(
        stalled.code() == 28 && stalled.stdout == "012",
        "{stalled:?}"
    );
    let began = Instant::now();
    ensure!(with(Fault::Slow(20), &["-f"])?.ok()? == CONTENT);
    ensure!(
        began.elapsed() > Duration::from_millis(400),
        "10 bytes at 20 bytes per second arrived in {:?}",
        began.elapsed()
    );
    Ok(())
}

fn server() -> Result<(tempfile::TempDir, FileServer)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("a"), CONTENT)?;
    fs::write(folder.path().join("c"), "elsewhere")?;
    let server = FileServer::on_loopback(folder.path())?;
    Ok((folder, server))
}

fn curl(arguments: &[&str]) -> Result<Output> {
    process::run(
        Command::new("curl")
            .args(["-s", "--noproxy", "*"])
            .args(arguments),
    )
}
