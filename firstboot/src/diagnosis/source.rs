//! From which address the kernel would reach the other members. etcd cannot choose it, and a peer refuses a connection from
//! an address that the certificate does not have (client/pkg/transport/listener_tls.go, checkCertSAN; etcd-io/etcd#8268). The
//! peer closes it without an answer, so nothing but this tells why.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use recipes::{ClusterDocument, Label};

use crate::paths::PEER_PORT;

/// Why other members refuse this node, where its route to them has another source address than its own.
pub(crate) fn wrong_source(cluster: &ClusterDocument, name: &Label) -> Option<String> {
    let own = cluster.member(name)?.address;
    let others = cluster.members.iter().filter(|member| member.name != *name);
    let used: Vec<(&str, Ipv4Addr)> =
        others.filter_map(|member| Some((member.name.as_str(), towards(member.address)?))).collect();
    tell(own, &used)
}

/// The address that the kernel takes for a connection to another. Connecting a UDP socket sends nothing. `None`: there is no
/// route, which every connection says itself.
fn towards(other: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((other, PEER_PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(used) => Some(used),
        IpAddr::V6(_) => None,
    }
}

fn tell(own: Ipv4Addr, used: &[(&str, Ipv4Addr)]) -> Option<String> {
    let (_, wrong) = used.iter().find(|(_, used)| *used != own)?;
    let names: Vec<&str> = used.iter().filter(|(_, used)| used == wrong).map(|(name, _)| *name).collect();
    Some(format!(
        "this node reaches {} from the address {wrong} and not from its own, {own}, so they refuse the connections of its etcd. Correct the route: \
         `ip route get ADDRESS` must show `src {own}` [wrong-source-address]",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_from_another_address_is_told() {
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let other = Ipv4Addr::new(192, 168, 1, 9);
        assert_eq!(tell(own, &[("b", own), ("c", own)]), None);
        let told = tell(own, &[("b", other), ("c", other), ("d", own)]).unwrap();
        assert!(told.starts_with("this node reaches b, c from the address 192.168.1.9"), "{told}");
        assert!(told.contains("`src 10.0.0.1`"), "{told}");
    }

    #[test]
    fn the_kernel_says_which_address_it_takes() {
        assert_eq!(towards(Ipv4Addr::LOCALHOST), Some(Ipv4Addr::LOCALHOST));
    }
}
