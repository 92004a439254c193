//! A machine is installed once: what iPXE is sent, what is recorded, and what the operator can
//! allow.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::network::{Link, Namespace};
use tests::requirement::Requirement;
use tests::{process, programs};

use crate::bed::{
    SERVER, Server, allow, ask, built, built_with, by_card, document_of, expect, installs,
    recipe_with, report, script_of,
};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Curl,
];
const TREE: &[&str] = &["--tree", "http://10.101.15.1:8081/none/"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "only_a_reported_installation_ends_installing",
            REQUIREMENTS,
            stages,
        ),
        trial(
            "an_unfinished_installation_is_retried_three_times_and_then_held",
            REQUIREMENTS,
            held,
        ),
        trial(
            "a_machine_known_by_serial_or_uuid_is_installed_once",
            REQUIREMENTS,
            firmware,
        ),
        trial(
            "an_expired_window_is_opened_without_reinstalling",
            REQUIREMENTS,
            window,
        ),
        trial(
            "another_output_or_host_does_not_reinstall_a_cluster",
            REQUIREMENTS,
            elsewhere,
        ),
        trial(
            "no_build_wipes_a_machine_without_a_record",
            REQUIREMENTS,
            another_build,
        ),
        trial(
            "a_report_is_believed_for_its_token_and_its_card",
            REQUIREMENTS,
            forged,
        ),
    ]
}

/// What iPXE on a machine is sent.
fn script(link: &Link) -> Result<String> {
    expect(&link.namespace, &script_of(link), 200, "#!ipxe\n")
}

fn expect_report(from: &Namespace, script: &str, stage: &str, status: u16, id: &str) -> Result<()> {
    let (found, text) = report(from, script, stage, "")?;
    ensure!(
        found == status && text.contains(id),
        "{stage}: expected {status} {id}, got {found}: {text}"
    );
    Ok(())
}

fn board_of(world: &Namespace, node: &str) -> Result<String> {
    let (_, board) = ask(world, "")?;
    Ok(board
        .lines()
        .find(|line| line.starts_with(node))
        .unwrap_or_default()
        .to_owned())
}

fn stages() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, TREE)?;
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
            && sent.contains("inst.ks=http://10.101.15.1:8081/image/centos7.ks?node=etcd-1 "),
        "{sent}"
    );
    ensure!(
        board_of(&world, "etcd-1")?.contains("sent the installer"),
        "{}",
        board_of(&world, "etcd-1")?
    );
    // A power cut after the kickstart, and after each stage but the last.
    expect(&one.namespace, "image/centos7.ks?node=etcd-1", 200, "%pre")?;
    ensure!(
        board_of(&world, "etcd-1")?.contains("took the kickstart"),
        "{}",
        board_of(&world, "etcd-1")?
    );
    let again = script(&one)?;
    ensure!(
        installs(&again),
        "the kickstart counts as the installation: {again}"
    );
    expect_report(&one.namespace, &sent, "started", 403, "[stale-report]")?;
    for stage in ["started", "installing"] {
        expect_report(&one.namespace, &again, stage, 200, "recorded")?;
        ensure!(
            board_of(&world, "etcd-1")?.contains(stage),
            "{}",
            board_of(&world, "etcd-1")?
        );
    }
    let third = script(&one)?;
    ensure!(installs(&third), "{third}");
    let (status, text) = report(
        &one.namespace,
        &third,
        "failed",
        "no disk for the node\u{202e}\n(wanted: any)",
    )?;
    ensure!(status == 200, "{text}");
    let line = board_of(&world, "etcd-1")?;
    ensure!(
        line.contains("failed") && line.contains("no disk for the node\\u{202e}\\n(wanted: any)"),
        "{line}"
    );
    let last = script(&one)?;
    ensure!(
        installs(&last) && last.contains("(attempt 4 of 4)"),
        "{last}"
    );
    expect_report(&one.namespace, &last, "installed", 200, "recorded")?;
    let left = script(&one)?;
    ensure!(
        !installs(&left)
            && left.contains("builder allow etcd-1 --install")
            && left.ends_with("exit 1\n"),
        "{left}"
    );
    expect_report(&one.namespace, &last, "failed", 403, "[stale-report]")?;
    expect_report(&one.namespace, &last, "healthy", 200, "recorded")?;
    ensure!(
        board_of(&world, "etcd-1")?.contains("healthy"),
        "{}",
        board_of(&world, "etcd-1")?
    );
    server.says("etcd-1: reports failed: no disk for the node\\u{202e}\\n(wanted: any)")?;

    allow(&ours, &["etcd-1", "--install"])?;
    let again = script(&one)?;
    ensure!(
        installs(&again) && again.contains("(attempt 1 of 4)"),
        "{again}"
    );
    Ok(())
}

fn held() -> Result<()> {
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
    server.says("[held]")?;
    // A server that was started again knows it, too.
    drop(server);
    let _server = Server::start(&ours, TREE)?;
    ensure!(
        !installs(&script(&one)?),
        "it forgot that the machine is held"
    );
    allow(&ours, &["etcd-1", "--install"])?;
    ensure!(installs(&script(&one)?), "the operator's word is not heard");
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
        "the remedy for the document reinstalls the machine"
    );
    std::thread::sleep(std::time::Duration::from_millis(20));
    expect(&one.namespace, &page, 403, "[document-closed]")?;
    // An installation that the operator allows includes the document, once it has begun.
    allow(&ours, &["etcd-1", "--install"])?;
    expect(&one.namespace, &page, 403, "[document-closed]")?;
    ensure!(installs(&script(&one)?), "it is not installed again");
    expect(&one.namespace, &page, 200, "payload")?;
    ensure!(
        !installs(&script(&one)?),
        "a machine that took its document is installed again"
    );
    Ok(())
}

fn elsewhere() -> Result<()> {
    let ours = built()?;
    let one = ours.network.add("etcd-1")?;
    let two = ours.network.add("etcd-2")?;
    let server = Server::start(&ours, TREE)?;
    let sent = script(&one)?;
    expect_report(&one.namespace, &sent, "installed", 200, "recorded")?;
    drop(server);
    let again = allow(&ours, &["--all", "--install"])?;
    ensure!(
        again.matches("unchanged, because it has a record").count() == 3,
        "{again}"
    );

    // The same record for another build, whose output is elsewhere.
    let state = ours
        .out()
        .with_file_name("out.state")
        .to_string_lossy()
        .into_owned();
    let other = ours.out().with_file_name("other");
    process::check(
        "cp",
        &[
            "-a",
            &ours.out().to_string_lossy(),
            &other.to_string_lossy(),
        ],
    )?;
    let options = [&["--listen", SERVER, "--state", &state], TREE].concat();
    let server = Server::serve(&ours, &other, &options)?;
    ensure!(
        !installs(&script(&one)?),
        "another output reinstalls the machine"
    );
    ensure!(installs(&script(&two)?), "a new machine is not installed");
    drop(server);

    // Another host, which has the output alone.
    let server = Server::serve(&ours, &other, &[&["--listen", SERVER], TREE].concat())?;
    server.says("is not the record that the cluster's first build began")?;
    for machine in [&one, &two] {
        let left = script(machine)?;
        ensure!(
            !installs(&left) && left.contains("--install"),
            "a server without a record installs: {left}"
        );
        expect(
            &machine.namespace,
            &document_of(&machine.mac),
            403,
            "[no-record]",
        )?;
    }
    let out = other.to_string_lossy().into_owned();
    let allowed =
        |words: &[&str]| programs::run_builder(&[&["allow", "--out", &out], words].concat());
    allowed(&["etcd-1", "--document"])?.ok()?;
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    ensure!(
        !installs(&script(&one)?),
        "the word for a document is taken for one for an installation"
    );
    allowed(&["etcd-2", "--install"])?.ok()?;
    ensure!(installs(&script(&two)?), "the operator's word is not heard");
    ensure!(
        !installs(&script(&one)?),
        "the word for one machine is taken for another's"
    );
    let wrong = allowed(&["etcd-9", "--install"])?;
    ensure!(
        wrong.code() == 1 && wrong.stderr.contains("etcd-9 is not a node of"),
        "{wrong:?}"
    );
    ensure!(
        allowed(&["etcd-1"])?.code() == 2,
        "what is allowed has to be said"
    );
    ensure!(
        !fs::exists(other.with_file_name("other.state").join("demo/first-build"))?,
        "an allowance is not a first build"
    );
    Ok(())
}

/// A first build of its own: on another host, which has the recipe and not the PKI, or with another
/// `--out`.
fn another_build() -> Result<()> {
    let ours = built()?;
    let other = ours.out().with_file_name("other");
    // The operator's umask is strict; image/ is public all the same.
    let mut build = ours.network.world().command("sh");
    build
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(programs::builder()?)
        .arg("build")
        .arg(recipe_with(by_card)?);
    build
        .arg("--cache")
        .arg(ours.out().with_file_name("cache"))
        .arg("--out")
        .arg(&other);
    process::run(&mut build)?.ok()?;
    for (path, mode) in [
        (".", 0o755),
        ("image", 0o755),
        ("image/centos7.ks", 0o644),
        ("nodes", 0o700),
        ("nodes/etcd-1/node.json", 0o600),
    ] {
        let found = fs::metadata(other.join(path))?.permissions().mode() & 0o777;
        ensure!(found == mode, "{path} has the mode {found:o}");
    }
    let one = ours.network.add("etcd-1")?;
    let server = Server::serve(&ours, &other, &[&["--listen", SERVER], TREE].concat())?;
    server.says(
        "not installed before `builder allow --all --install`, which wipes their disks: etcd-1, etcd-2, etcd-3",
    )?;
    let left = script(&one)?;
    ensure!(
        !installs(&left) && left.contains("builder allow etcd-1 --install"),
        "a build wipes what runs: {left}"
    );
    server.says("[no-record]")?;
    // Its documents are as new as its keys.
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
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
    ensure!(installs(&script(&one)?), "a forged report is believed");
    let secrets: Vec<&str> = sent
        .split("token=")
        .filter_map(|rest| rest.get(..32))
        .skip(1)
        .collect();
    ensure!(
        secrets.len() == 1 && !server.said()?.contains(secrets[0]),
        "the token is in the log"
    );
    let (_, board) = ask(&two.namespace, "")?;
    ensure!(!board.contains(secrets[0]), "the token is on the board");
    Ok(())
}
