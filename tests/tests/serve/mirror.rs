//! Tests that a machine can be installed from a mirror alone: the server sends the machine the
//! installer, the image and the packages.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tests::cluster::Provisioning;
use tests::etcd;
use tests::harness::trial;
use tests::installer::IMAGES;
use tests::process;
use tests::programs;
use tests::requirement::NEEDS_SERVER_AND_HOSTS;
use tests::run;

use crate::bed::{SERVER, Server, allow, by_card, expect, recipe_with};
use crate::installation::{install, words};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_machine_is_installed_from_a_mirror_alone",
        NEEDS_SERVER_AND_HOSTS,
        from_mirror,
    )]
}

fn from_mirror() -> Result<()> {
    etcd::release(etcd::DEMO)?;
    let ours = Provisioning::new()?;
    let recipe = recipe_with(by_card)?;
    let mirror = run::current()?.folder("copy")?;
    let mut command = ours
        .network
        .world()
        .command(&programs::builder()?.to_string_lossy());
    command.arg("mirror").arg(&recipe).arg("--json");
    command.arg("--out").arg(&mirror);
    command.arg("--cache").arg(mirror.join("cache"));
    let result: Value = serde_json::from_str(&process::run(&mut command)?.ok()?)?;
    let lines = result["recipe"]
        .as_str()
        .context("no recipe in the result")?;
    let (_, lines) = lines.split_once("[install]\n").context("no [install]")?;
    let (install_keys, repos) = lines.split_once("\n\n").context("no repository")?;
    let text: String = fs::read_to_string(&recipe)?
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("trees", _)) => format!("{install_keys}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&recipe, format!("{text}\n{repos}"))?;
    ours.build(&recipe)?;
    allow(&ours, &["--all", "--install"])?;

    let asked = ours.server.requests().len();
    let _server = Server::start(&ours, &["--mirror", &mirror.to_string_lossy()])?;
    let mut host = ours.machine("etcd-1")?;
    let words = words(&host)?;
    let tree = format!("http://{SERVER}/mirror/tree");
    ensure!(
        words.starts_with(&format!("{tree}/{} ", IMAGES[0]))
            && words.contains(&format!("inst.stage2={tree} ")),
        "{words}"
    );
    for path in IMAGES.iter().chain(&[".treeinfo"]) {
        let page = format!("mirror/tree/{path}");
        let start = path
            .get(..6)
            .unwrap_or_default()
            .replace(".treei", "[gener");
        expect(&host.link().namespace, &page, 200, &start)?;
    }
    let installation = install(&host, &words)?;
    let log = installation.log();
    installation.installed()?;
    ensure!(log.contains(&format!("installing from {tree} to")), "{log}");
    host.snapshot()?;
    let repositories = host.read("/etc/yum.repos.d/etcd-image.repo")?;
    ensure!(
        repositories.contains(&format!("baseurl=http://{SERVER}/mirror/repos/updates/")),
        "{repositories}"
    );
    ensure!(
        ours.server.requests().len() == asked,
        "the machine sent a request to another server"
    );
    Ok(())
}
