//! Plain etcd: a machine that is installed from the image and set up without firstboot, by the
//! guide's manual steps (docs/guide.md names the guide). This machine is the baseline for
//! firstboot's behaviour, and shows the faults that firstboot prevents.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;

use crate::cluster::Provisioning;
use crate::host::Host;
use crate::process;

/// Writes the files that the guide's steps create. The machine must be installed and off. `state`
/// is the initial cluster state, which is `new` or `existing`.
pub fn configure(provisioning: &Provisioning, host: &Host, state: &str) -> Result<()> {
    let (name, own) = (host.name(), host.address());
    for file in ["server.crt", "server.key", "peer.crt", "peer.key"] {
        let bytes = fs::read(provisioning.pki().join("nodes").join(name).join(file))?;
        host.write(&format!("/etc/etcd/tls/{file}"), bytes, 0o600)?;
    }
    host.write(
        "/etc/etcd/tls/ca.crt",
        fs::read(provisioning.pki().join("ca.crt"))?,
        0o644,
    )?;
    let members: Vec<String> = (1..=3)
        .map(|n| format!("etcd-{n}=https://10.101.15.{}:2380", 100 + n))
        .collect();
    let pairs = [
        ("NAME", name.to_owned()),
        ("DATA_DIR", "/var/lib/etcd/data".to_owned()),
        ("LISTEN_PEER_URLS", format!("https://{own}:2380")),
        (
            "LISTEN_CLIENT_URLS",
            format!("https://{own}:2379,https://127.0.0.1:2379"),
        ),
        ("INITIAL_ADVERTISE_PEER_URLS", format!("https://{own}:2380")),
        ("ADVERTISE_CLIENT_URLS", format!("https://{own}:2379")),
        ("INITIAL_CLUSTER", members.join(",")),
        ("INITIAL_CLUSTER_STATE", state.to_owned()),
        ("CERT_FILE", "/etc/etcd/tls/server.crt".to_owned()),
        ("KEY_FILE", "/etc/etcd/tls/server.key".to_owned()),
        ("TRUSTED_CA_FILE", "/etc/etcd/tls/ca.crt".to_owned()),
        ("CLIENT_CERT_AUTH", "true".to_owned()),
        ("PEER_CERT_FILE", "/etc/etcd/tls/peer.crt".to_owned()),
        ("PEER_KEY_FILE", "/etc/etcd/tls/peer.key".to_owned()),
        ("PEER_TRUSTED_CA_FILE", "/etc/etcd/tls/ca.crt".to_owned()),
        ("PEER_CLIENT_CERT_AUTH", "true".to_owned()),
    ];
    let conf: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("ETCD_{key}={value}\n"))
        .collect();
    host.write("/etc/etcd/etcd.conf", conf.concat(), 0o644)?;
    start_without_firstboot(host)?;
    // etcd could not make this folder, because tmpfiles.d makes root the owner of the volume's root
    // folder at each boot.
    fs::create_dir_all(host.path("/var/lib/etcd/data"))?;
    fs::set_permissions(
        host.path("/var/lib/etcd/data"),
        Permissions::from_mode(0o700),
    )?;
    let owned = [host.path("/etc/etcd/tls"), host.path("/var/lib/etcd")]
        .map(|path| path.display().to_string());
    process::check("chown", &["-R", "450:450", &owned[0], &owned[1]])?;
    Ok(())
}

/// Changes etcd's unit so that it starts etcd directly, and disables firstboot.
fn start_without_firstboot(host: &Host) -> Result<()> {
    let unit = host.read("/etc/systemd/system/etcd.service")?;
    let is_start = |line: &str| line.starts_with("ExecStart=");
    let unit = unit.lines().map(|line| {
        if is_start(line) {
            "ExecStart=/usr/local/bin/etcd"
        } else {
            line
        }
    });
    let unit: Vec<&str> = unit.filter(|line| !line.contains("/firstboot")).collect();
    host.write(
        "/etc/systemd/system/etcd.service",
        unit.join("\n").replace("firstboot.service", ""),
        0o644,
    )?;
    fs::remove_file(host.path("/etc/systemd/system/multi-user.target.wants/firstboot.service"))?;
    Ok(())
}
