//! Documents go to their machines.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::installer::{Installer, Machine, fetch};
use tests::need::Need;
use tests::process;

use crate::bed::{PATIENCE, SERVER, Server, ask, built};

const NEEDS: &[Need] = &[Need::Root, Need::Nspawn, Need::Debootstrap, Need::Network, Need::Pip, Need::Curl];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("machines_become_their_nodes_by_the_builder_alone", NEEDS, cluster),
        trial("no_machine_gets_the_document_of_another", NEEDS, others),
        trial("documents_go_by_https_where_there_is_a_certificate", NEEDS, https),
    ]
}

/// From the network boot of three machines to a cluster; then one of them is lost, and comes back once the operator says so.
fn cluster() -> Result<()> {
    let ours = built()?;
    let tree = format!("http://{SERVER}/none/");
    let server = Server::start(&ours, &["--open", "0", "--tree", &tree])?;
    let mut hosts =
        ["etcd-1", "etcd-2", "etcd-3"].map(|name| ours.machine(name)).into_iter().collect::<Result<Vec<_>>>()?;
    let install = |host: &Host| -> Result<()> {
        let boot = format!("boot.ipxe?mac={}", host.link().mac);
        let (_, script) = ask(&host.link().namespace, &boot)?;
        let kernel = script.lines().find(|line| line.starts_with("kernel ")).unwrap_or_default();
        ensure!(kernel.contains(&format!("inst.ks=http://{SERVER}/image/centos7.ks")), "{script}");
        let words = kernel.trim_start_matches("kernel ").trim_end_matches(" || exit");
        let machine = Machine { mac: Some(host.link().mac.clone()), serial: None };
        let kickstart = fetch(words, &machine, &host.link().namespace)?;
        let installer = Installer::new(&kickstart, &host.root()).cmdline(words);
        installer.namespace(&host.link().namespace).run()?.installed()?;
        let (_, script) = ask(&host.link().namespace, &boot)?;
        ensure!(
            script.contains("was installed at") && !script.contains("kernel"),
            "it would be installed again: {script}"
        );
        Ok(())
    };
    for host in &mut hosts {
        install(host)?;
        host.keep()?;
    }
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, PATIENCE)?;
    }
    let (_, board) = ask(ours.network.world(), "")?;
    ensure!(board.lines().skip(1).all(|line| line.matches('T').count() == 2), "not all was given:\n{board}");

    let lost = &mut hosts[2];
    lost.pull_the_plug()?;
    lost.revert()?;
    lost.boot()?;
    let refused =
        "journalctl -u firstboot | grep -q 'the document of etcd-3 was handed out at .* Remove .*out.served/etcd-3'";
    lost.wait_for(refused, PATIENCE)?;
    lost.wait_for("systemctl is-failed --quiet firstboot.service", PATIENCE)?;
    let folder = ours.out().with_file_name("out.served").join("etcd-3");
    fs::remove_dir_all(&folder)?;
    lost.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_healthy(lost, 3, PATIENCE)?;
    let said = server.said()?;
    ensure!(said.matches("etcd-3: its document is handed out").count() == 2, "{said}");
    ensure!(!said.contains("PRIVATE KEY"), "a key is in the log");
    Ok(())
}

fn others() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let [one, two] = ["etcd-1", "etcd-2"].map(|name| ours.network.add(name));
    let (one, two) = (one?, two?);
    let says = |mac: &str| format!("node.json?mac={}", mac.replace(':', "%3A"));

    let (status, text) = ask(&one.namespace, &says(&two.mac))?;
    ensure!(status == 403 && text.contains(&one.mac) && text.contains(&two.mac), "{status}: {text}");
    let (status, text) = ask(&one.namespace, &says("52:54:00:00:00:09"))?;
    ensure!(
        status == 404 && text.contains("no node of this cluster is a machine with mac 52:54:00:00:00:09"),
        "{text}"
    );
    let (status, _) = ask(&one.namespace, "node.json")?;
    ensure!(status == 404, "who says nothing of itself gets {status}");
    for page in
        ["nodes/etcd-1/node.json", "image/../nodes/etcd-1/node.json", "image/%2e%2e/nodes/etcd-1/node.json", "image/"]
    {
        let (status, text) = ask(&one.namespace, page)?;
        ensure!(matches!(status, 400 | 404) && !text.contains("payload"), "{page} is answered {status}");
    }

    let (status, text) = ask(&one.namespace, &says(&one.mac))?;
    ensure!(status == 200 && text == fs::read_to_string(ours.out().join("nodes/etcd-1/node.json"))?, "{status}");
    let (status, _) = ask(&one.namespace, &says(&one.mac))?;
    ensure!(status == 200, "it was lost, perhaps, and is {status} when it is asked again");
    let (status, kickstart) = ask(&one.namespace, "image/centos7.ks")?;
    ensure!(status == 200 && kickstart == ours.kickstart()?, "{status}");
    let said = server.said()?;
    ensure!(said.contains("refused: it says that it is etcd-2") && said.contains("[wrong-card]"), "{said}");
    Ok(())
}

fn https() -> Result<()> {
    let ours = built()?;
    let own = ours.pki().join("nodes/etcd-1");
    let [cert, key] = ["server.crt", "server.key"].map(|name| own.join(name).to_string_lossy().into_owned());
    let server = Server::start(&ours, &["--json", "--tls-cert", &cert, "--tls-key", &key])?;
    let one = ours.network.add("etcd-1")?;
    let mut curl = one.namespace.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"])
        .arg("--cacert")
        .arg(ours.pki().join("ca.crt"));
    curl.args(["--connect-to", &format!("etcd-1:443:{SERVER}"), &format!("https://etcd-1/node.json?mac={}", one.mac)]);
    let document = process::run(&mut curl)?.ok()?;
    ensure!(document == fs::read_to_string(ours.out().join("nodes/etcd-1/node.json"))?, "{document}");
    let (said, plain) = (server.said()?, ask(&one.namespace, "node.json"));
    ensure!(plain.is_err(), "plain http is answered: {plain:?}");
    let line: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    ensure!(line["node"] == "etcd-1" && line["from"] == "10.101.15.101" && line["time"].is_string(), "{line}");
    Ok(())
}
