//! Sets and checks the node's address. The address is in etcd's certificates and in the member
//! list, so etcd must not start with a different address.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::cluster::NetworkMode;

use crate::change::Change;
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::interface::Interface;
use crate::machine;
use crate::output::say;
use crate::reason::ReasonId;

/// The time limit for a DHCP server to assign the address.
const DHCP_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for which an interface may have a different address in the same network before
/// firstboot refuses the node.
const WRONG_ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the change that assigns the address. Returns `None` if an interface already has the
/// address or if DHCP assigns it.
pub(crate) fn plan(identity: &Identity) -> Result<Option<Change>> {
    let (network, address) = (&identity.cluster.network, identity.node.address);
    if machine::addresses()?.iter().any(|(_, own)| *own == address)
        || network.mode == NetworkMode::Dhcp
    {
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

/// Waits until an interface has the address.
///
/// # Errors
/// Returns a refusal if the machine has a different address in the same network. In this case, the
/// machine is the wrong one, or the DHCP server has a wrong reservation for it. Returns a "not
/// ready" error if no interface has the address within `DHCP_TIMEOUT`.
pub(crate) fn wait_for_address(identity: &Identity) -> Result<()> {
    let (wanted, cidr) = (identity.node.address, identity.cluster.network.cidr);
    let began = Instant::now();
    let mut logged = false;
    loop {
        let own = machine::addresses()?;
        if own.iter().any(|(_, address)| *address == wanted) {
            return Ok(());
        }
        let other = own.iter().find(|(_, address)| cidr.contains(address));
        if let Some((interface, other)) = other
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
                "no interface has the address {wanted}. Check the cable and the DHCP server"
            ))));
        }
        if !logged {
            say(format!("waiting for the address {wanted}"));
            logged = true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the interface with the document's MAC address or, without a MAC address in the document,
/// the only Ethernet interface.
fn interface_for(identity: &Identity) -> Result<String> {
    let cards = machine::cards()?;
    if let Some(mac) = identity.node.machine.mac {
        return match cards.into_iter().find(|card| card.mac == mac) {
            Some(card) => Ok(card.name),
            None => Err(refused(ReasonId::InterfaceMissing.because(format!(
                "no interface has the MAC address {mac} from the node document"
            )))),
        };
    }
    match cards.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(refused(
            ReasonId::InterfaceMissing.because("this machine has no Ethernet interface"),
        )),
        many => Err(refused(ReasonId::InterfaceAmbiguous.because(format!(
            "any of {} could have the address {}: specify the node's `mac` in the recipe",
            many.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", "),
            identity.node.address
        )))),
    }
}
