//! Defines a network interface with a static address, and configures it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::files::DesiredFile;
use crate::system_command::run;

/// The folder of the ifcfg files.
const FOLDER: &str = "/etc/sysconfig/network-scripts";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// The UUID in the existing ifcfg file. If the UUID changed, NetworkManager would replace the
    /// connection, and deactivate it (NetworkManager 1.18, nms-ifcfg-rh-plugin.c,
    /// `update_connection`; nm-policy.c, `connection_removed`).
    pub(crate) uuid: Option<String>,
    /// Whether the interface already has the address.
    pub(crate) has_address: bool,
}

impl Interface {
    /// Returns the ifcfg file, in the format of initscripts and of NetworkManager's ifcfg-rh
    /// plugin.
    fn ifcfg(&self) -> String {
        let mut lines = vec![
            "# Written by firstboot from the node document.".to_owned(),
            "TYPE=Ethernet".to_owned(),
            format!("DEVICE={}", self.name),
            format!("NAME={}", self.name),
            "ONBOOT=yes".to_owned(),
            "BOOTPROTO=none".to_owned(),
            format!("IPADDR={}", self.address),
            format!("PREFIX={}", self.prefix),
            "IPV6INIT=no".to_owned(),
        ];
        lines.extend(self.uuid.iter().map(|uuid| format!("UUID={uuid}")));
        lines.extend(self.gateway.map(|gateway| format!("GATEWAY={gateway}")));
        lines.extend(
            self.dns
                .iter()
                .enumerate()
                .map(|(i, dns)| format!("DNS{}={dns}", i + 1)),
        );
        lines.join("\n") + "\n"
    }

    /// Returns the path of the ifcfg file of the interface with this name.
    pub(crate) fn ifcfg_path(name: &str) -> PathBuf {
        Path::new(FOLDER).join(format!("ifcfg-{name}"))
    }

    fn file(&self) -> DesiredFile {
        DesiredFile::new(Self::ifcfg_path(&self.name), self.ifcfg())
    }

    /// Returns whether the ifcfg file has exactly these settings.
    pub(crate) fn is_written(&self) -> Result<bool> {
        self.file().is_current()
    }

    /// Returns the arguments of each call of nmcli. A connection that already has the address is
    /// not activated again, because an activation interrupts it. NetworkManager uses the new
    /// settings at the next activation of the connection, at the latest at the next boot.
    fn nmcli_calls(&self) -> Vec<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let path = self.file().path.display().to_string();
        let mut calls = vec![words(&["connection", "load", &path])];
        if !self.has_address {
            calls.push(words(&["connection", "up", "ifname", &self.name]));
        }
        calls
    }

    /// Writes the ifcfg file for later boots. If the interface does not have the address, also
    /// configures the interface immediately.
    pub(crate) fn bring_up(&self) -> Result<()> {
        crate::files::DesiredDir::new(FOLDER, 0o755, crate::files::ROOT).make()?;
        self.file().write()?;
        if Path::new("/usr/bin/nmcli").exists() {
            for call in self.nmcli_calls() {
                run(
                    "nmcli",
                    &call.iter().map(String::as_str).collect::<Vec<_>>(),
                )?;
            }
            return Ok(());
        }
        if self.has_address {
            return Ok(());
        }
        let address = format!("{}/{}", self.address, self.prefix);
        run("ip", &["address", "replace", &address, "dev", &self.name])?;
        run("ip", &["link", "set", &self.name, "up"])?;
        match self.gateway {
            Some(gateway) => run(
                "ip",
                &["route", "replace", "default", "via", &gateway.to_string()],
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(has_address: bool) -> Interface {
        Interface {
            name: "eth0".into(),
            address: "10.101.15.101".parse().unwrap(),
            prefix: 24,
            gateway: "10.101.15.1".parse().ok(),
            dns: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            uuid: Some("5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03".into()),
            has_address,
        }
    }

    #[test]
    fn an_interface_is_written_in_the_format_of_initscripts() {
        let text = interface(false).ifcfg();
        for line in [
            "DEVICE=eth0",
            "IPADDR=10.101.15.101",
            "PREFIX=24",
            "GATEWAY=10.101.15.1",
            "DNS2=10.0.0.2",
            "UUID=5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_connection_that_has_the_address_is_not_interrupted() {
        let load = [
            "connection",
            "load",
            "/etc/sysconfig/network-scripts/ifcfg-eth0",
        ];
        assert_eq!(interface(true).nmcli_calls(), [load.to_vec()]);
        let up = ["connection", "up", "ifname", "eth0"];
        assert_eq!(interface(false).nmcli_calls(), [load.to_vec(), up.to_vec()]);
    }
}
