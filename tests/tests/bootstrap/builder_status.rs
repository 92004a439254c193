//! Tests `builder status` on the operator's own machine, with the operator's own client
//! certificate.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{process, programs};

use crate::bed::Bed;

/// Runs the builder in the network of the machines, as on the operator's machine.
fn builder(bed: &Bed, arguments: &[&str]) -> Result<process::Output> {
    let program = programs::builder()?;
    let mut command = bed.hosts[0]
        .network()
        .world()
        .command(&program.to_string_lossy());
    process::run(command.args(arguments))
}

fn status(bed: &Bed, more: &[&str]) -> Result<process::Output> {
    let out = bed.provisioning.out();
    let pki = bed.provisioning.pki();
    let [out, pki] = [&out, &pki].map(|path| path.to_string_lossy().into_owned());
    let mut arguments = vec!["status", &out, "--pki", &pki];
    arguments.extend(more);
    builder(bed, &arguments)
}

/// Returns the report as JSON, and the exit code.
fn report(bed: &Bed) -> Result<(Value, i32)> {
    let shown = status(bed, &["--json"])?;
    let report = serde_json::from_str(&shown.stdout).with_context(|| format!("{shown:?}"))?;
    Ok((report, shown.code()))
}

fn members(report: &Value) -> &[Value] {
    report["members"].as_array().map_or(&[], Vec::as_slice)
}

/// Stops two voters of a healthy cluster of three, one after the other. Each state has its own exit
/// code, and the report shows each stopped member with the reason.
pub(crate) fn shows_a_cluster_that_loses_its_members(bed: &mut Bed) -> Result<()> {
    needs_a_certificate(bed)?;
    shows_all_members(bed)?;
    shows_an_altered_file(bed)?;

    bed.hosts[2].cut_power()?;
    let (two, code) = report(bed)?;
    ensure!(code == 5 && two["verdict"] == "degraded", "{code} {two:#}");
    let down = &members(&two)[2];
    ensure!(
        down["name"] == "etcd-3" && down["healthy"] == false,
        "{down:#}"
    );
    ensure!(
        down["errors"][0]["text"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{down:#}"
    );
    ensure!(two["lists"][2]["members"].is_null(), "{two:#}");
    let table = status(bed, &[])?;
    ensure!(
        table.code() == 5 && table.stdout.contains("2 of 3 members answered"),
        "{table:?}"
    );

    bed.hosts[1].cut_power()?;
    let (one, code) = report(bed)?;
    ensure!(code == 6 && one["verdict"] == "no-quorum", "{code} {one:#}");
    ensure!(members(&one)[0]["version"] != "", "{one:#}");
    Ok(())
}

fn needs_a_certificate(bed: &Bed) -> Result<()> {
    let without = status(bed, &[])?;
    ensure!(
        without.code() == 1 && without.stderr.contains("builder pki client NAME"),
        "{without:?}"
    );
    let pki = bed.provisioning.pki().to_string_lossy().into_owned();
    let issued = builder(bed, &["pki", "client", "alice", "--pki", &pki, "--json"])?;
    let issued: Value = serde_json::from_str(&issued.stdout)?;
    ensure!(issued["subject"] == "O=demo, CN=alice", "{issued}");
    Ok(())
}

/// Alters a file of the second node. The node's own check finds the change, and the report names
/// the file until it is restored.
fn shows_an_altered_file(bed: &Bed) -> Result<()> {
    const FILE: &str = "/etc/chrony.conf";
    let host = &bed.hosts[1];
    let check = || host.run(&["systemctl", "start", "firstboot-image.service"]);
    let differing = |report: &Value| members(report)[1]["image-check"]["differing"].as_u64();
    host.check(&["systemctl", "is-active", "firstboot-image.timer"])?;
    check()?.ok()?;
    let (good, code) = report(bed)?;
    ensure!(code == 0 && differing(&good) == Some(0), "{code} {good:#}");

    let text = host.read(FILE)?;
    host.write(FILE, format!("{text}# altered\n"), 0o644)?;
    let refused = check()?;
    ensure!(refused.code() != 0, "{refused:?}");
    let (altered, code) = report(bed)?;
    let row = &members(&altered)[1];
    let fault = &row["errors"][0];
    ensure!(
        code == 5
            && altered["verdict"] == "degraded"
            && row["healthy"] == true
            && fault["id"] == "image-altered"
            && row["image-check"]["files"][0] == FILE,
        "{code} {altered:#}"
    );
    let table = status(bed, &[])?;
    let words = format!("image check failed: {FILE}");
    ensure!(table.stdout.contains(&words), "{table:?}");
    let line = first_watched(bed)?;
    ensure!(
        line.contains(" DEGRADED ") && line.contains(&format!(" ({words}")),
        "{line}"
    );
    let on_node = bed.hosts[0].run(&["firstboot", "status"])?;
    ensure!(
        on_node.code() == 5 && on_node.stdout.contains(&words),
        "{on_node:?}"
    );

    host.write(FILE, &text, 0o644)?;
    check()?.ok()?;
    let (good, code) = report(bed)?;
    ensure!(code == 0 && differing(&good) == Some(0), "{code} {good:#}");
    Ok(())
}

/// Returns the first line of `builder status --watch`. `head` exits after this line, and `builder`
/// then ends too.
fn first_watched(bed: &Bed) -> Result<String> {
    let [out, pki] = [bed.provisioning.out(), bed.provisioning.pki()];
    let mut shell = bed.hosts[0].network().world().command("sh");
    shell.args(["-c", "\"$@\" --watch --interval 1 | head -n 1", "sh"]);
    shell.arg(programs::builder()?).arg("status");
    process::run(shell.arg(out).arg("--pki").arg(pki))?.ok()
}

fn shows_all_members(bed: &Bed) -> Result<()> {
    let (all, code) = report(bed)?;
    ensure!(
        code == 0 && all["verdict"] == "healthy" && all["cluster"] == "demo",
        "{code} {all:#}"
    );
    ensure!(
        all["lists-agree"] == true && all["update"]["built"].is_u64(),
        "{all:#}"
    );
    ensure!(members(&all).len() == 3, "{all:#}");
    let leaders = members(&all).iter().filter(|row| row["leader"] == true);
    ensure!(leaders.count() == 1, "{all:#}");
    for row in members(&all) {
        let days = |key: &str| row[key].as_i64();
        ensure!(days("certificate-days-left") > Some(300), "{row:#}");
        // If the machines have a firewall, it opens the peer port to members only. The report then
        // contains no value for the peer certificate.
        let peer = days("peer-certificate-days-left");
        ensure!(peer.is_none_or(|days| days > 300), "{row:#}");
        ensure!(
            row["raft-index"].as_u64() > Some(0) && row["db-size"].as_u64() > Some(0),
            "{row:#}"
        );
    }
    let table = status(bed, &["--compare"])?;
    ensure!(
        table.code() == 0
            && table.stdout.starts_with("cluster demo: healthy, ")
            && table
                .stdout
                .contains("3 of 3 members answered, and their lists agree"),
        "{table:?}"
    );
    Ok(())
}
