//! Tests which host may connect to which port, with a node that runs the real firewalld.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use tests::harness::trial;
use tests::network::Link;

use crate::bed::{Bed, REQUIREMENTS};

/// Two peers (one is the node itself), two clients (one is the network's bridge) and an admin. The
/// stranger is in the same network, but in none of these lists.
const RULES: &str = "\n[firewall]\npeers = [\"10.101.15.101/32\", \"10.101.15.102/32\"]\n\
                     clients = [\"10.101.15.103/32\", \"10.101.15.1/32\"]\nadmins = [\"10.101.15.104/32\"]\n";
/// The callers, in the order in which the network assigns addresses, and the ports that each can
/// reach.
const CALLERS: [(&str, &[u16]); 4] = [
    ("peer", &[2379, 2380]),
    ("client", &[2379]),
    ("admin", &[22]),
    ("stranger", &[]),
];
/// The number of ports that are probed at the same time, with one socket each.
const PORTS_AT_ONCE: u16 = 4096;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "each_host_reaches_its_own_ports_and_no_other",
        REQUIREMENTS,
        callers,
    )]
}

fn callers() -> Result<()> {
    let bed = Bed::new("", RULES)?;
    let (host, network) = (&bed.host, &bed.provisioning.network);
    let links = CALLERS.map(|(name, _)| network.add(name));
    // Start a third program besides etcd and sshd. Like a forgotten service, it listens on every
    // address.
    host.check(&[
        "systemd-run",
        "--unit=forgotten",
        "--",
        "python3",
        "-m",
        "http.server",
        "8000",
    ])?;
    host.wait_for("ss -tln | grep -q ':8000 '", Duration::from_secs(30))?;
    let listening = host.check(&["ss", "-Htln"])?;
    let outside = |port: &str| {
        listening
            .lines()
            .any(|line| line.contains(port) && !line.contains("127.0.0.1"))
    };
    for port in [":22 ", ":2379 ", ":2380 ", ":8000 "] {
        ensure!(outside(port), "nothing listens on {port}:\n{listening}");
    }
    ensure!(host.check(&["firewall-cmd", "--get-default-zone"])?.trim() == "etcd");

    for ((name, open), link) in CALLERS.into_iter().zip(links) {
        let link = link?;
        for port in open {
            reaches(&link, host.address(), *port)
                .with_context(|| format!("the {name} at {}", link.address))?;
        }
        // The stranger probes every port; the other hosts probe only the lowest ports, and the port
        // of the forgotten program.
        let ports = if open.is_empty() {
            1..=u16::MAX
        } else {
            1..=PORTS_AT_ONCE
        };
        let answered = answering(&link, host.address(), ports.chain([8000]))?;
        ensure!(
            answered == open,
            "the {name} at {} gets answers from these ports: {answered:?}",
            link.address
        );
        let ping = link
            .namespace
            .command("ping")
            .args(["-c", "1", "-W", "1", &host.address().to_string()])
            .output();
        ensure!(
            !ping.is_ok_and(|output| output.status.success()),
            "the node answers pings from the {name}"
        );
    }

    // Without its firewall, the node answers immediately, even on the forgotten port. This shows
    // that the earlier probes tested the firewall.
    host.check(&["systemctl", "stop", "firewalld"])?;
    let stranger = network.link("stranger")?;
    let answered = answering(&stranger, host.address(), 1..=PORTS_AT_ONCE)?;
    ensure!(
        answered.len() == usize::from(PORTS_AT_ONCE),
        "{} ports answer without a firewall",
        answered.len()
    );
    reaches(&stranger, host.address(), 8000)
}

fn reaches(link: &Link, node: Ipv4Addr, port: u16) -> Result<()> {
    let address = SocketAddr::from((node, port));
    let connected = link
        .namespace
        .within(move || TcpStream::connect_timeout(&address, Duration::from_secs(30)))?;
    connected
        .map(drop)
        .with_context(|| format!("does not reach {address}"))
}

/// Returns the TCP ports on which a node answers a host in any way. Open and closed ports answer;
/// ports whose packets are dropped do not.
fn answering(link: &Link, node: Ipv4Addr, ports: impl Iterator<Item = u16>) -> Result<Vec<u16>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(
        Resource::RLIMIT_NOFILE,
        hard.min(u64::from(2 * PORTS_AT_ONCE)),
        hard,
    )?;
    let ports: Vec<u16> = ports.collect();
    let mut answered = Vec::new();
    for some in ports.chunks(usize::from(PORTS_AT_ONCE)) {
        answered.extend(link.namespace.within(|| knock(node, some))??);
    }
    Ok(answered)
}

fn knock(node: Ipv4Addr, ports: &[u16]) -> Result<Vec<u16>> {
    let mut knocked: Vec<(u16, OwnedFd)> = Vec::new();
    for port in ports {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        let [a, b, c, d] = node.octets();
        match connect(
            std::os::fd::AsRawFd::as_raw_fd(&own),
            &SockaddrIn::new(a, b, c, d, *port),
        ) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::ECONNREFUSED) => knocked.push((*port, own)),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot probe the port {port}"));
            }
        }
    }
    // Over a virtual cable, an answer takes microseconds.
    sleep(Duration::from_millis(300));
    let mut answered = Vec::new();
    for (port, own) in &knocked {
        let mut asked = [PollFd::new(own.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut asked, PollTimeout::ZERO)? > 0 {
            answered.push(*port);
        }
    }
    Ok(answered)
}
