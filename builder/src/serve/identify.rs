//! Determines which node a machine is. The result is a pure function of the identity that the
//! machine states and the origin of its request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::header::HeaderName;
use recipes::{FirmwareId, Mac, NodeIdentity};

use super::client_link::{ClientLink, find};
use super::log::Log;
use super::refusal::{Refusal, RefusalId};

/// The maximum number of network cards that a request can name. Real machines have far fewer
/// network cards.
const MAX_CARDS: usize = 64;

/// The identity that a machine states. Facts that the machine does not state are empty or `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// The machine's network cards.
    pub(super) macs: Vec<Mac>,
    /// The serial number of SMBIOS type 1.
    pub(super) serial: Option<FirmwareId>,
    /// The UUID of SMBIOS type 1.
    pub(super) uuid: Option<FirmwareId>,
}

/// The origin of a machine's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestOrigin {
    pub(super) address: Ipv4Addr,
    pub(super) link: ClientLink,
}

impl RequestOrigin {
    /// Finds the origin of a request that arrived from `remote` at this server's address `local`.
    /// If a proxy forwarded the request, `proxy` is the header that reveals the proxy.
    ///
    /// # Errors
    /// Fails if the origin does not identify the machine that sent the request.
    pub(super) fn find(
        remote: IpAddr,
        local: SocketAddr,
        proxy: Option<&HeaderName>,
        log: &Log,
    ) -> Result<Self, Refusal> {
        if let Some(name) = proxy {
            let why = format!(
                "the request came through a proxy (it has the header {name}), which hides the \
                 machine: let machines connect to this server directly"
            );
            return Err(Refusal::forbidden(RefusalId::Proxied, why));
        }
        let (IpAddr::V4(address), IpAddr::V4(local)) = (remote, local.ip().to_canonical()) else {
            let why = "nodes have IPv4 addresses, but this request came over IPv6: use the \
                server's IPv4 address";
            return Err(Refusal::forbidden(RefusalId::Ipv6, why));
        };
        let origin = find(local, address).map_err(|error| {
            log.error(&anyhow::anyhow!(
                "cannot query the kernel about {address}: {error}"
            ));
            Refusal::unavailable(
                RefusalId::CardUnknown,
                format!("the server cannot determine which machine has {address}. Ask again"),
            )
        })?;
        Ok(Self {
            address,
            link: origin,
        })
    }
}

impl Machine {
    /// Reads the parameters of a query, in which `mac` can occur several times. A value that does
    /// not identify a machine is ignored, because firmware may report nonsense, and iPXE leaves
    /// unknown values empty.
    pub(super) fn read<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut machine = Self::default();
        for (key, value) in query {
            match key {
                "mac" if machine.macs.len() < MAX_CARDS => {
                    machine.macs.extend(value.parse::<Mac>().ok());
                }
                "serial" => machine.serial = value.parse().ok(),
                "uuid" => machine.uuid = value.parse().ok(),
                _ => {}
            }
        }
        machine
    }

    fn matches(&self, node: &NodeIdentity) -> bool {
        let wanted = &node.machine;
        wanted.mac.is_none_or(|mac| self.macs.contains(&mac))
            && FirmwareId::meets(self.serial.as_ref(), wanted.serial.as_ref())
            && FirmwareId::meets(self.uuid.as_ref(), wanted.uuid.as_ref())
    }
}

/// Returns the node that a machine belongs to.
///
/// A machine can claim any identity, so [`check_location`] makes the final decision. If the recipe
/// states no facts about a node's machine, the node is identified only by its address. firstboot on
/// the node identifies its machine in the same way.
pub(super) fn identify<'a>(
    nodes: &'a [NodeIdentity],
    machine: &Machine,
    origin: RequestOrigin,
) -> Result<&'a NodeIdentity, Refusal> {
    let (named, unnamed): (Vec<&NodeIdentity>, Vec<&NodeIdentity>) =
        nodes.iter().partition(|node| !node.machine.is_empty());
    let named = named.into_iter().find(|node| machine.matches(node));
    let Some(node) = named.or_else(|| {
        unnamed
            .into_iter()
            .find(|node| node.address == origin.address)
    }) else {
        let why = format!("no node of this cluster matches {}", describe(machine));
        return Err(Refusal::not_found(RefusalId::UnknownMachine, why));
    };
    check_location(node, origin).map(|()| node)
}

/// If a machine claims to be a node, checks that its request comes from that node's location.
///
/// If the request's address is on a network of this host and the recipe states the node's MAC
/// address, the network card that answers for the address must be the node's card. This condition
/// detects another machine that uses the node's address. In all other cases, the request must come
/// from the node's address. This host itself is never a node.
pub(super) fn check_location(node: &NodeIdentity, origin: RequestOrigin) -> Result<(), Refusal> {
    let (name, address) = (&node.name, origin.address);
    match (origin.link, node.machine.mac) {
        (ClientLink::Local, _) => Err(Refusal::forbidden(
            RefusalId::ThisHost,
            format!(
                "the machine claims to be {name}, but its request comes from {address}, which is \
                 this server itself. A proxy or a forwarded port hides the machine: let machines \
                 connect to this server directly"
            ),
        )),
        (ClientLink::NoNeighbour, _) => Err(Refusal::unavailable(
            RefusalId::CardUnknown,
            format!(
                "the machine claims to be {name}, but no network card has answered for {address} \
                 by ARP yet. Ask again"
            ),
        )),
        (ClientLink::Neighbour(card), Some(mac)) if card != mac => Err(Refusal::forbidden(
            RefusalId::WrongCard,
            format!(
                "the machine claims to be {name}, whose MAC address is {mac}, but {address} has \
                 the MAC address {card}. The recipe's `mac` must be the MAC address of the network \
                 card with which the node reaches this server"
            ),
        )),
        (ClientLink::Neighbour(_), Some(_)) => Ok(()),
        _ if node.address == address => Ok(()),
        _ => Err(Refusal::forbidden(
            RefusalId::WrongAddress,
            format!(
                "the machine claims to be {name}, whose address is {}, but its request comes from \
                 {address}",
                node.address
            ),
        )),
    }
}

pub(super) fn describe(machine: &Machine) -> String {
    let macs = machine.macs.iter().map(|mac| format!("mac {mac}"));
    let serial = machine
        .serial
        .iter()
        .map(|serial| format!("serial {serial}"));
    let uuid = machine.uuid.iter().map(|uuid| format!("uuid {uuid}"));
    let all: Vec<String> = macs.chain(serial).chain(uuid).collect();
    if all.is_empty() {
        "a machine that does not identify itself".to_owned()
    } else {
        format!("a machine with {}", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recipes::MachineMatch;

    use super::*;

    const ONE: &str = "52:54:00:00:00:01";
    const TWO: &str = "52:54:00:00:00:02";
    const AT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

    fn node(name: &str, last: u8, machine: MachineMatch) -> NodeIdentity {
        let address = Ipv4Addr::new(10, 0, 0, last);
        NodeIdentity {
            cluster: "c".parse().unwrap(),
            name: name.parse().unwrap(),
            address,
            machine,
        }
    }

    fn by_mac(mac: &str) -> MachineMatch {
        MachineMatch {
            mac: mac.parse().ok(),
            ..MachineMatch::default()
        }
    }

    fn by_firmware() -> MachineMatch {
        MachineMatch {
            serial: "S1".parse().ok(),
            uuid: "u-1".parse().ok(),
            mac: None,
        }
    }

    fn says(query: &[(&str, &str)]) -> Machine {
        Machine::read(query.iter().copied())
    }

    fn from(address: Ipv4Addr, card: &str) -> RequestOrigin {
        RequestOrigin {
            address,
            link: card
                .parse()
                .map_or(ClientLink::Routed, ClientLink::Neighbour),
        }
    }

    fn name<'a>(
        nodes: &'a [NodeIdentity],
        machine: &Machine,
        origin: RequestOrigin,
    ) -> Result<&'a str, RefusalId> {
        identify(nodes, machine, origin)
            .map(|node| node.name.as_str())
            .map_err(|refusal| refusal.id)
    }

    #[test]
    fn a_machine_on_this_network_is_identified_by_its_card_regardless_of_its_address() {
        let nodes = [node("a", 1, by_mac(ONE)), node("b", 2, by_mac(TWO))];
        assert_eq!(
            name(
                &nodes,
                &says(&[("mac", TWO), ("mac", ONE)]),
                from(ELSEWHERE, ONE)
            ),
            Ok("a")
        );
        let no = identify(&nodes, &says(&[("mac", ONE)]), from(AT, TWO)).unwrap_err();
        assert!(
            no.id == RefusalId::WrongCard && no.why.contains(ONE) && no.why.contains(TWO),
            "{no:?}"
        );
        let no = identify(
            &nodes,
            &says(&[("mac", "52:54:00:00:00:09")]),
            from(AT, ONE),
        )
        .unwrap_err();
        assert!(
            no.id == RefusalId::UnknownMachine && no.why.contains("00:09"),
            "{no:?}"
        );
    }

    #[test]
    fn a_machine_behind_a_router_is_identified_by_its_address() {
        let nodes = [node("a", 1, by_mac(ONE))];
        assert_eq!(name(&nodes, &says(&[("mac", ONE)]), from(AT, "")), Ok("a"));
        let no = identify(&nodes, &says(&[("mac", ONE)]), from(ELSEWHERE, "")).unwrap_err();
        assert!(
            no.id == RefusalId::WrongAddress && no.why.contains("10.0.0.99"),
            "{no:?}"
        );
    }

    #[test]
    fn a_machine_whose_card_did_not_answer_is_told_to_ask_again() {
        let nodes = [
            node("a", 1, by_mac(ONE)),
            node("b", 2, by_firmware()),
            node("c", 3, MachineMatch::default()),
        ];
        let queries = [
            &[("mac", ONE)][..],
            &[("serial", "s1"), ("uuid", "u-1")],
            &[],
        ];
        for (query, last) in queries.iter().zip(1..) {
            let origin = RequestOrigin {
                address: Ipv4Addr::new(10, 0, 0, last),
                link: ClientLink::NoNeighbour,
            };
            let no = identify(&nodes, &says(query), origin).unwrap_err();
            assert_eq!(
                (no.id, no.status.as_u16()),
                (RefusalId::CardUnknown, 503),
                "{query:?}"
            );
        }
    }

    #[test]
    fn this_host_is_never_a_node() {
        let nodes = [
            node("a", 1, by_mac(ONE)),
            node("b", 2, MachineMatch::default()),
        ];
        for (query, last) in [(&[("mac", ONE)][..], 1), (&[], 2)] {
            let origin = RequestOrigin {
                address: Ipv4Addr::new(10, 0, 0, last),
                link: ClientLink::Local,
            };
            assert_eq!(name(&nodes, &says(query), origin), Err(RefusalId::ThisHost));
        }
    }

    #[test]
    fn every_fact_in_the_recipe_must_match() {
        let nodes = [node("a", 1, by_firmware())];
        assert_eq!(
            name(
                &nodes,
                &says(&[("serial", "s1"), ("uuid", "U-1"), ("mac", ONE)]),
                from(AT, ONE)
            ),
            Ok("a")
        );
        for query in [
            &[("serial", "s1")][..],
            &[("serial", "s2"), ("uuid", "u-1")],
            &[],
        ] {
            assert_eq!(
                name(&nodes, &says(query), from(AT, ONE)),
                Err(RefusalId::UnknownMachine),
                "{query:?}"
            );
        }
        let all = [("serial", "s1"), ("uuid", "u-1")];
        assert_eq!(
            name(&nodes, &says(&all), from(ELSEWHERE, ONE)),
            Err(RefusalId::WrongAddress),
            "only its address identifies it"
        );
    }

    #[test]
    fn a_node_without_facts_about_its_machine_is_identified_by_its_address() {
        let nodes = [
            node("a", 1, MachineMatch::default()),
            node("b", 2, by_mac(TWO)),
        ];
        assert_eq!(name(&nodes, &says(&[]), from(AT, ONE)), Ok("a"));
        assert_eq!(
            name(&nodes, &says(&[("mac", TWO)]), from(AT, TWO)),
            Ok("b"),
            "a node whose machine the recipe identifies takes precedence"
        );
        assert_eq!(
            name(&nodes, &says(&[]), from(ELSEWHERE, "")),
            Err(RefusalId::UnknownMachine)
        );
    }

    #[test]
    fn a_machine_can_name_only_a_limited_number_of_cards() {
        let macs: Vec<String> = (0..2700)
            .map(|n| format!("52:54:00:00:{:02x}:{:02x}", n / 256, n % 256))
            .collect();
        let machine = Machine::read(macs.iter().map(|mac| ("mac", mac.as_str())));
        assert_eq!(machine.macs.len(), MAX_CARDS);
    }

    proptest! {
        #[test]
        fn no_query_causes_a_panic(value in ".{0,60}") {
            let _ = says(&[("mac", &value), ("serial", &value), ("uuid", &value), (&value, &value)]);
        }
    }
}
