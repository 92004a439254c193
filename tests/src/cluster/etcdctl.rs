//! Runs etcdctl on a host.

use anyhow::{Context as _, Result};

use super::status::status;
use crate::host::Host;

/// Runs `etcdctl move-leader` with options instead of environment variables, because the command of
/// etcd 3.5 reads the variables twice. The first reading sets the options, and the second reading
/// reports that the variables conflict with the options.
const MOVE_LEADER: &str = ". /etc/profile.d/etcdctl.sh
with=\"--cacert=$ETCDCTL_CACERT --cert=$ETCDCTL_CERT --key=$ETCDCTL_KEY\"
unset ETCDCTL_CACERT ETCDCTL_CERT ETCDCTL_KEY ETCDCTL_ENDPOINTS
etcdctl --endpoints=https://127.0.0.1:2379 $with move-leader";

/// Runs etcdctl on a host as root would in a login shell, with the environment that the image
/// provides.
pub fn etcdctl(host: &Host, arguments: &str) -> Result<String> {
    let ran = host.sh(&format!(
        ". /etc/profile.d/etcdctl.sh && etcdctl {arguments}"
    ))?;
    ran.ok()
        .with_context(|| format!("etcdctl {arguments} on {}", host.name()))
}

/// Transfers the leadership to the host with the index `leader`, unless this host is already the
/// leader.
pub fn move_leadership(hosts: &[Host], leader: usize) -> Result<()> {
    let name = hosts[leader].name();
    let seen = status(&hosts[leader])?;
    let leads = |host: &&Host| {
        seen.iter()
            .any(|member| member.leader && member.name == host.name())
    };
    let now = hosts.iter().find(leads).context("no member leads")?;
    if now.name() == name {
        return Ok(());
    }
    let list = etcdctl(now, "member list")?;
    let line = list
        .lines()
        .find(|line| line.contains(&format!(" {name},")));
    let id = line
        .and_then(|line| line.split(',').next())
        .with_context(|| format!("{name} is not in {list}"))?;
    now.sh(&format!("{MOVE_LEADER} {id}"))?
        .ok()
        .with_context(|| format!("cannot transfer the leadership to {name}"))
        .map(drop)
}
