//! Defines a network interface with a static address, and configures it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use crate::files::DesiredFile;
use crate::system_command::run;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
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
        lines.extend(self.gateway.map(|gateway| format!("GATEWAY={gateway}")));
        lines.extend(
            self.dns
                .iter()
                .enumerate()
                .map(|(i, dns)| format!("DNS{}={dns}", i + 1)),
        );
        lines.join("\n") + "\n"
    }

    /// Writes the ifcfg file for later boots, and configures the interface immediately.
    pub(crate) fn bring_up(&self) -> Result<()> {
        let folder = Path::new("/etc/sysconfig/network-scripts");
        crate::files::DesiredDir::new(folder, 0o755, crate::files::ROOT).make()?;
        let path = folder.join(format!("ifcfg-{}", self.name));
        DesiredFile::new(&path, self.ifcfg()).write()?;
        if Path::new("/usr/bin/nmcli").exists() {
            run(
                "nmcli",
                &["connection", "load", &path.display().to_string()],
            )?;
            return run("nmcli", &["connection", "up", "ifname", &self.name]);
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

    #[test]
    fn an_interface_is_written_in_the_format_of_initscripts() {
        let interface = Interface {
            name: "eth0".into(),
            address: "10.101.15.101".parse().unwrap(),
            prefix: 24,
            gateway: "10.101.15.1".parse().ok(),
            dns: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
        };
        let text = interface.ifcfg();
        for line in [
            "DEVICE=eth0",
            "IPADDR=10.101.15.101",
            "PREFIX=24",
            "GATEWAY=10.101.15.1",
            "DNS2=10.0.0.2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
