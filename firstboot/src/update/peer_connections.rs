//! Finds members that cannot connect to this member's peer port, for example because of the
//! firewall in a new image. etcd does not report this fault, because the members can still exchange
//! messages over the connections that this member opened itself.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::{ClusterDocument, Label};

use crate::etcd::{Client, Credentials};
use crate::paths::PEER_PORT;

/// The kernel's list of IPv4 TCP connections.
const CONNECTIONS: &str = "/proc/net/tcp";
/// The kernel's number for the state ESTABLISHED (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
/// The time limit for a member's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns a running member that has no connection to this member's peer port, or `None` if there
/// is no such member. A running etcd keeps connections to the peer ports of all other members that
/// it can reach (etcd's rafthttp, streamReader).
pub(super) async fn missing<'a>(
    cluster: &'a ClusterDocument,
    node: &Label,
    credentials: &Credentials,
) -> Result<Option<&'a Label>> {
    let text = std::fs::read_to_string(CONNECTIONS)
        .with_context(|| format!("cannot read {CONNECTIONS}"))?;
    let connected = connected(&text);
    for member in &cluster.members {
        if member.name != *node
            && !connected.contains(&member.address)
            && is_running(&member.client_url(), credentials).await
        {
            return Ok(Some(&member.name));
        }
    }
    Ok(None)
}

async fn is_running(url: &str, credentials: &Credentials) -> bool {
    let ask = async { Client::connect(url, credentials).await?.healthy().await };
    matches!(tokio::time::timeout(ANSWER_TIMEOUT, ask).await, Ok(Ok(())))
}

/// Returns the remote addresses of the connections to this machine's peer port, from the text of
/// /proc/net/tcp. Each line has the local address, the remote address and the state in hexadecimal
/// (Documentation/networking/proc_net_tcp.rst).
fn connected(text: &str) -> BTreeSet<Ipv4Addr> {
    let remote = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (_, local_port) = words.next()?.split_once(':')?;
        let (address, _) = words.next()?.split_once(':')?;
        let state = words.next()?;
        let is_peer = u16::from_str_radix(local_port, 16).ok()? == PEER_PORT;
        // The kernel prints the address as a number in the machine's byte order.
        let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        (is_peer && state == ESTABLISHED).then(|| Ipv4Addr::from(address))
    };
    text.lines().filter_map(remote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_to_the_peer_port_count() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 650F650A:094C 00000000:0000 0A 00000000:00000000 00:00000000 00000000   450        0 1 1\n\
             1: 650F650A:094C 660F650A:C350 01 00000000:00000000 00:00000000 00000000   450        0 2 1\n\
             2: 650F650A:094C 670F650A:C351 06 00000000:00000000 00:00000000 00000000   450        0 3 1\n\
             3: 650F650A:C352 680F650A:094C 01 00000000:00000000 00:00000000 00000000   450        0 4 1\n\
             4: broken\n";
        let expected = BTreeSet::from([Ipv4Addr::new(10, 101, 15, 102)]);
        assert_eq!(connected(text), expected);
    }
}
