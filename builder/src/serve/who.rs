//! Which node a machine is, as a pure function: from what it says of itself and where it asks from.

use std::net::Ipv4Addr;

use recipes::{FirmwareId, Mac, NodeDocument};

/// What a machine says of itself; what it does not say is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Its network cards.
    pub(super) macs: Vec<Mac>,
    /// SMBIOS type 1, serial number.
    pub(super) serial: Option<FirmwareId>,
    /// SMBIOS type 1, UUID.
    pub(super) uuid: Option<FirmwareId>,
}

/// Where it asks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: Ipv4Addr,
    /// The card that has this address, where it is on a network of this host's own.
    pub(super) card: Option<Mac>,
}

/// Why a machine gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum No {
    /// It is none of these nodes.
    Unknown(String),
    /// It says that it is one, and is not where that one is.
    Refused(String),
}

impl Machine {
    /// From the parameters of a query; `mac` may come several times. What is no such thing is not there: firmware says odd
    /// things of itself, and iPXE leaves empty what it does not know.
    pub(super) fn read<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut machine = Self::default();
        for (key, value) in query {
            match key {
                "mac" => machine.macs.extend(value.parse::<Mac>().ok()),
                "serial" => machine.serial = value.parse().ok(),
                "uuid" => machine.uuid = value.parse().ok(),
                _ => {}
            }
        }
        machine
    }

    fn fits(&self, node: &NodeDocument) -> bool {
        let wanted = &node.machine;
        let same = |wanted: &Option<FirmwareId>, found: &Option<FirmwareId>| wanted.is_none() || wanted == found;
        wanted.mac.is_none_or(|mac| self.macs.contains(&mac))
            && same(&wanted.serial, &self.serial)
            && same(&wanted.uuid, &self.uuid)
    }
}

/// The node that a machine is.
///
/// What it says of itself anybody can say. What a network of this host's own says of it, nobody there can without being
/// noticed: the card that has its address must be the node's. Elsewhere it must have the node's address. A node that names no
/// machine is known by its address alone, as on the node itself.
pub(super) fn who<'a>(nodes: &'a [NodeDocument], machine: &Machine, source: Source) -> Result<&'a NodeDocument, No> {
    let (named, unnamed): (Vec<&NodeDocument>, Vec<&NodeDocument>) =
        nodes.iter().partition(|node| !node.machine.is_empty());
    let named = named.into_iter().find(|node| machine.fits(node));
    let Some(node) = named.or_else(|| unnamed.into_iter().find(|node| node.address == source.address)) else {
        return Err(No::Unknown(format!("no node of this cluster is {}", describe(machine))));
    };
    let (name, address) = (&node.name, source.address);
    match (source.card, node.machine.mac) {
        (Some(card), Some(mac)) if card != mac => Err(No::Refused(format!(
            "it says that it is {name}, whose card is {mac}, and {address} is at {card}. The recipe's `mac` must be of the card \
             by which the node reaches this server"
        ))),
        (Some(_), Some(_)) => Ok(node),
        _ if node.address == address => Ok(node),
        _ => Err(No::Refused(format!(
            "it says that it is {name}, whose address is {}, and asks from {address}",
            node.address
        ))),
    }
}

/// A machine in words.
pub(super) fn describe(machine: &Machine) -> String {
    let macs = machine.macs.iter().map(|mac| format!("mac {mac}"));
    let serial = machine.serial.iter().map(|serial| format!("serial {serial}"));
    let uuid = machine.uuid.iter().map(|uuid| format!("uuid {uuid}"));
    let all: Vec<String> = macs.chain(serial).chain(uuid).collect();
    if all.is_empty() {
        "a machine that says nothing of itself".to_owned()
    } else {
        format!("a machine with {}", all.join(", "))
    }
}

/// The card that has an address, by the kernel's table of neighbours (proc(5), /proc/net/arp).
pub(super) fn card(table: &str, address: Ipv4Addr) -> Option<Mac> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [found, _kind, flags, mac, ..] = fields[..] else { return None };
        // ATF_COM: an answer came.
        let complete = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()? & 2 != 0;
        (complete && found.parse() == Ok(address)).then(|| mac.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use recipes::MachineMatch;
    use recipes::node::{KeyPair, NodeTls};

    use super::*;

    const ONE: &str = "52:54:00:00:00:01";
    const TWO: &str = "52:54:00:00:00:02";
    const AT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

    fn node(name: &str, last: u8, machine: MachineMatch) -> NodeDocument {
        let pair = || KeyPair { cert: String::new(), key: String::new() };
        let tls = NodeTls { ca: String::new(), server: pair(), peer: pair(), client: pair() };
        let address = Ipv4Addr::new(10, 0, 0, last);
        NodeDocument { cluster: "c".parse().unwrap(), name: name.parse().unwrap(), address, machine, tls, before: None }
    }

    fn by_mac(mac: &str) -> MachineMatch {
        MachineMatch { mac: mac.parse().ok(), ..MachineMatch::default() }
    }

    fn says(query: &[(&str, &str)]) -> Machine {
        Machine::read(query.iter().copied())
    }

    fn from(address: Ipv4Addr, card: &str) -> Source {
        Source { address, card: card.parse().ok() }
    }

    fn name<'a>(nodes: &'a [NodeDocument], machine: &Machine, source: Source) -> Result<&'a str, No> {
        who(nodes, machine, source).map(|node| node.name.as_str())
    }

    #[test]
    fn a_machine_on_this_network_is_known_by_its_card_whatever_its_address() {
        let nodes = [node("a", 1, by_mac(ONE)), node("b", 2, by_mac(TWO))];
        assert_eq!(name(&nodes, &says(&[("mac", TWO), ("mac", ONE)]), from(ELSEWHERE, ONE)), Ok("a"));
        let no = name(&nodes, &says(&[("mac", ONE)]), from(AT, TWO)).unwrap_err();
        assert!(matches!(&no, No::Refused(why) if why.contains(ONE) && why.contains(TWO)), "{no:?}");
        let no = name(&nodes, &says(&[("mac", "52:54:00:00:00:09")]), from(AT, ONE)).unwrap_err();
        assert!(matches!(&no, No::Unknown(why) if why.contains("00:09")), "{no:?}");
    }

    #[test]
    fn a_machine_behind_a_router_is_known_by_its_address_too() {
        let nodes = [node("a", 1, by_mac(ONE))];
        assert_eq!(name(&nodes, &says(&[("mac", ONE)]), from(AT, "")), Ok("a"));
        let no = name(&nodes, &says(&[("mac", ONE)]), from(ELSEWHERE, "")).unwrap_err();
        assert!(matches!(&no, No::Refused(why) if why.contains("10.0.0.99")), "{no:?}");
    }

    #[test]
    fn all_that_the_recipe_names_must_fit() {
        let machine = MachineMatch { serial: "S1".parse().ok(), uuid: "u-1".parse().ok(), mac: None };
        let nodes = [node("a", 1, machine)];
        assert_eq!(name(&nodes, &says(&[("serial", "s1"), ("uuid", "U-1"), ("mac", ONE)]), from(AT, ONE)), Ok("a"));
        for query in [&[("serial", "s1")][..], &[("serial", "s2"), ("uuid", "u-1")], &[]] {
            assert!(matches!(name(&nodes, &says(query), from(AT, ONE)), Err(No::Unknown(_))), "{query:?}");
        }
        let all = [("serial", "s1"), ("uuid", "u-1")];
        assert!(
            matches!(name(&nodes, &says(&all), from(ELSEWHERE, ONE)), Err(No::Refused(_))),
            "only its address tells"
        );
    }

    #[test]
    fn a_node_that_names_no_machine_is_known_by_its_address() {
        let nodes = [node("a", 1, MachineMatch::default()), node("b", 2, by_mac(TWO))];
        assert_eq!(name(&nodes, &says(&[]), from(AT, ONE)), Ok("a"));
        assert_eq!(name(&nodes, &says(&[("mac", TWO)]), from(AT, TWO)), Ok("b"), "what is named goes first");
        assert!(matches!(name(&nodes, &says(&[]), from(ELSEWHERE, "")), Err(No::Unknown(_))));
    }

    #[test]
    fn the_card_is_read_from_the_kernels_table() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.1         0x1         0x2         52:54:00:00:00:01     *        br0\n\
                     10.0.0.2         0x1         0x0         00:00:00:00:00:00     *        br0\n";
        assert_eq!(card(table, AT), ONE.parse().ok());
        assert_eq!(card(table, Ipv4Addr::new(10, 0, 0, 2)), None, "nobody answered");
        assert_eq!(card(table, ELSEWHERE), None);
    }

    proptest! {
        #[test]
        fn no_table_and_no_query_is_too_odd(text in "[ -~\n]{0,200}", value in ".{0,60}") {
            let _ = card(&text, AT);
            let _ = says(&[("mac", &value), ("serial", &value), ("uuid", &value), (&value, &value)]);
        }
    }
}
