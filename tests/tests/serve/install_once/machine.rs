//! A machine that boots from the network, and the server's record of the machine.

use anyhow::{Result, ensure};
use tests::network::{Link, Namespace};

use crate::bed::{expect, get, report, script_of};

pub(super) const TREE: &[&str] = &["--tree", "http://10.101.15.1:8081/none/"];

/// Returns the script that iPXE receives on a machine.
pub(super) fn script(link: &Link) -> Result<String> {
    expect(&link.namespace, &script_of(link), 200, "#!ipxe\n")
}

pub(super) fn expect_report(
    from: &Namespace,
    script: &str,
    stage: &str,
    status: u16,
    id: &str,
) -> Result<()> {
    let (found, text) = report(from, script, stage, "")?;
    ensure!(
        found == status && text.contains(id),
        "{stage}: expected {status} {id}, got {found}: {text}"
    );
    Ok(())
}

pub(super) fn board_of(world: &Namespace, node: &str) -> Result<String> {
    let (_, board) = get(world, "")?;
    Ok(board
        .lines()
        .find(|line| line.starts_with(node))
        .unwrap_or_default()
        .to_owned())
}

/// Checks that the board shows this text for etcd-1.
pub(super) fn on_board(world: &Namespace, text: &str) -> Result<()> {
    let line = board_of(world, "etcd-1")?;
    ensure!(line.contains(text), "{line}");
    Ok(())
}
