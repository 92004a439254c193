//! Networks for tests. Each network has a bridge in a separate namespace ("the world"), and one
//! namespace for each host.
//!
//! The world has the address 10.101.15.1/24 and is every host's gateway. The servers that hosts
//! must reach run in the world. The machine's own network stays untouched, and no packet can leave
//! the world, because the world has no uplink.

mod capture;
mod faults;
mod namespace;
mod slow_link;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::{process, run};
use namespace::ip;
use slow_link::SlowLink;

pub use capture::Capture;
pub use faults::{Fault, Partition};
pub use namespace::{Namespace, connect_from};

/// The address of the world.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(10, 101, 15, 1);

/// The last byte of the first host's address.
const FIRST: u8 = 101;

/// A network with its hosts. A clone is a second handle to the same network. The network is removed
/// when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Network(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u32,
    world: Namespace,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: Vec<Link>,
    faults: Vec<Fault>,
    walls: Vec<Partition>,
    wires: Vec<SlowLink>,
}

impl State {
    /// Returns the last byte of the next host's IP address and MAC address.
    fn next(&self) -> Result<u8> {
        let number = u8::try_from(self.hosts.len()).ok();
        number
            .and_then(|number| FIRST.checked_add(number))
            .context("the network has no room for another host")
    }
}

/// A host's link to the network.
#[derive(Debug, Clone)]
pub struct Link {
    /// The host's name, which is also the name of its interface in the world.
    pub host: String,
    /// The host's namespace, in which the interface is called `eth0`.
    pub namespace: Namespace,
    /// The host's address, in a /24.
    pub address: Ipv4Addr,
    /// The hardware address of `eth0`.
    pub mac: String,
}

impl Network {
    /// Makes the world and its bridge, without any hosts.
    pub fn new() -> Result<Network> {
        let number = run::current()?.number();
        let world = Namespace::create(&format!("{number}-world"))?;
        let inner = Inner {
            number,
            world: world.clone(),
            state: Mutex::default(),
        };
        let network = Network(Arc::new(inner));
        let name = world.name();
        ip(&[
            "-n",
            name,
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "forward_delay",
            "0",
        ])?;
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{WORLD}/24"),
            "dev",
            "br0",
        ])?;
        ip(&["-n", name, "link", "set", "br0", "up"])?;
        Ok(network)
    }

    /// Adds a host. The first host gets 10.101.15.101, the next host 10.101.15.102, and so on. A
    /// host's namespace survives the host's reboots.
    pub fn add(&self, host: &str) -> Result<Link> {
        let mut state = self.state()?;
        let last = state.next()?;
        self.connect(
            &mut state,
            host,
            mac(last),
            Ipv4Addr::new(10, 101, 15, last),
        )
    }

    /// Adds a host that has the same address as an existing host but its own MAC address.
    pub fn add_twin(&self, host: &str, of: &str) -> Result<Link> {
        let address = self.link(of)?.address;
        let mut state = self.state()?;
        let last = state.next()?;
        self.connect(&mut state, host, mac(last), address)
    }

    /// Adds a host that has the same address and the same MAC address as an existing host, like a
    /// copy of a virtual machine.
    pub fn add_clone(&self, host: &str, of: &str) -> Result<Link> {
        let Link { address, mac, .. } = self.link(of)?;
        self.connect(&mut *self.state()?, host, mac, address)
    }

    fn connect(
        &self,
        state: &mut State,
        host: &str,
        mac: String,
        address: Ipv4Addr,
    ) -> Result<Link> {
        let namespace = Namespace::create(&format!("{}-{host}", self.0.number))?;
        let (world, own) = (self.0.world.name(), namespace.name());
        ip(&[
            "-n", world, "link", "add", host, "type", "veth", "peer", "name", "eth0", "address",
            &mac, "netns", own,
        ])?;
        ip(&["-n", world, "link", "set", host, "master", "br0", "up"])?;
        ip(&[
            "-n",
            own,
            "addr",
            "add",
            &format!("{address}/24"),
            "dev",
            "eth0",
        ])?;
        ip(&["-n", own, "link", "set", "eth0", "up"])?;
        ip(&[
            "-n",
            own,
            "route",
            "add",
            "default",
            "via",
            &WORLD.to_string(),
        ])?;
        let link = Link {
            host: host.to_owned(),
            namespace,
            address,
            mac,
        };
        state.hosts.push(link.clone());
        Ok(link)
    }

    /// Returns the world's namespace, where a test runs its servers and clients.
    pub fn world(&self) -> &Namespace {
        &self.0.world
    }

    /// Returns the host's link to the network.
    pub fn link(&self, host: &str) -> Result<Link> {
        let state = self.state()?;
        let link = state.hosts.iter().find(|link| link.host == host);
        link.cloned()
            .with_context(|| format!("the network has no host {host}"))
    }

    /// Adds an address to the world, such as the metadata service's 169.254.169.254/32. Hosts reach
    /// the address through their gateway, which is the world.
    pub fn add_address(&self, address: &str) -> Result<()> {
        ip(&[
            "-n",
            self.0.world.name(),
            "addr",
            "add",
            address,
            "dev",
            "br0",
        ])
    }

    /// Disconnects the host's cable.
    pub fn unplug(&self, host: &str) -> Result<()> {
        ip(&[
            "-n",
            self.0.world.name(),
            "link",
            "set",
            &self.link(host)?.host,
            "down",
        ])
    }

    /// Reconnects the host's cable. Faults between hosts remain in effect.
    pub fn replug(&self, host: &str) -> Result<()> {
        ip(&[
            "-n",
            self.0.world.name(),
            "link",
            "set",
            &self.link(host)?.host,
            "up",
        ])
    }

    /// Drops all packets between two hosts, in both directions.
    pub fn drop_between(&self, one: &str, other: &str) -> Result<()> {
        self.drop_share(one, other, 100)?;
        self.drop_share(other, one, 100)
    }

    /// Drops all packets from one host to another, but not in the opposite direction.
    pub fn drop_one_way(&self, from: &str, to: &str) -> Result<()> {
        self.drop_share(from, to, 100)
    }

    /// Drops `percent` of the packets from one host to another, at random.
    pub fn drop_share(&self, from: &str, to: &str, percent: u8) -> Result<()> {
        let fault = Fault {
            from: self.link(from)?.address,
            to: self.link(to)?.address,
            percent,
        };
        let mut state = self.state()?;
        state.faults.push(fault);
        self.apply(&state)
    }

    /// Separates some hosts from the others: no packet, not even ARP, passes between the two
    /// groups.
    pub fn partition(&self, some: &[&str], others: &[&str]) -> Result<()> {
        let mut state = self.state()?;
        let pairs = some.iter().flat_map(|one| {
            others
                .iter()
                .map(|other| Partition((*one).into(), (*other).into()))
        });
        state.walls.extend(pairs);
        self.apply(&state)
    }

    /// Reflects a host's broadcasts back to it, as in a network in which two ports of a machine are
    /// connected by mistake.
    pub fn reflect_broadcasts(&self, host: &str) -> Result<()> {
        let host = self.link(host)?.host;
        ip(&[
            "-n",
            self.0.world.name(),
            "link",
            "set",
            "dev",
            &host,
            "type",
            "bridge_slave",
            "hairpin",
            "on",
        ])
    }

    /// Drops only the first ARP probe that the host sends without a sender address.
    pub fn lose_first_arp_probe(&self, host: &str) -> Result<()> {
        self.nft(&faults::lose_first_probe(&self.link(host)?.host))
    }

    /// Returns how many packets of ARP probes the host has sent since
    /// [`Network::lose_first_arp_probe`], and how many of the packets were dropped.
    pub fn arp_probes(&self) -> Result<[u64; 2]> {
        let mut nft = self.0.world.command("nft");
        let listed = process::run(nft.args(["list", "table", "bridge", "question"]))?.ok()?;
        faults::counted(&listed)
            .try_into()
            .map_err(|_| anyhow!("nft does not show the counters of the rules:\n{listed}"))
    }

    /// Ends all faults and partitions between hosts, and reconnects all cables. Slow links stay
    /// slow.
    pub fn heal_all(&self) -> Result<()> {
        let mut state = self.state()?;
        state.faults.clear();
        state.walls.clear();
        self.apply(&state)?;
        for link in &state.hosts {
            ip(&["-n", self.0.world.name(), "link", "set", &link.host, "up"])?;
        }
        Ok(())
    }

    /// Limits the traffic to the host to `rate`, in tc's notation, such as `200kbit`.
    pub fn limit_rate(&self, host: &str, rate: &str) -> Result<()> {
        let host = self.link(host)?.host;
        let mut tc = self.0.world.command("tc");
        tc.args([
            "qdisc", "replace", "dev", &host, "root", "tbf", "rate", rate, "burst", "32k",
            "latency", "400ms",
        ]);
        process::run(&mut tc)?.ok().map(drop)
    }

    /// Ends the effect of [`Network::limit_rate`].
    pub fn lift_rate_limit(&self, host: &str) -> Result<()> {
        let mut tc = self.0.world.command("tc");
        tc.args(["qdisc", "del", "dev", &self.link(host)?.host, "root"]);
        process::run(&mut tc)?.ok().map(drop)
    }

    /// Delays every packet to and from the host by this amount of time.
    pub fn add_latency(&self, host: &str, delay: Duration) -> Result<()> {
        let host = self.link(host)?.host;
        let wire = SlowLink::lay(self.world(), &host, delay)?;
        self.state()?.wires.push(wire);
        Ok(())
    }

    /// Ends the effect of [`Network::add_latency`].
    pub fn remove_latency(&self, host: &str) -> Result<()> {
        let mut state = self.state()?;
        let at = state
            .wires
            .iter()
            .position(|wire| wire.host == host)
            .with_context(|| format!("{host} has no slow link"))?;
        state.wires.remove(at).take_up(self.world())
    }

    /// Replaces the whole table, which nft does atomically.
    fn apply(&self, state: &State) -> Result<()> {
        self.nft(&faults::table(&state.faults, &state.walls))
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let folder = run::current()?.folder("nft")?;
        let file = folder.join("rules");
        std::fs::write(&file, rules).with_context(|| format!("cannot write {}", file.display()))?;
        let mut nft = self.0.world.command("nft");
        nft.arg("-f").arg(&file);
        process::run(&mut nft)?.ok()?;
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.0
            .state
            .lock()
            .map_err(|_| anyhow!("a test panicked while it changed the network"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let hosts = self
            .state
            .get_mut()
            .map(|state| std::mem::take(&mut state.hosts))
            .unwrap_or_default();
        for link in hosts {
            link.namespace.remove();
        }
        self.world.remove();
    }
}

fn mac(last: u8) -> String {
    format!("52:54:0a:65:0f:{last:02x}")
}
