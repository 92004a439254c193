//! Tests that the server identifies a client by the kernel's view of the network, not by the
//! client's claims. The tests use a second machine with a node's address, every state of an ARP
//! entry, several networks, and routers.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::harness::trial;
use tests::network::{Link, Namespace};
use tests::process;
use tests::requirement::NEEDS_SERVER;

use crate::bed::{SERVER, Server, built, connect, curl, document_of, expect, get, read_all};

const ADDRESS: &str = "10.101.15.101";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_machine_that_withholds_arp_replies_receives_no_document",
            NEEDS_SERVER,
            held_back,
        ),
        trial(
            "only_a_mac_address_that_answered_arp_identifies_a_machine",
            NEEDS_SERVER,
            states,
        ),
        trial(
            "a_network_card_in_another_network_does_not_identify_the_client",
            NEEDS_SERVER,
            networks,
        ),
        trial(
            "a_machine_behind_a_router_is_identified_only_by_its_address",
            NEEDS_SERVER,
            routers,
        ),
        trial(
            "ipv6_is_refused_with_a_reason_and_mapped_ipv4_is_ipv4",
            NEEDS_SERVER,
            ipv6,
        ),
        trial(
            "a_router_or_proxy_that_hides_the_machine_is_named",
            NEEDS_SERVER,
            hidden,
        ),
    ]
}

fn ip(words: &str) -> Result<()> {
    process::check("ip", &words.split(' ').collect::<Vec<_>>()).map(drop)
}

/// Makes a machine whose cable is unplugged, and a second machine with the same IP address but a
/// different MAC address.
fn evil(ours: &Provisioning) -> Result<(Link, Link)> {
    let one = ours.network.add("etcd-1")?;
    ours.network.unplug("etcd-1")?;
    Ok((one, ours.network.add_twin("evil", "etcd-1")?))
}

/// Opens a connection from a machine, and then stops the machine from answering ARP requests.
fn silent(ours: &Provisioning, machine: &Link) -> Result<TcpStream> {
    let stream = connect(&machine.namespace)?;
    let (name, world) = (machine.namespace.name(), ours.network.world().name());
    let shown = process::check("ip", &["-n", world, "-brief", "link", "show", "br0"])?;
    let bridge = shown
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    // Change the link before the ARP table, because the change of the link empties the table.
    ip(&format!("-n {name} link set eth0 arp off"))?;
    ip(&format!(
        "-n {name} neigh replace 10.101.15.1 lladdr {bridge} dev eth0 nud permanent"
    ))?;
    Ok(stream)
}

/// Sends a request on the connection, and lets the machine answer ARP requests again only after a
/// moment.
fn ask_silently(machine: &Link, mut stream: TcpStream, page: &str) -> Result<String> {
    stream.write_all(
        format!("GET /{page} HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    sleep(Duration::from_secs(2));
    ip(&format!(
        "-n {} link set eth0 arp on",
        machine.namespace.name()
    ))?;
    read_all(&mut stream, Duration::from_secs(15))
}

fn held_back() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &["--tree", "http://10.101.15.1:8081/none/"])?;
    let (one, evil) = evil(&ours)?;
    let world = ours.network.world().name();
    for (page, words) in [
        (document_of(&one.mac), "503 "),
        (format!("boot.ipxe?mac={}", one.mac), "sleep 2\nchain "),
        (
            format!("boot.ipxe?mac={}&again=5", one.mac),
            "no network card has answered for 10.101.15.101",
        ),
    ] {
        let stream = silent(&ours, &evil)?;
        ip(&format!("-n {world} neigh del {ADDRESS} dev br0"))?;
        let said = ask_silently(&evil, stream, &page)?;
        ensure!(said.contains(words), "{page} is answered:\n{said}");
        ensure!(
            !said.contains("payload") && !said.contains("kernel "),
            "{page} reveals the node's document:\n{said}"
        );
    }
    expect(&evil.namespace, &document_of(&one.mac), 403, "[wrong-card]")?;
    server.wait_for_output("[card-unknown]")?;
    // The log contains the MAC address of the machine that sent the request.
    server.wait_for_output(&format!(
        "{ADDRESS} ({}) refused: the machine claims to be etcd-1, whose MAC address is {}",
        evil.mac, one.mac
    ))?;
    Ok(())
}

fn states() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let one = ours.network.add("etcd-1")?;
    let world = ours.network.world().name();
    for (state, good) in [
        ("reachable", true),
        ("stale", true),
        ("delay", true),
        ("probe", true),
        ("permanent", true),
        ("noarp", false),
        ("failed", false),
        ("incomplete", false),
    ] {
        let stream = silent(&ours, &one)?;
        ip(&format!(
            "-n {world} neigh replace {ADDRESS} lladdr {} dev br0 nud {state}",
            one.mac
        ))?;
        let said = ask_silently(&one, stream, &document_of(&one.mac))?;
        ensure!(said.contains("payload") == good, "{state}: {said}");
        ensure!(
            said.contains(if good { "200 OK" } else { "[card-unknown]" }),
            "{state}: {said}"
        );
        ip(&format!("-n {world} neigh flush dev br0 nud all"))?;
    }
    server.wait_for_output(&format!(
        "{ADDRESS} ({}) etcd-1: receives its document",
        one.mac
    ))?;
    Ok(())
}

/// Connects a separate network, which contains one machine, to the server's host.
fn side(ours: &Provisioning, world_has: &str, machine_has: &str) -> Result<Namespace> {
    let machine = ours.network.add("side")?.namespace;
    let (world, name) = (ours.network.world().name(), machine.name());
    ip(&format!("-n {name} addr flush dev eth0"))?;
    ip(&format!("-n {world} link set side nomaster"))?;
    ip(&format!("-n {world} addr add {world_has} dev side"))?;
    ip(&format!("-n {name} addr add {machine_has} dev eth0"))?;
    Ok(machine)
}

fn networks() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, &[])?;
    let (one, evil) = evil(&ours)?;
    let world = ours.network.world().name();
    side(&ours, "10.101.16.1/24", "10.101.16.2/24")?;
    // Add an ARP entry with the node's IP address and MAC address on the link to the separate
    // network, which contains a different machine.
    ip(&format!(
        "-n {world} neigh replace {ADDRESS} lladdr {} dev side nud permanent",
        one.mac
    ))?;
    expect(&evil.namespace, &document_of(&one.mac), 403, "[wrong-card]")?;
    // The machine `stranger` is on the server's own link, but sends its request from an address in
    // a different network. The server also checks the MAC address of such a machine.
    ip(&format!("-n {world} route add 10.9.0.2/32 dev br0"))?;
    let stranger = &ours.network.add("stranger")?.namespace;
    ip(&format!(
        "-n {} addr add 10.9.0.2/32 dev eth0",
        stranger.name()
    ))?;
    let url = format!("http://{SERVER}/{}", document_of(&one.mac));
    let (status, text) = curl(stranger, &["--interface", "10.9.0.2"], &url)?;
    ensure!(
        status == 403 && text.contains("[wrong-card]"),
        "{status}: {text}"
    );
    Ok(())
}

fn routers() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, &[])?;
    let world = ours.network.world().name();
    // Unplug the node's own machine, because the far machine has the node's address.
    ours.network.add("etcd-1")?;
    ours.network.unplug("etcd-1")?;
    let router = ours.network.add("router")?;
    let name = router.namespace.name();
    let far = side(&ours, "10.101.16.1/24", "10.101.16.2/24")?;
    // Move the far machine behind the router.
    ip(&format!("-n {world} link set side netns {name}"))?;
    ip(&format!("-n {name} addr add 10.9.0.1/24 dev side"))?;
    ip(&format!("-n {name} link set side up"))?;
    ip(&format!("-n {} addr flush dev eth0", far.name()))?;
    ip(&format!("-n {} addr add {ADDRESS}/32 dev eth0", far.name()))?;
    ip(&format!("-n {} addr add 10.9.0.2/24 dev eth0", far.name()))?;
    ip(&format!("-n {} route add default via 10.9.0.1", far.name()))?;
    ip(&format!("-n {name} route add {ADDRESS}/32 dev side"))?;
    ip(&format!(
        "-n {world} route add 10.9.0.0/24 via {}",
        router.address
    ))?;
    let mut forward = router.namespace.command("sysctl");
    process::run(forward.args([
        "-q",
        "-w",
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.rp_filter=0",
    ]))?
    .ok()?;
    // The machine sends the request from 10.9.0.2, which is not the node's address. The server
    // refuses the request, although the machine claims the node's MAC address.
    let mac = "52:54:0a:65:0f:65";
    let url = format!("http://{SERVER}/{}", document_of(mac));
    let (status, text) = curl(&far, &["--interface", "10.9.0.2"], &url)?;
    ensure!(
        status == 403 && text.contains("[wrong-address]"),
        "{status}: {text}"
    );
    // For a machine behind a router, the server can check only the IP address.
    ip(&format!(
        "-n {world} route add {ADDRESS}/32 via {}",
        router.address
    ))?;
    let (status, text) = curl(&far, &["--interface", ADDRESS], &url)?;
    ensure!(status == 200, "{status}: {text}");
    // The router's own MAC and IP addresses differ from the node's.
    let (status, text) = get(&router.namespace, &document_of(mac))?;
    ensure!(
        status == 403 && text.contains("[wrong-card]"),
        "{status}: {text}"
    );
    Ok(())
}

fn ipv6() -> Result<()> {
    let ours = built()?;
    let (world, one) = (ours.network.world().name(), ours.network.add("etcd-1")?);
    ip(&format!("-n {world} addr add fd00::1/64 dev br0 nodad"))?;
    ip(&format!(
        "-n {} addr add fd00::65/64 dev eth0 nodad",
        one.namespace.name()
    ))?;
    let server = Server::serve(&ours, &ours.out(), &["--listen", "[::]:8081"])?;
    let by6 = |page: &str| {
        curl(
            &one.namespace,
            &[],
            &format!("http://[fd00::1]:8081/{page}"),
        )
    };
    let (status, text) = by6(&document_of(&one.mac))?;
    ensure!(status == 403 && text.contains("[ipv6]"), "{status}: {text}");
    let (status, text) = by6(&format!("boot.ipxe?mac={}", one.mac))?;
    ensure!(
        status == 200 && text.contains("IPv4 address") && text.ends_with("exit 1\n"),
        "{status}: {text}"
    );
    let (status, text) = by6("boot.ipxe")?;
    ensure!(
        status == 200 && text.contains("chain http://[fd00::1]:8081/boot.ipxe?"),
        "{status}: {text}"
    );
    let (status, _) = by6("image/centos7.ks?node=etcd-1")?;
    ensure!(status == 200, "the image is public: {status}");
    server.wait_for_output("fd00::65 refused: nodes have IPv4 addresses")?;
    server.wait_for_output(
        "fd00::65 downloads the kickstart, but the server cannot record the download",
    )?;
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    server.wait_for_output(&format!(
        "{ADDRESS} ({}) etcd-1: receives its document",
        one.mac
    ))?;
    Ok(())
}

fn hidden() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let one = ours.network.add("etcd-1")?;
    server.wait_for_output(
        "etcd-1 10.101.15.101: in this host's network, identified by its MAC address 52:54:0a:65:0f:65",
    )?;
    let url = format!("http://{SERVER}/{}", document_of(&one.mac));
    for header in [
        "X-Forwarded-For: 10.101.15.101",
        "Forwarded: for=10.101.15.101",
        "Via: 1.1 squid",
        "X-Real-IP: 1",
    ] {
        let (status, text) = curl(&one.namespace, &["--header", header], &url)?;
        ensure!(
            status == 403 && text.contains("[proxied]"),
            "{header}: {status}: {text}"
        );
    }
    // A proxy or a mapped port on this host makes every client appear to be this host.
    expect(
        ours.network.world(),
        &document_of(&one.mac),
        403,
        "[this-host]",
    )?;
    server.wait_for_output("[this-host]")?;
    drop(server);
    for listen in ["localhost:8082", "127.0.0.1:8082"] {
        let server = Server::serve(&ours, &ours.out(), &["--listen", listen])?;
        server.wait_for_output(
            "warning: the server listens only on loopback addresses, so only this host can connect. \
             Even with a proxy, no machine receives a document",
        )?;
        let (status, _) = curl(
            ours.network.world(),
            &[],
            "http://127.0.0.1:8082/image/SHA256SUMS",
        )?;
        ensure!(status == 200, "{listen}: {status}");
    }
    Ok(())
}
