//! Tests that a machine that is switched on becomes a member. The machine is installed, reports the
//! installation, and gets its document.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::installer::{Hardware, Installation, Installer, Machine, Outcome, fetch};
use tests::process;
use tests::requirement::NEEDS_SERVER_AND_HOSTS;

use crate::bed::{
    SERVER, START_TIMEOUT, Server, allow, built, curl, document_of, expect, get, installs,
    report_url, script_of,
};
use crate::board;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "machines_are_installed_and_configured_by_the_builder_alone",
            NEEDS_SERVER_AND_HOSTS,
            cluster,
        ),
        trial(
            "an_installation_that_fails_reports_the_reason_and_is_retried",
            NEEDS_SERVER_AND_HOSTS,
            failed,
        ),
        trial(
            "no_machine_gets_the_document_of_another",
            NEEDS_SERVER_AND_HOSTS,
            others,
        ),
        trial(
            "files_arrive_whole_by_http_and_https",
            NEEDS_SERVER_AND_HOSTS,
            whole,
        ),
        trial(
            "documents_are_served_by_https_with_a_certificate",
            NEEDS_SERVER_AND_HOSTS,
            https,
        ),
    ]
}

/// Returns the kernel arguments in the script that iPXE receives on a machine.
pub(crate) fn words(host: &Host) -> Result<String> {
    let script = expect(
        &host.link().namespace,
        &script_of(host.link()),
        200,
        "kernel ",
    )?;
    Ok(words_of(&script))
}

/// Returns the kernel arguments in an iPXE script.
pub(crate) fn words_of(script: &str) -> String {
    let kernel = script
        .lines()
        .find(|line| line.starts_with("kernel "))
        .unwrap_or_default();
    kernel
        .trim_start_matches("kernel ")
        .trim_end_matches(" || exit 1")
        .to_owned()
}

/// Installs a machine with the kernel arguments, as anaconda would.
pub(crate) fn install(host: &Host, words: &str) -> Result<Installation> {
    let kickstart = kickstart(host, words)?;
    Installer::new(&kickstart, &host.root())
        .cmdline(words)
        .namespace(&host.link().namespace)
        .run()
}

/// Returns the kickstart that a machine fetches according to the kernel arguments.
pub(crate) fn kickstart(host: &Host, words: &str) -> Result<String> {
    let machine = Machine {
        mac: Some(host.link().mac.clone()),
        serial: None,
    };
    fetch(words, &machine, &host.link().namespace)
}

fn line_of(ours: &Provisioning, node: &str) -> Result<String> {
    let (_, board) = get(ours.network.world(), "")?;
    Ok(board
        .lines()
        .find(|line| line.starts_with(node))
        .unwrap_or_default()
        .to_owned())
}

/// Boots three machines from the network, and checks that the machines become a cluster. With
/// `--open 0`, the server hands out each document only once, unless the operator allows it again.
fn cluster() -> Result<()> {
    let ours = built()?;
    let tree = format!("http://{SERVER}/none/");
    let server = Server::start(&ours, &["--open", "0", "--tree", &tree])?;
    let mut hosts = ["etcd-1", "etcd-2", "etcd-3"]
        .map(|name| ours.machine(name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for host in &mut hosts {
        let words = words(host)?;
        install(host, &words)?.installed()?;
        let line = line_of(&ours, host.name())?;
        ensure!(line.contains(" installed "), "{line}");
        let left = expect(
            &host.link().namespace,
            &script_of(host.link()),
            200,
            "was installed at",
        )?;
        ensure!(
            !installs(&left),
            "the machine would be installed again: {left}"
        );
        let url = host.read("/etc/firstboot/report")?;
        ensure!(url.trim() == report_url(&words)?, "{url}");
        process::check(
            "test",
            &["600", "=", &mode(&host.path("/etc/firstboot/report"))?],
        )?;
        host.snapshot()?;
    }
    let said = server.output()?;
    for stage in ["started", "installing", "installed"] {
        ensure!(
            said.matches(&format!(": reports {stage}")).count() == 3,
            "{stage}:\n{said}"
        );
    }
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, START_TIMEOUT)?;
        server.wait_for_output(&format!("{}: reports healthy", host.name()))?;
    }
    report_again(&server, &hosts[0])?;

    replace_lost(&ours, &server, &mut hosts[2])?;
    let said = server.output()?;
    ensure!(
        said.matches("etcd-3: receives its document").count() == 2,
        "{said}"
    );
    ensure!(!said.contains("PRIVATE KEY"), "a key is in the log");
    Ok(())
}

/// Checks that a restart of firstboot repeats the report, which may have been lost.
fn report_again(server: &Server, host: &Host) -> Result<()> {
    host.check(&["systemctl", "restart", "firstboot.service"])?;
    let end = Instant::now() + START_TIMEOUT;
    let report = format!("{}: reports healthy", host.name());
    while server.output()?.matches(&report).count() < 2 {
        ensure!(Instant::now() < end, "{}", server.output()?);
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Checks that the server hands the document out again to a machine that has lost its data, but
/// only after the operator has allowed this.
fn replace_lost(ours: &Provisioning, server: &Server, lost: &mut Host) -> Result<()> {
    lost.cut_power()?;
    lost.revert()?;
    lost.boot()?;
    let refused = "journalctl -u firstboot | grep -q 'was allowed until .* `builder allow etcd-3 --document` .*document-closed'";
    lost.wait_for(refused, START_TIMEOUT)?;
    lost.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        START_TIMEOUT,
    )?;
    server.wait_for_output("etcd-3: reports refused: ")?;
    let line = line_of(ours, "etcd-3")?;
    ensure!(
        line.contains(" refused ") && line.contains("document-closed"),
        "{line}"
    );
    allow(ours, &["etcd-3", "--document"])?;
    lost.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_healthy(lost, 3, START_TIMEOUT)?;
    let left = expect(
        &lost.link().namespace,
        &script_of(lost.link()),
        200,
        "was installed at",
    )?;
    ensure!(
        !installs(&left),
        "`builder allow --document` reinstalls the machine: {left}"
    );
    Ok(())
}

fn mode(path: &std::path::Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(format!(
        "{:o}",
        fs::metadata(path)?.permissions().mode() & 0o777
    ))
}

fn failed() -> Result<()> {
    let ours = built()?;
    let tree = format!("http://{SERVER}/none/");
    let server = Server::start(&ours, &["--tree", &tree])?;
    let host = ours.machine("etcd-1")?;
    // The server has the overlay of a different build, as a stale mirror would.
    let overlay = ours.out().join("image/overlay.tar.gz");
    let kept = fs::read(&overlay)?;
    fs::write(&overlay, "another")?;
    let ended = install(&host, &words(&host)?)?;
    ensure!(
        matches!(ended.outcome, Outcome::PoweredOff(_)),
        "{:?}",
        ended.outcome
    );
    server.wait_for_output("etcd-1: reports failed: %post (fetch the overlay) failed: no server has the overlay with sha256")?;
    let line = line_of(&ours, "etcd-1")?;
    ensure!(
        line.contains(" failed ") && line.contains("no server has the overlay"),
        "{line}"
    );
    fs::write(&overlay, kept)?;
    for (what, with, hardware, why) in [
        (
            "no disk",
            "@core --nodefaults",
            Hardware::with([]),
            "%pre failed: no disk for the node",
        ),
        // The installation fails inside anaconda, where no script of the kickstart runs.
        (
            "no package",
            "@core --nodefaults\nno-such-package",
            Hardware::default(),
            "anaconda ended before the installation",
        ),
    ] {
        let words = words(&host)?;
        let kickstart = kickstart(&host, &words)?.replace("@core --nodefaults", with);
        let installer = Installer::new(&kickstart, &host.root())
            .cmdline(&words)
            .hardware(hardware);
        let ended = installer.namespace(&host.link().namespace).run()?;
        ensure!(
            matches!(ended.outcome, Outcome::PoweredOff(_)),
            "{what}: {:?}",
            ended.outcome
        );
        server.wait_for_output(&format!("etcd-1: reports failed: {why}"))?;
        ensure!(
            line_of(&ours, "etcd-1")?.contains(why),
            "{what}: {}",
            line_of(&ours, "etcd-1")?
        );
    }
    install(&host, &words(&host)?)?.installed()?;
    ensure!(
        line_of(&ours, "etcd-1")?.contains(" installed "),
        "{}",
        line_of(&ours, "etcd-1")?
    );
    Ok(())
}

fn others() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let [one, two] = ["etcd-1", "etcd-2"].map(|name| ours.network.add(name));
    let (one, two) = (one?, two?);

    let (status, text) = get(&one.namespace, &document_of(&two.mac))?;
    ensure!(
        status == 403 && text.contains(&one.mac) && text.contains(&two.mac),
        "{status}: {text}"
    );
    expect(
        &one.namespace,
        &document_of("52:54:00:00:00:09"),
        404,
        "mac 52:54:00:00:00:09 [unknown-machine]",
    )?;
    expect(&one.namespace, "node.json", 404, "[unknown-machine]")?;

    let text = expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    ensure!(
        text == fs::read_to_string(ours.out().join("nodes/etcd-1/node.json"))?,
        "{text}"
    );
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    server.wait_for_output("[wrong-card]")?;
    server.wait_for_output("etcd-1: receives its document")?;
    Ok(())
}

fn whole() -> Result<()> {
    let ours = built()?;
    let one = ours.network.add("etcd-1")?;
    let image = ours.out().join("image");
    let sums = fs::read_to_string(image.join("SHA256SUMS"))?;
    let wanted = sums
        .lines()
        .find(|line| line.ends_with("  overlay.tar.gz"))
        .unwrap_or_default();
    let own = ours.pki().join("nodes/etcd-1");
    let [cert, key] =
        ["server.crt", "server.key"].map(|name| own.join(name).to_string_lossy().into_owned());
    for (scheme, options) in [
        ("http", &[][..]),
        ("https", &["--tls-cert", &cert, "--tls-key", &key]),
    ] {
        let _server = Server::start(&ours, options)?;
        // The script downloads a whole file, a resumed file, a middle part, the last bytes, several
        // files on one connection, and many files at the same time.
        let script = "set -eu; cd \"$(mktemp -d)\"; get() { curl -skS --fail --max-time 60 \"$@\"; }\n\
             get -o whole \"$1/overlay.tar.gz\"\n\
             head -c 1000000 whole > resumed; get -C - -o resumed \"$1/overlay.tar.gz\"; cmp whole resumed\n\
             get -r 5-1048580 \"$1/overlay.tar.gz\" | cmp - <(tail -c +6 whole | head -c 1048576)\n\
             get -r -7 \"$1/overlay.tar.gz\" | cmp - <(tail -c 7 whole)\n\
             get -o a \"$1/centos7.ks\" -o b \"$1/overlay.tar.gz\" -o c \"$1/SHA256SUMS\"; cmp b whole; cmp c \"$2/SHA256SUMS\"\n\
             for n in 1 2 3 4 5 6 7 8; do get -o \"many-$n\" \"$1/overlay.tar.gz\" & done; wait\n\
             for n in 1 2 3 4 5 6 7 8; do cmp \"many-$n\" whole; done\n\
             sha256sum whole; rm -rf \"$PWD\"";
        let mut bash = one.namespace.command("bash");
        bash.args(["-c", script, "bash", &format!("{scheme}://{SERVER}/image")])
            .arg(&image);
        let said = process::run(&mut bash)?.ok()?;
        ensure!(
            said.split(' ').next() == wanted.split(' ').next(),
            "{scheme}: {said} is not {wanted}"
        );
    }
    Ok(())
}

fn https() -> Result<()> {
    let ours = built()?;
    let own = ours.pki().join("nodes/etcd-1");
    let [cert, key] =
        ["server.crt", "server.key"].map(|name| own.join(name).to_string_lossy().into_owned());
    let ca = ours.pki().join("ca.crt").to_string_lossy().into_owned();
    let tls = ["--tls-cert", &cert, "--tls-key", &key, "--board-ca", &ca];
    let server = Server::start(&ours, &[&["--json"][..], &tls].concat())?;
    let one = ours.network.add("etcd-1")?;
    let to = format!("etcd-1:443:{SERVER}");
    let url = format!("https://etcd-1/{}", document_of(&one.mac));
    let (status, document) = curl(
        &one.namespace,
        &["--cacert", &ca, "--connect-to", &to],
        &url,
    )?;
    ensure!(
        status == 200 && document == fs::read_to_string(ours.out().join("nodes/etcd-1/node.json"))?,
        "{document}"
    );
    board::opens_to_certificates(&ours, &one, &ca)?;
    let plain = get(&one.namespace, "node.json");
    ensure!(plain.is_err(), "plain HTTP is answered: {plain:?}");
    let names_node = "\"node\":\"etcd-1\"";
    server.wait_for_output(names_node)?;
    let said = server.output()?;
    // Search for the line, because the log may also contain a line about the plain HTTP request.
    let line = said
        .lines()
        .find(|line| line.contains(names_node))
        .unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(line)?;
    ensure!(
        line["card"] == one.mac.as_str()
            && line["from"] == "10.101.15.101"
            && line["time"].is_string(),
        "{line}"
    );
    Ok(())
}
