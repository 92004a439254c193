//! Makes a host seem far away by delaying every frame to and from it. A program forwards the
//! frames, because not every kernel on which the tests run has netem.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::namespace::{Namespace, ip};
use crate::process::{self, KillOnDrop};
use crate::run;

const CARRIER: &str = include_str!("wire.py");
const CARRIER_START_TIMEOUT: Duration = Duration::from_secs(30);

/// The slow path to one host: a bridge behind the program that delays frames. The host's cable is
/// connected to that bridge instead of the network's bridge.
#[derive(Debug)]
pub(super) struct SlowLink {
    pub(super) host: String,
    bridge: String,
    _carrier: KillOnDrop,
}

impl SlowLink {
    /// Builds the path, and connects the host's cable to the far end of the path.
    pub(super) fn lay(world: &Namespace, host: &str, delay: Duration) -> Result<Self> {
        // The name of an interface has at most 15 characters.
        let [bridge, near, far] = ["b", "n", "f"].map(|end| format!("{end}-{host}"));
        let folder = run::current()?.folder("wire")?;
        let (script, log) = (folder.join("wire.py"), folder.join("log"));
        std::fs::write(&script, CARRIER)?;
        let mut command = world.command("python3");
        command
            .arg(&script)
            .args([&near, &far])
            .arg(delay.as_millis().to_string());
        let mut carrier = KillOnDrop::spawn(&command, &File::create(&log)?)?;
        let end = Instant::now() + CARRIER_START_TIMEOUT;
        while process::check("ip", &["-n", world.name(), "link", "show", &far]).is_err() {
            if carrier.ended()?.is_some() || Instant::now() >= end {
                bail!(
                    "cannot make the slow link to {host}: {}",
                    std::fs::read_to_string(&log)?
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let on = |device: &str, bridge: &str| {
            ip(&[
                "-n",
                world.name(),
                "link",
                "set",
                device,
                "master",
                bridge,
                "up",
            ])
        };
        ip(&[
            "-n",
            world.name(),
            "link",
            "add",
            &bridge,
            "type",
            "bridge",
            "forward_delay",
            "0",
        ])?;
        ip(&["-n", world.name(), "link", "set", &bridge, "up"])?;
        on(&near, "br0")?;
        on(&far, &bridge)?;
        on(host, &bridge)?;
        Ok(Self {
            host: host.to_owned(),
            bridge,
            _carrier: carrier,
        })
    }

    /// Reconnects the host's cable to the network's bridge, and removes the slow path.
    pub(super) fn take_up(self, world: &Namespace) -> Result<()> {
        ip(&[
            "-n",
            world.name(),
            "link",
            "set",
            &self.host,
            "master",
            "br0",
            "up",
        ])?;
        ip(&["-n", world.name(), "link", "delete", &self.bridge])
    }
}
