//! Tests the scripts for grub and pxelinux, with the requests that these boot loaders send: the
//! first script, the identification of a machine, and the single installation of each machine.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::network::{Link, Namespace};
use tests::requirement::NEEDS_SERVER;

use crate::bed::{SERVER, Server, allow, built, built_with, curl, expect, get, raw, report};

const TREE: &[&str] = &["--tree", "http://10.101.15.1:8081/none/"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("grub_installs_a_machine_once", NEEDS_SERVER, grub),
        trial("pxelinux_installs_a_machine_once", NEEDS_SERVER, pxelinux),
        trial(
            "pxelinux_finds_a_machine_by_its_uuid_first",
            NEEDS_SERVER,
            uuid,
        ),
    ]
}

/// Returns the path and query that grub requests on a machine with this MAC address.
fn grub_page(mac: &str) -> String {
    format!("boot.grub?mac={mac}&serial=&uuid=")
}

/// Returns the path that pxelinux requests on a machine with this MAC address.
fn pxelinux_page(mac: &str) -> String {
    format!("loaders/pxelinux.cfg/01-{}", mac.replace(':', "-"))
}

/// Checks that a machine is installed, and that it boots from its disk after it has reported the
/// installation. A machine with another MAC address is not installed.
fn installs_once(
    page: fn(&str) -> String,
    [install, disk]: [&str; 2],
    [one, two]: [&Link; 2],
) -> Result<()> {
    let other = expect(&two.namespace, &page(&one.mac), 200, disk)?;
    ensure!(
        !other.contains(install) && other.contains("whose MAC address is 52:54:0a:65:0f:65"),
        "{other}"
    );
    let unknown = expect(&one.namespace, &page("52:54:00:00:00:09"), 200, disk)?;
    ensure!(!unknown.contains(install), "{unknown}");
    let sent = expect(&one.namespace, &page(&one.mac), 200, install)?;
    ensure!(sent.contains("(attempt 1 of 4)"), "{sent}");
    let ks = format!("inst.ks=http://{SERVER}/image/centos7.ks?node=etcd-1");
    ensure!(sent.contains(&ks), "{sent}");
    let sent = sent.replace('\'', "");
    for stage in ["started", "installed"] {
        let (status, text) = report(&one.namespace, &sent, stage, "")?;
        ensure!(status == 200, "{stage}: {text}");
    }
    let left = expect(&one.namespace, &page(&one.mac), 200, disk)?;
    ensure!(
        !left.contains(install) && left.contains("etcd-1 was installed at"),
        "{left}"
    );
    Ok(())
}

fn attempts(world: &Namespace) -> Result<String> {
    let (_, board) = get(world, "")?;
    let line = board.lines().find(|line| line.starts_with("etcd-1"));
    Ok(line.unwrap_or_default().to_owned())
}

fn grub() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, TREE)?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    let asks = format!("configfile \"(http,{SERVER})/boot.grub?mac=$net_default_mac&");
    for page in ["loaders/grub.cfg", "loaders/any/grub.cfg", "grub/grub.cfg"] {
        expect(&one.namespace, page, 200, &asks)?;
    }
    // Debian's grub omits the port in the header Host.
    let bare = SERVER.split(':').next().unwrap_or_default();
    let first = format!("GET /grub/grub.cfg HTTP/1.1\r\nHost: {bare}\r\n\r\n");
    let said = raw(&one.namespace, &first)?;
    ensure!(said.contains(&asks), "{said}");
    // Red Hat's grub first requests the script's length. This request must not count as an attempt.
    let url = format!("http://{SERVER}/{}", grub_page(&one.mac));
    let (status, head) = curl(&one.namespace, &["--head"], &url)?;
    ensure!(
        status == 200 && head.contains("Content-Length: 4096\r\n"),
        "{head}"
    );
    let line = attempts(ours.network.world())?;
    ensure!(line.contains(" allowed "), "{line}");
    installs_once(grub_page, ["linux '", "chainloader"], [&one, &two])?;
    let (_, text) = get(&one.namespace, &grub_page(&one.mac))?;
    ensure!(text.len() == 4096, "the script has {} bytes", text.len());
    allow(&ours, &["etcd-1", "--install"])?;
    let again = format!(
        "GET /{} HTTP/1.1\r\nHost: {bare}\r\n\r\n",
        grub_page(&one.mac)
    );
    let said = raw(&one.namespace, &again)?;
    let ks = format!("inst.ks=http://{SERVER}/image/");
    ensure!(said.contains(&ks), "{said}");
    Ok(())
}

fn pxelinux() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, TREE)?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    for name in [
        "4c4c4544-0042-3010-8052-b4c04f563232",
        "0A650F65",
        "default",
    ] {
        let page = format!("loaders/pxelinux.cfg/{name}");
        expect(&one.namespace, &page, 404, "[not-found]")?;
    }
    installs_once(pxelinux_page, ["LINUX ", "LOCALBOOT -1"], [&one, &two])?;
    let request = format!(
        "GET /{} HTTP/1.0\r\nHost: {SERVER}\r\nUser-Agent: Syslinux/6.04\r\nConnection: close\r\n\r\n",
        pxelinux_page(&one.mac)
    );
    let said = raw(&one.namespace, &request)?;
    ensure!(
        said.starts_with("HTTP/1.0 200 ") && said.contains("LOCALBOOT -1\n"),
        "{said}"
    );
    Ok(())
}

fn uuid() -> Result<()> {
    let uuid = "4c4c4544-0042-3010-8052-b4c04f563232";
    let ours = built_with(|last| match last {
        101 => format!("uuid = \"{uuid}\"\n"),
        _ => format!("mac = \"52:54:0a:65:0f:{last:02x}\"\n"),
    })?;
    let _server = Server::start(&ours, TREE)?;
    let (one, two) = (ours.network.add("etcd-1")?, ours.network.add("etcd-2")?);
    let page = format!("loaders/pxelinux.cfg/{uuid}");
    let sent = expect(&one.namespace, &page, 200, "LINUX ")?;
    ensure!(sent.contains("?node=etcd-1&"), "{sent}");
    let other = expect(&two.namespace, &page, 200, "LOCALBOOT -1")?;
    ensure!(other.contains("whose address is 10.101.15.101"), "{other}");
    Ok(())
}
