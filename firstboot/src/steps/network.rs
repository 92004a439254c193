//! Sets and checks the node's address. The address is in etcd's certificates and in the member
//! list, so etcd must not start with a different address.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::cluster::NetworkMode;

use crate::change::Change;
use crate::exit::{not_ready, refused};
use crate::files;
use crate::identity::Identity;
use crate::image_integrity;
use crate::interface::Interface;
use crate::machine;
use crate::output::say;
use crate::reason::ReasonId;

/// The time limit for a DHCP server to assign the address.
const DHCP_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for which an interface may have a different address in the same network before
/// firstboot refuses the node.
const WRONG_ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the change that assigns the address. If an interface already has the address, the change
/// only writes the ifcfg file, so that the address no longer depends on a DHCP server. Returns
/// `None` if the network's mode is `dhcp`, or if firstboot must not change the settings of the
/// node's interface. Also returns `None` if the interface has the address, and its ifcfg file is
/// correct.
pub(crate) fn plan(identity: &Identity) -> Result<Option<Change>> {
    let (network, address) = (&identity.cluster.network, identity.node.address);
    if network.mode == NetworkMode::Dhcp {
        return Ok(None);
    }
    let mut own = machine::addresses()?.into_iter();
    let holder = own.find(|(_, own)| *own == address);
    let has_address = holder.is_some();
    let name = match holder {
        Some((name, _)) => name,
        None => match interface_for(identity)? {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let existing = ifcfg(&Interface::ifcfg_path(&name))?;
    if !is_ours(&name, &existing)? {
        return Ok(None);
    }
    let interface = Interface {
        uuid: value(&existing, "UUID").map(str::to_owned),
        name,
        address,
        prefix: network.cidr.prefix_len(),
        gateway: network.gateway,
        dns: network.dns.clone(),
        has_address,
    };
    if has_address && interface.is_written()? {
        return Ok(None);
    }
    Ok(Some(Change::Interface(interface)))
}

/// Returns the text of an ifcfg file, or an empty text if the file does not exist.
fn ifcfg(path: &Path) -> Result<String> {
    let bytes = files::read_if_there(path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns whether firstboot may write the settings of an interface. firstboot must not change the
/// settings of a bridge, a bond, a team or a VLAN. firstboot must not change an ifcfg file of the
/// image either. This also applies to an interface that does not have the address yet: a DHCP
/// server may still assign the address.
fn is_ours(name: &str, ifcfg: &str) -> Result<bool> {
    if !machine::cards()?.iter().any(|card| card.name == name) || !is_plain(ifcfg) {
        return Ok(false);
    }
    let path = Interface::ifcfg_path(name);
    let list = image_integrity::file_list()?;
    Ok(!list
        .files
        .iter()
        .any(|file| Path::new("/").join(&file.path) == path))
}

/// Returns whether an ifcfg file configures an Ethernet interface that is not a bridge, a bond, a
/// team or a VLAN, and does not belong to a bridge, a bond or a team.
fn is_plain(ifcfg: &str) -> bool {
    let other = [
        "BONDING_OPTS",
        "DEVICETYPE",
        "TEAM_CONFIG",
        "MASTER",
        "BRIDGE",
    ];
    value(ifcfg, "TYPE").is_none_or(|kind| kind.eq_ignore_ascii_case("Ethernet"))
        && !value(ifcfg, "VLAN").is_some_and(|vlan| vlan.eq_ignore_ascii_case("yes"))
        && other.iter().all(|key| value(ifcfg, key).is_none())
}

/// Returns the value of a key in an ifcfg file, without quotation marks.
fn value<'t>(ifcfg: &'t str, key: &str) -> Option<&'t str> {
    let after_key = |line: &'t str| line.trim().strip_prefix(key)?.strip_prefix('=');
    let quoted = ifcfg.lines().rev().find_map(after_key)?;
    Some(quoted.trim().trim_matches(['"', '\'']))
}

/// Waits until an interface has the address.
///
/// # Errors
/// Returns a refusal if the node's own interface has a different address in the same network. In
/// this case, the machine is the wrong one, or the DHCP server has a wrong reservation for it. The
/// address of another interface, for example of a bridge for containers, proves neither. Returns a
/// "not ready" error if no interface has the address within `DHCP_TIMEOUT`.
pub(crate) fn wait_for_address(identity: &Identity) -> Result<()> {
    let wanted = identity.node.address;
    let began = Instant::now();
    let mut logged = false;
    loop {
        let own = machine::addresses()?;
        if own.iter().any(|(_, address)| *address == wanted) {
            return Ok(());
        }
        if let Some((interface, other)) = wrong_address(identity)?
            && began.elapsed() >= WRONG_ADDRESS_TIMEOUT
        {
            return Err(refused(ReasonId::AddressWrong.because(format!(
                "{} must have the address {wanted}, but {interface} has {other}. If this is the right machine, correct the \
                 DHCP server's reservation, or set mode = \"static\" under [network] in the recipe",
                identity.node.name
            ))));
        }
        if began.elapsed() >= DHCP_TIMEOUT {
            return Err(not_ready(ReasonId::AddressMissing.because(format!(
                "no interface has the address {wanted}. Check the cable, the DHCP server and the ifcfg files"
            ))));
        }
        if !logged {
            say(format!("waiting for the address {wanted}"));
            logged = true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the address that the node's own interface has in the node's network, and the name of
/// this interface. An interface counts as the node's own if it has the MAC address in the document.
/// A bridge can have the same MAC address as an interface that belongs to it, and then also counts.
/// If the document does not contain a MAC address, only the machine's single Ethernet interface
/// counts.
fn wrong_address(identity: &Identity) -> Result<Option<(String, Ipv4Addr)>> {
    let mut cards = machine::cards()?;
    match identity.node.machine.mac {
        Some(mac) => cards.retain(|card| card.mac == mac),
        None if cards.len() > 1 => return Ok(None),
        None => {}
    }
    let cidr = identity.cluster.network.cidr;
    let is_own = |name: &str| cards.iter().any(|card| card.name == name);
    let mut addresses = machine::addresses()?.into_iter();
    Ok(addresses.find(|(name, address)| is_own(name) && cidr.contains(address)))
}

/// Returns the interface with the document's MAC address or, without a MAC address in the document,
/// the only Ethernet interface. Returns `None` if the MAC address is the permanent address of an
/// interface that belongs to a bond, because such an interface uses the MAC address of the bond.
fn interface_for(identity: &Identity) -> Result<Option<String>> {
    let cards = machine::cards()?;
    if let Some(mac) = identity.node.machine.mac {
        return match cards.into_iter().find(|card| card.mac == mac) {
            Some(card) => Ok(Some(card.name)),
            None if machine::permanent_macs_in_bonds().contains(&mac) => Ok(None),
            None => Err(refused(ReasonId::InterfaceMissing.because(format!(
                "no interface has the MAC address {mac} from the node document"
            )))),
        };
    }
    match cards.as_slice() {
        [one] => Ok(Some(one.name.clone())),
        [] => Err(refused(
            ReasonId::InterfaceMissing.because("this machine has no Ethernet interface"),
        )),
        many => Err(refused(ReasonId::InterfaceAmbiguous.because(format!(
            "any of the interfaces {} could be the one for the address {}: specify the node's `mac` in the recipe",
            many.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", "),
            identity.node.address
        )))),
    }
}

#[cfg(test)]
mod tests;
