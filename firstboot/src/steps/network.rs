//! The node's address. etcd's certificates and its peers know the node by it: with another one it must not start.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::cluster::NetworkMode;

use crate::change::{Change, run};
use crate::exit::{not_ready, refused};
use crate::files::Wanted;
use crate::identity::Identity;
use crate::machine;
use crate::say::say;

/// For how long a DHCP server may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long one that has answered with another address of the network may still add the right one.
const SECOND_THOUGHTS: Duration = Duration::from_secs(5);

/// An interface as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
}

/// Nothing where the address is there. Where the recipe says `static`, the interface that gets it.
pub(crate) fn plan(identity: &Identity) -> Result<Option<Change>> {
    let (network, address) = (&identity.cluster.network, identity.node.address);
    if machine::addresses()?.iter().any(|(_, own)| *own == address) || network.mode == NetworkMode::Dhcp {
        return Ok(None);
    }
    Ok(Some(Change::Interface(Interface {
        name: interface_for(identity)?,
        address,
        prefix: network.cidr.prefix_len(),
        gateway: network.gateway,
        dns: network.dns.clone(),
    })))
}

/// Waits until the address is there.
///
/// # Errors
/// Refused where the machine has another address of the same network: the DHCP server does not know who it is.
pub(crate) fn settle(identity: &Identity) -> Result<()> {
    let (wanted, cidr) = (identity.node.address, identity.cluster.network.cidr);
    let began = Instant::now();
    let mut told = false;
    loop {
        let own = machine::addresses()?;
        if own.iter().any(|(_, address)| *address == wanted) {
            return Ok(());
        }
        let other = own.iter().find(|(_, address)| cidr.contains(address));
        if let Some((interface, other)) = other
            && began.elapsed() >= SECOND_THOUGHTS
        {
            return Err(refused(format!(
                "{} must have the address {wanted}, and {interface} was given {other}. Is this the right machine? If it \
                 is, mend the DHCP server's reservation, or write mode = \"static\" under [network] in the recipe",
                identity.node.name
            )));
        }
        if began.elapsed() >= PATIENCE {
            return Err(not_ready(format!(
                "no interface has the address {wanted}; is the cable in, does DHCP answer?"
            )));
        }
        if !told {
            say(format!("waiting for the address {wanted}"));
            told = true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The interface of the document's MAC, or the only real one.
fn interface_for(identity: &Identity) -> Result<String> {
    let cards = machine::cards()?;
    if let Some(mac) = identity.node.machine.mac {
        return match cards.into_iter().find(|card| card.mac == mac) {
            Some(card) => Ok(card.name),
            None => Err(refused(format!("no interface has the MAC {mac} of the node document"))),
        };
    }
    match cards.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(refused("this machine has no network card")),
        many => Err(refused(format!(
            "cannot tell which of {} shall have the address {}: give the node a `mac` in the recipe",
            many.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", "),
            identity.node.address
        ))),
    }
}

impl Interface {
    /// As initscripts and NetworkManager's ifcfg-rh plugin read it.
    fn ifcfg(&self) -> String {
        let mut lines = vec![
            "# Written by firstboot from the node document.".to_owned(),
            "TYPE=Ethernet".to_owned(),
            format!("DEVICE={}", self.name),
            format!("NAME={}", self.name),
            "ONBOOT=yes".to_owned(),
            "BOOTPROTO=none".to_owned(),
            format!("IPADDR={}", self.address),
            format!("PREFIX={}", self.prefix),
            "IPV6INIT=no".to_owned(),
        ];
        lines.extend(self.gateway.map(|gateway| format!("GATEWAY={gateway}")));
        lines.extend(self.dns.iter().enumerate().map(|(i, dns)| format!("DNS{}={dns}", i + 1)));
        lines.join("\n") + "\n"
    }

    /// Writes it for the next boots, and sets it for this one.
    pub(crate) fn bring_up(&self) -> Result<()> {
        let folder = Path::new("/etc/sysconfig/network-scripts");
        crate::files::Folder::new(folder, 0o755, crate::files::ROOT).make()?;
        let path = folder.join(format!("ifcfg-{}", self.name));
        Wanted::new(&path, self.ifcfg()).write()?;
        if Path::new("/usr/bin/nmcli").exists() {
            run("nmcli", &["connection", "load", &path.display().to_string()])?;
            return run("nmcli", &["connection", "up", "ifname", &self.name]);
        }
        let address = format!("{}/{}", self.address, self.prefix);
        run("ip", &["address", "replace", &address, "dev", &self.name])?;
        run("ip", &["link", "set", &self.name, "up"])?;
        match self.gateway {
            Some(gateway) => run("ip", &["route", "replace", "default", "via", &gateway.to_string()]),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_written_as_initscripts_read_it() {
        let interface = Interface {
            name: "eth0".into(),
            address: "10.101.15.101".parse().unwrap(),
            prefix: 24,
            gateway: "10.101.15.1".parse().ok(),
            dns: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
        };
        let text = interface.ifcfg();
        for line in ["DEVICE=eth0", "IPADDR=10.101.15.101", "PREFIX=24", "GATEWAY=10.101.15.1", "DNS2=10.0.0.2"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
