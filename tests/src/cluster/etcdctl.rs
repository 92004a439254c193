//! Runs etcdctl on a host.

use anyhow::{Context as _, Result};

use super::status::status;
use crate::host::Host;

/// Transfers the leadership, with options instead of environment variables. If the variables were
/// set, `etcdctl move-leader` of 3.5 would read them twice, and report a conflict with the values
/// that it has set itself.
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

/// Transfers the leadership to one of these hosts, unless it is already the leader.
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
