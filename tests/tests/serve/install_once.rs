//! Tests that a machine is installed only once: the scripts that iPXE gets, the server's record,
//! and the operator's permissions.

mod elsewhere;
mod machine;
mod replaced;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::network::{Link, Namespace};
use tests::requirement::{NEEDS_SERVER, NEEDS_SERVER_AND_HOSTS};

use self::elsewhere::{another_build, elsewhere};
use self::machine::{TREE, board_of, expect_report, on_board, script};
use crate::bed::{Server, allow, built, built_with, document_of, expect, get, installs, report};
use crate::board;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "only_a_reported_installation_prevents_another_installation",
            NEEDS_SERVER,
            stages,
        ),
        trial(
            "an_unfinished_installation_is_retried_three_times_and_then_refused",
            NEEDS_SERVER,
            retried_then_refused,
        ),
        trial(
            "a_machine_identified_by_serial_or_uuid_is_installed_once",
            NEEDS_SERVER,
            firmware,
        ),
        trial(
            "an_expired_window_is_opened_without_reinstalling",
            NEEDS_SERVER,
            window,
        ),
        trial(
            "a_healthy_machine_that_kept_its_document_limits_the_window",
            NEEDS_SERVER,
            kept_document,
        ),
        trial(
            "another_output_or_host_does_not_reinstall_a_cluster",
            NEEDS_SERVER,
            elsewhere,
        ),
        trial(
            "a_build_without_a_record_wipes_no_machine",
            NEEDS_SERVER,
            another_build,
        ),
        trial(
            "a_build_between_boot_script_and_kickstart_restarts_the_machine",
            NEEDS_SERVER_AND_HOSTS,
            replaced::replaced,
        ),
        trial(
            "a_report_needs_its_token_and_its_mac_address",
            NEEDS_SERVER,
            forged,
        ),
    ]
}

fn stages() -> Result<()> {
    let ours = built()?;
    let token = board::token()?;
    let [power, notes] = board::power()?;
    let options = ["--board-token", &token, "--power", &power];
    let server = Server::start(&ours, &[TREE, &options].concat())?;
    let (one, world) = (ours.network.add("etcd-1")?, ours.network.world().clone());
    let first = expect(
        &one.namespace,
        "boot.ipxe",
        200,
        "chain http://10.101.15.1:8081/boot.ipxe?mac=${netX/mac}&",
    )?;
    ensure!(first.ends_with("|| exit 1\n"), "{first}");
    let sent = script(&one)?;
    ensure!(
        installs(&sent)
            && sent.contains("inst.ks=http://10.101.15.1:8081/image/centos7.ks?node=etcd-1&image="),
        "{sent}"
    );
    on_board(&world, "sent the installer")?;
    // The power is cut after the kickstart is fetched, and after each stage except the last.
    expect(&one.namespace, "image/centos7.ks?node=etcd-1", 200, "%pre")?;
    on_board(&world, "downloaded the kickstart")?;
    let again = script(&one)?;
    ensure!(
        installs(&again),
        "fetching the kickstart counts as an installation: {again}"
    );
    expect_report(&one.namespace, &sent, "started", 403, "[stale-report]")?;
    for stage in ["started", "installing"] {
        expect_report(&one.namespace, &again, stage, 200, "recorded")?;
        on_board(&world, stage)?;
    }
    let third = script(&one)?;
    ensure!(installs(&third), "{third}");
    fail(&one, &world, &third)?;
    board::shows(&one, "</span> failed</span>")?;
    board::shows(&one, "no disk for the node\\u{202e}\\n(wanted: any)")?;
    last_attempt(&one, &world)?;
    server
        .wait_for_output("etcd-1: reports failed: no disk for the node\\u{202e}\\n(wanted: any)")?;

    board::switches(&ours, &one, &notes)?;
    server.wait_for_output("server etcd-1: power: `netboot` and `cycle` succeeded")?;
    board::follows(&one, || allow(&ours, &["etcd-1", "--install"]).map(drop))?;
    let again = script(&one)?;
    ensure!(
        installs(&again) && again.contains("(attempt 1 of 4)"),
        "{again}"
    );
    Ok(())
}

/// Checks that the fourth attempt succeeds, and that nothing installs the machine afterwards.
fn last_attempt(one: &Link, world: &Namespace) -> Result<()> {
    let last = script(one)?;
    ensure!(
        installs(&last) && last.contains("(attempt 4 of 4)"),
        "{last}"
    );
    expect_report(&one.namespace, &last, "installed", 200, "recorded")?;
    let left = script(one)?;
    ensure!(
        !installs(&left)
            && left.contains("builder allow etcd-1 --install")
            && left.ends_with("exit 1\n"),
        "{left}"
    );
    expect_report(&one.namespace, &last, "failed", 403, "[stale-report]")?;
    expect_report(&one.namespace, &last, "healthy", 200, "recorded")?;
    on_board(world, "healthy")
}

/// Reports a failure whose reason contains characters that must not reach a terminal.
fn fail(one: &Link, world: &Namespace, script: &str) -> Result<()> {
    let (status, text) = report(
        &one.namespace,
        script,
        "failed",
        "no disk for the node\u{202e}\n(wanted: any)",
    )?;
    ensure!(status == 200, "{text}");
    let line = board_of(world, "etcd-1")?;
    ensure!(
        line.contains("failed") && line.contains("no disk for the node\\u{202e}\\n(wanted: any)"),
        "{line}"
    );
    Ok(())
}

fn retried_then_refused() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, TREE)?;
    let (one, world) = (ours.network.add("etcd-1")?, ours.network.world().clone());
    for attempt in 1..=4 {
        let sent = script(&one)?;
        ensure!(
            installs(&sent) && sent.contains(&format!("(attempt {attempt} of 4)")),
            "{sent}"
        );
        let (status, text) = report(&one.namespace, &sent, "failed", "the disk is broken")?;
        ensure!(status == 200, "{text}");
    }
    for _ in 0..2 {
        let left = script(&one)?;
        ensure!(
            !installs(&left)
                && left.contains("held after 4 attempts")
                && left.contains("the disk is broken"),
            "{left}"
        );
    }
    let line = board_of(&world, "etcd-1")?;
    ensure!(
        line.contains("held, failed") && line.ends_with("the disk is broken"),
        "{line}"
    );
    server.wait_for_output("[held]")?;
    // The server still does not install the held machine, even after a restart of the server with
    // more retries.
    drop(server);
    let _server = Server::start(&ours, &[TREE, &["--retries", "10"]].concat())?;
    ensure!(
        !installs(&script(&one)?),
        "the server no longer holds the machine"
    );
    allow(&ours, &["etcd-1", "--install"])?;
    ensure!(
        installs(&script(&one)?),
        "the server ignores the operator's permission"
    );
    Ok(())
}

fn firmware() -> Result<()> {
    let ours = built_with(|last| match last {
        101 => "serial = \"SER-1\"\n".to_owned(),
        102 => "uuid = \"4c4c4544-0042-3010-8052-b4c04f563232\"\n".to_owned(),
        _ => "mac = \"52:54:0a:65:0f:67\"\n".to_owned(),
    })?;
    let _server = Server::start(&ours, TREE)?;
    for (name, query) in [
        (
            "etcd-1",
            "boot.ipxe?mac=52:54:00:00:00:aa&serial=SER-1&uuid=",
        ),
        (
            "etcd-2",
            "boot.ipxe?mac=52:54:00:00:00:bb&serial=&uuid=4C4C4544-0042-3010-8052-B4C04F563232",
        ),
    ] {
        let machine = ours.network.add(name)?;
        let sent = expect(&machine.namespace, query, 200, "kernel ")?;
        expect(
            &machine.namespace,
            &format!("image/centos7.ks?node={name}"),
            200,
            "%pre",
        )?;
        expect_report(&machine.namespace, &sent, "installed", 200, "recorded")?;
        let left = expect(&machine.namespace, query, 200, "was installed at")?;
        ensure!(
            !installs(&left),
            "{name} is installed at every boot: {left}"
        );
    }
    Ok(())
}

fn window() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, &[TREE, &["--open", "0"]].concat())?;
    let one = ours.network.add("etcd-1")?;
    let sent = script(&one)?;
    expect_report(&one.namespace, &sent, "installed", 200, "recorded")?;
    let page = document_of(&one.mac);
    expect(&one.namespace, &page, 200, "payload")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    expect(
        &one.namespace,
        &page,
        403,
        "`builder allow etcd-1 --document`",
    )?;
    allow(&ours, &["etcd-1", "--document"])?;
    expect(&one.namespace, &page, 200, "payload")?;
    ensure!(
        !installs(&script(&one)?),
        "`builder allow --document` reinstalls the machine"
    );
    std::thread::sleep(std::time::Duration::from_millis(20));
    expect(&one.namespace, &page, 403, "[document-closed]")?;
    // Allowing an installation also allows the document, as soon as the installation has started.
    allow(&ours, &["etcd-1", "--install"])?;
    expect(&one.namespace, &page, 403, "[document-closed]")?;
    ensure!(
        installs(&script(&one)?),
        "the machine is not installed again"
    );
    expect(&one.namespace, &page, 200, "payload")?;
    ensure!(
        !installs(&script(&one)?),
        "a machine that fetched its document is installed again"
    );
    Ok(())
}

/// If a machine keeps its document through a reinstallation, the machine does not download the
/// document again.
fn kept_document() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, &[TREE, &["--open", "0"]].concat())?;
    let one = ours.network.add("etcd-1")?;
    let page = document_of(&one.mac);
    let sent = script(&one)?;
    expect_report(&one.namespace, &sent, "installed", 200, "recorded")?;
    expect(&one.namespace, &page, 200, "payload")?;
    allow(&ours, &["etcd-1", "--install"])?;
    let again = script(&one)?;
    ensure!(installs(&again), "the machine is not installed: {again}");
    for stage in ["installed", "healthy"] {
        expect_report(&one.namespace, &again, stage, 200, "recorded")?;
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    expect(&one.namespace, &page, 403, "[document-closed]")?;
    Ok(())
}

fn forged() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, TREE)?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    let sent = script(&one)?;
    expect_report(&two.namespace, &sent, "installed", 403, "[wrong-card]")?;
    let forged = sent.replace("&token=", "&token=0");
    expect_report(&one.namespace, &forged, "installed", 403, "[stale-report]")?;
    expect_report(
        &one.namespace,
        &sent.replace("node=etcd-1&", "node=etcd-2&"),
        "installed",
        403,
        "[wrong-card]",
    )?;
    expect_report(
        &one.namespace,
        &sent.replace("node=etcd-1&", "node=..%2f&"),
        "installed",
        404,
        "[unknown-machine]",
    )?;
    expect_report(&one.namespace, &sent, "finished", 400, "[stage]")?;
    ensure!(
        installs(&script(&one)?),
        "the server accepts a forged report"
    );
    let secrets: Vec<&str> = sent
        .split("token=")
        .filter_map(|rest| rest.get(..32))
        .skip(1)
        .collect();
    ensure!(
        secrets.len() == 1 && !server.output()?.contains(secrets[0]),
        "the token is in the log"
    );
    let (_, board) = get(&two.namespace, "")?;
    ensure!(!board.contains(secrets[0]), "the token is on the board");
    Ok(())
}
