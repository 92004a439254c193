//! The node's address. etcd's certificates and its peers know the node by it: with another one it must not start.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::cluster::NetworkMode;

use crate::change::Change;
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::interface::Interface;
use crate::machine;
use crate::output::say;

/// For how long a DHCP server may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long one that has answered with another address of the network may still add the right one.
const SECOND_THOUGHTS: Duration = Duration::from_secs(5);

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
        if !logged {
            say(format!("waiting for the address {wanted}"));
            logged = true;
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
            "cannot tell which of {} should have the address {}: give the node a `mac` in the recipe",
            many.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", "),
            identity.node.address
        ))),
    }
}
