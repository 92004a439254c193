//! Checks the source address with which the kernel reaches the other members. By default, etcd does
//! not choose this address. A peer refuses a connection from an address that is not in the
//! certificate (client/pkg/transport/listener_tls.go, checkCertSAN; etcd-io/etcd#8268). The peer
//! closes the connection without an answer, so the log of this node's etcd does not contain the
//! reason.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use recipes::{ClusterDocument, Label};

use crate::paths::PEER_PORT;
use crate::reason::{Reason, ReasonId};

/// Returns the reason why other members refuse this node, if the route to them uses a source
/// address other than the node's own address.
pub(crate) fn wrong_source(cluster: &ClusterDocument, name: &Label) -> Option<Reason> {
    let own = cluster.member(name)?.address;
    let others = cluster.members.iter().filter(|member| member.name != *name);
    let used: Vec<(&str, Ipv4Addr)> = others
        .filter_map(|member| Some((member.name.as_str(), towards(member.address)?)))
        .collect();
    find_wrong_source(own, &used)
}

/// Returns the source address that the kernel uses to reach another address, or `None` if there is
/// no route. The caller need not report a missing route, because every attempt to connect reports
/// it. Connecting a UDP socket does not send any packets.
fn towards(other: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((other, PEER_PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(used) => Some(used),
        IpAddr::V6(_) => None,
    }
}

fn find_wrong_source(own: Ipv4Addr, used: &[(&str, Ipv4Addr)]) -> Option<Reason> {
    let (_, wrong) = used.iter().find(|(_, used)| *used != own)?;
    let names: Vec<&str> = used
        .iter()
        .filter(|(_, used)| used == wrong)
        .map(|(name, _)| *name)
        .collect();
    Some(ReasonId::WrongSourceAddress.because(format!(
        "this node reaches {} from the address {wrong} instead of its own address {own}, so those \
         members refuse the connections of its etcd. Correct the route: `ip route get ADDRESS` \
         must show `src {own}`",
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_with_another_source_address_is_reported() {
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let other = Ipv4Addr::new(192, 168, 1, 9);
        assert_eq!(find_wrong_source(own, &[("b", own), ("c", own)]), None);
        let why = find_wrong_source(own, &[("b", other), ("c", other), ("d", own)])
            .unwrap()
            .text;
        assert!(
            why.starts_with("this node reaches b, c from the address 192.168.1.9"),
            "{why}"
        );
        assert!(why.contains("`src 10.0.0.1`"), "{why}");
    }

    #[test]
    fn the_kernel_reports_the_source_address() {
        assert_eq!(towards(Ipv4Addr::LOCALHOST), Some(Ipv4Addr::LOCALHOST));
    }
}
