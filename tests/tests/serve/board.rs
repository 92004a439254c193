//! Tests the board of `builder serve` from a machine that is not the server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::network::Link;
use tests::run;

use crate::bed::{SERVER, connect, curl, expect, read_all};

const TOKEN: &str = "b3a1f9c0d4e57788";
/// `any:TOKEN` in base64.
const BASIC: &str = "YW55OmIzYTFmOWMwZDRlNTc3ODg=";

/// Writes the token into a file for `--board-token`, and returns its path.
pub(crate) fn token() -> Result<String> {
    let path = run::current()?.folder("board")?.join("token");
    fs::write(&path, format!("{TOKEN}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Checks that the board shows this text, and refuses access without the token.
pub(crate) fn shows(from: &Link, text: &str) -> Result<()> {
    let from = &from.namespace;
    for page in ["board", "board/events", "board/board.js", "metrics"] {
        expect(from, page, 401, "[board-token]")?;
    }
    let url = |page: &str| format!("http://{SERVER}/{page}");
    let (status, page) = curl(from, &["--user", &format!("any:{TOKEN}")], &url("board"))?;
    ensure!(
        status == 200 && page.contains(text) && page.contains("<h1>Cluster demo</h1>"),
        "expected `{text}`, got {status}: {page}"
    );
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (status, metrics) = curl(from, &["--header", &bearer], &url("metrics"))?;
    ensure!(
        status == 200 && metrics.contains("etcd_image_machine_stage{machine=\"etcd-1\","),
        "{status}: {metrics}"
    );
    let (status, _) = curl(from, &["--header", &bearer, "--data", "x=1"], &url("board"))?;
    ensure!(status == 405, "the board accepts a write: {status}");
    Ok(())
}

/// Checks that an open page receives a change.
pub(crate) fn follows(from: &Link, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stream = connect(&from.namespace)?;
    let request = format!(
        "GET /board/events HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Basic {BASIC}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let first = read_all(&mut stream, Duration::from_secs(5))?;
    let (head, events) = first.split_once("\r\n\r\n").context("no head")?;
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"),
        "{first}"
    );
    ensure!(events.contains("data: \""), "no first event: {first}");
    change()?;
    let next = read_all(&mut stream, Duration::from_secs(5))?;
    ensure!(next.contains("data: \""), "no event after a change: {next}");
    Ok(())
}
