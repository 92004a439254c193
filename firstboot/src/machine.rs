//! Identifies this machine by its firmware and its network interfaces, and compares it with the
//! machine in a document.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use nix::sys::socket::LinkAddr;
use recipes::{FirmwareId, Mac, MachineMatch};
use serde::{Deserialize, Serialize};

/// The folder in which Linux describes each bond.
const BONDS: &str = "/proc/net/bonding";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The MAC addresses of the machine's Ethernet interfaces, sorted. An interface in a bond has
    /// two addresses: the bond's address, and the interface's own permanent address.
    pub(crate) macs: Vec<Mac>,
    /// The SMBIOS serial number.
    pub(crate) serial: Option<FirmwareId>,
    /// The SMBIOS UUID.
    pub(crate) uuid: Option<FirmwareId>,
}

impl Machine {
    pub(crate) fn observe() -> Result<Self> {
        let mut macs: Vec<Mac> = cards()?.into_iter().map(|card| card.mac).collect();
        macs.extend(permanent_macs_in_bonds());
        macs.sort_unstable();
        macs.dedup();
        // Treat an SMBIOS field that is empty or a placeholder as absent, because such a value does
        // not identify a machine.
        let firmware = |field: &str| {
            fs::read_to_string(format!("/sys/class/dmi/id/{field}"))
                .ok()?
                .parse()
                .ok()
        };
        Ok(Self {
            macs,
            serial: firmware("product_serial"),
            uuid: firmware("product_uuid"),
        })
    }

    /// Returns the identifiers to send to a metadata server, as pairs of key and value.
    pub(crate) fn describe(&self) -> Vec<(&'static str, String)> {
        let macs = self.macs.iter().map(|mac| ("mac", mac.to_string()));
        let serial = self
            .serial
            .iter()
            .map(|serial| ("serial", serial.to_string()));
        let uuid = self.uuid.iter().map(|uuid| ("uuid", uuid.to_string()));
        macs.chain(serial).chain(uuid).collect()
    }

    /// Explains why this machine is not the machine that a document names. Returns `None` if this
    /// machine is the named machine.
    pub(crate) fn differs_from(&self, wanted: &MachineMatch) -> Option<String> {
        let text =
            |id: Option<&FirmwareId>| id.map_or_else(|| "none".to_owned(), ToString::to_string);
        if let Some(mac) = wanted.mac
            && !self.macs.contains(&mac)
        {
            let own: Vec<String> = self.macs.iter().map(ToString::to_string).collect();
            let own = match &own[..] {
                [] => "no network card".to_owned(),
                _ => own.join(", "),
            };
            return Some(format!(
                "it is for the machine with MAC {mac}, but this machine has {own}"
            ));
        }
        for (what, wanted, own) in [
            ("serial", &wanted.serial, &self.serial),
            ("UUID", &wanted.uuid, &self.uuid),
        ] {
            if !FirmwareId::meets(own.as_ref(), wanted.as_ref()) {
                let (wanted, own) = (text(wanted.as_ref()), text(own.as_ref()));
                return Some(format!(
                    "it is for the machine with {what} {wanted}, but this machine has {own}"
                ));
            }
        }
        None
    }

    /// Explains why this machine is not the machine `before`, on which the disk was set up. Returns
    /// `None` if both are the same machine. A machine with a different UUID, or with none of the
    /// earlier MAC addresses, is a different machine. Unknown values and other changes of the
    /// network cards do not matter.
    pub(crate) fn cloned_from(&self, before: &Self) -> Option<String> {
        if let (Some(was), Some(is)) = (&before.uuid, &self.uuid)
            && !was.is_same_as(is)
        {
            return Some(format!(
                "it was set up on the machine with UUID {was}, but this machine has {is}"
            ));
        }
        let common = self.macs.iter().any(|mac| before.macs.contains(mac));
        if !common && !before.macs.is_empty() && !self.macs.is_empty() {
            return Some(format!(
                "it was set up on the machine with {before}, but this machine has {self}"
            ));
        }
        None
    }

    /// Returns the identifiers to record for this machine in place of the earlier record, `before`.
    /// The record follows the hardware, so that the machine is still recognised after its network
    /// cards have been replaced one after the other. If the machine does not report one kind of
    /// identifier at the moment, the recorded identifiers of this kind are kept.
    pub(crate) fn after(&self, before: &Self) -> Self {
        let macs = if self.macs.is_empty() {
            &before.macs
        } else {
            &self.macs
        };
        Self {
            macs: macs.clone(),
            serial: self.serial.clone().or_else(|| before.serial.clone()),
            uuid: self.uuid.clone().or_else(|| before.uuid.clone()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .describe()
            .into_iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        if parts.is_empty() {
            f.write_str("a machine without a serial, UUID or network card")
        } else {
            f.write_str(&parts.join(", "))
        }
    }
}

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkCard {
    pub(crate) name: String,
    pub(crate) mac: Mac,
}

/// Returns the Ethernet interfaces of this machine, sorted by name.
pub(crate) fn cards() -> Result<Vec<NetworkCard>> {
    let card = |(name, link): (String, LinkAddr)| {
        Some(NetworkCard {
            name,
            mac: Mac::try_from(link.addr()?).ok()?,
        })
    };
    let mut cards: Vec<NetworkCard> = links()?.into_iter().filter_map(card).collect();
    cards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cards)
}

/// Returns the permanent MAC address of each interface that belongs to a bond. While an interface
/// belongs to a bond, it has the bond's address instead, which is normally the address of the
/// interface that joined the bond first (kernel 3.10, bond_main.c, `bond_enslave`).
pub(crate) fn permanent_macs_in_bonds() -> Vec<Mac> {
    // Without the bonding module, the folder does not exist.
    let bonds = fs::read_dir(BONDS).into_iter().flatten().flatten();
    bonds
        .filter_map(|bond| fs::read_to_string(bond.path()).ok())
        .flat_map(|text| permanent_macs(&text))
        .collect()
}

/// Returns the permanent MAC addresses in the kernel's description of a bond (kernel 3.10,
/// bond_procfs.c, `bond_info_show_slave`).
fn permanent_macs(bond: &str) -> Vec<Mac> {
    let address = |line: &str| line.strip_prefix("Permanent HW addr: ")?.parse().ok();
    bond.lines().filter_map(address).collect()
}

/// Returns the Ethernet interfaces of this machine with their link-layer addresses. Reads the
/// interfaces with getifaddrs(3), because /sys in a container may show a different network
/// namespace.
pub(crate) fn links() -> Result<Vec<(String, LinkAddr)>> {
    let all =
        nix::ifaddrs::getifaddrs().context("cannot list the network interfaces of this machine")?;
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let link = *entry.address?.as_link_addr()?;
        // Loopback and tunnel interfaces have other types (linux/if_arp.h).
        (link.hatype() == nix::libc::ARPHRD_ETHER).then_some((entry.interface_name, link))
    };
    Ok(all.filter_map(link).collect())
}

/// Returns the IPv4 addresses of this machine, each with its interface, except loopback addresses.
pub(crate) fn addresses() -> Result<Vec<(String, Ipv4Addr)>> {
    let all = nix::ifaddrs::getifaddrs().context("cannot list the addresses of this machine")?;
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        (!address.is_loopback()).then_some((entry.interface_name, address))
    };
    Ok(all.filter_map(address).collect())
}

/// Returns this machine's host name, without its domain.
pub(crate) fn host() -> String {
    let name = nix::unistd::gethostname()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mac: &str, uuid: &str) -> Machine {
        Machine {
            macs: vec![mac.parse().unwrap()],
            serial: None,
            uuid: uuid.parse().ok(),
        }
    }

    const ONE: &str = "52:54:00:00:00:01";
    const TWO: &str = "52:54:00:00:00:02";

    #[test]
    fn a_document_for_another_machine_is_refused_with_both_named() {
        let wanted = MachineMatch {
            mac: TWO.parse().ok(),
            ..MachineMatch::default()
        };
        let why = machine(ONE, "").differs_from(&wanted).unwrap();
        assert!(why.contains(ONE) && why.contains(TWO), "{why}");
        assert_eq!(machine(TWO, "").differs_from(&wanted), None);
        assert_eq!(
            machine(ONE, "").differs_from(&MachineMatch::default()),
            None
        );

        let wanted = MachineMatch {
            serial: "ABC".parse().ok(),
            ..MachineMatch::default()
        };
        assert!(
            machine(ONE, "")
                .differs_from(&wanted)
                .unwrap()
                .contains("this machine has none")
        );
    }

    #[test]
    fn a_clone_is_distinguished_from_a_repaired_machine() {
        let before = machine(ONE, "u-1");
        assert_eq!(machine(ONE, "u-1").cloned_from(&before), None);
        assert!(
            machine(ONE, "u-2")
                .cloned_from(&before)
                .unwrap()
                .contains("UUID u-1")
        );
        assert!(
            machine(TWO, "u-1").cloned_from(&before).is_some(),
            "some hypervisors copy the UUID of a machine, but not its MACs"
        );
        let uuid = "42112233-4455-6677-8899-aabbccddeeff";
        let upgraded = machine(ONE, "33221142-5544-7766-8899-aabbccddeeff");
        assert_eq!(
            upgraded.cloned_from(&machine(ONE, uuid)),
            None,
            "a newer SMBIOS changes the byte order of the UUID"
        );
        let mut repaired = machine(TWO, "u-1");
        repaired.macs.push(ONE.parse().unwrap());
        assert_eq!(repaired.cloned_from(&before), None);
    }

    #[test]
    fn the_permanent_addresses_of_a_bond_are_read() {
        let bond = format!(
            "Ethernet Channel Bonding Driver: v3.7.1 (April 27, 2011)\n\nBonding Mode: load balancing (round-robin)\n\
             MII Status: up\n\nSlave Interface: em1\nMII Status: up\nPermanent HW addr: {ONE}\nSlave queue ID: 0\n\n\
             Slave Interface: em2\nMII Status: down\nPermanent HW addr: {TWO}\nSlave queue ID: 0\n"
        );
        let both: Vec<Mac> = [ONE, TWO].map(|mac| mac.parse().unwrap()).to_vec();
        assert_eq!(permanent_macs(&bond), both);
        let infiniband =
            "Permanent HW addr: 80:00:02:08:fe:80:00:00:00:00:00:00:e4:1d:2d:03:00:a1:22:01\n";
        assert_eq!(permanent_macs(infiniband), []);
    }

    #[test]
    fn a_machine_is_recognised_after_each_of_its_cards_was_replaced() {
        let first = machine(ONE, "u-1");
        let mut second = machine(TWO, "");
        second.macs.push(ONE.parse().unwrap());
        let third = machine(TWO, "u-1");
        assert!(third.cloned_from(&first).is_some());
        let recorded = second.after(&first);
        assert_eq!(
            recorded.uuid, first.uuid,
            "the machine reports no UUID at the moment"
        );
        assert_eq!(third.cloned_from(&recorded), None);
        assert_eq!(third.after(&recorded), third);
        assert_eq!(Machine::default().after(&third), third);
    }
}
