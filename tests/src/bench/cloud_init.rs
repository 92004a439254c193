//! Compares the CPU time of firstboot at the first boot with that of Debian's cloud-init, which
//! writes the same files from a NoCloud seed.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use super::firstboot::cost;
use super::identity::seconds;
use super::{median, spread};
use crate::cluster::{Provisioning, boot_all, wait_healthy};
use crate::host::Host;
use crate::network::Network;
use crate::{base, etcd, packages, programs};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
/// The drop-in that prints the CPU time of firstboot and of the programs that firstboot runs.
/// systemd starts etcd, so the CPU time of etcd is not included.
const MEASURE: &str = "[Service]\nNotifyAccess=all\nExecStart=\n\
    ExecStart=/bin/bash -c 'TIMEFORMAT=\"%%R %%U %%S\"; time /usr/local/bin/firstboot run'\n";
const DROP_IN: &str = "/etc/systemd/system/firstboot.service.d/measure.conf";
/// The stages of cloud-init in the order of its units.
const STAGES: &str = "cloud-init init --local && cloud-init init && \
    cloud-init modules --mode=config && cloud-init modules --mode=final";
const SEED: &str = "/var/lib/cloud/seed/nocloud";
/// The settings for both measurements of cloud-init. The seed is the only source. The settings turn
/// off work that firstboot does not do: cloud-init does not configure the network, and generates
/// neither SSH host keys nor a locale.
const SETTINGS: &str = "datasource_list: [ NoCloud ]\nnetwork: { config: disabled }\n\
    ssh_deletekeys: false\nssh_genkeytypes: []\nlocale: false\n";
/// Limits cloud-init to the work that firstboot also does.
const FEW: &str = "cloud_init_modules: [ write-files, set_hostname, update_etc_hosts ]\n\
    cloud_config_modules: []\ncloud_final_modules: []\n";

/// Files whose contents may differ from firstboot's files, because cloud-init also writes them in
/// its own format.
const KEPT: [&str; 2] = ["/etc/hostname", "/etc/hosts"];

/// A file that firstboot has written: its path, mode and content.
type Written = (String, String, String);

/// Measures both programs alternately, `runs` times each.
pub fn run(runs: usize) -> Result<String> {
    let layer = match packages::layer("cloud-init") {
        Ok(layer) => layer,
        Err(error) => {
            return Ok(format!(
                "skipped: there is no cloud-init to compare with: {error:#}\n"
            ));
        }
    };
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let mut hosts = NAMES
        .iter()
        .map(|name| provisioning.machine(name))
        .collect::<Result<Vec<Host>>>()?;
    let network = Network::new()?;
    let mut cloud = Host::new(&network, "cloud", &base::base()?)?;
    let mut used: [Vec<Duration>; 3] = Default::default();
    let mut files = Vec::new();
    for _ in 0..runs {
        let (times, written) = first_boot(&provisioning, &mut hosts)?;
        used[0].extend(times);
        files = written;
        for (times, settings) in used[1..].iter_mut().zip(["", FEW]) {
            cloud.wipe()?;
            cloud.use_layer(&layer)?;
            times.push(cloud_init(&mut cloud, &files, settings)?);
        }
    }
    let [ours, all, few] = &used;
    let ratio = |other: &[Duration]| {
        median(ours.clone()).as_secs_f64() / median(other.to_vec()).as_secs_f64()
    };
    Ok(format!(
        "CPU of the first boot, {} files, {runs} runs, alternating\n\
         firstboot on three nodes, with systemctl, without etcd   {}\n\
         cloud-init with Debian's modules                         {}\n\
         cloud-init with write-files and the host name only       {}\n\
         firstboot's CPU divided by cloud-init's: {:.3}; with write-files and the host name only: {:.3}\n",
        files.len(),
        spread(ours),
        spread(all),
        spread(few),
        ratio(all),
        ratio(few),
    ))
}

/// Boots three new nodes. Returns the CPU time of each firstboot, and the files that the first node
/// has written.
fn first_boot(
    provisioning: &Provisioning,
    hosts: &mut [Host],
) -> Result<(Vec<Duration>, Vec<Written>)> {
    for host in hosts.iter_mut() {
        host.wipe()?;
        provisioning.install(host)?;
        provisioning.give_document(host, host.name())?;
        host.write(DROP_IN, MEASURE, 0o644)?;
    }
    boot_all(hosts)?;
    let mut times = Vec::new();
    for host in hosts.iter() {
        wait_healthy(host, 3, Duration::from_secs(60))?;
        let ended = "systemctl show --property=MainPID firstboot | grep -qx MainPID=0";
        host.wait_for(ended, Duration::from_secs(60))?;
        let said = host.check(&[
            "journalctl",
            "--no-pager",
            "--output=cat",
            "-u",
            "firstboot",
        ])?;
        let is_time = |line: &&str| seconds(line).is_ok();
        let line = said
            .lines()
            .rfind(is_time)
            .context("firstboot was not measured")?;
        let [_, user, system] = seconds(line)?;
        times.push(user + system);
    }
    let files = written(&hosts[0])?;
    hosts.iter_mut().try_for_each(Host::cut_power)?;
    Ok((times, files))
}

/// Returns the files that firstboot has written according to its log.
fn written(host: &Host) -> Result<Vec<Written>> {
    let mut files: Vec<Written> = Vec::new();
    for line in host.journal("firstboot")?.lines() {
        let Some((path, mode)) = line
            .split_once(": write ")
            .and_then(|(_, what)| what.split_once(" ("))
        else {
            continue;
        };
        let mode = mode.get(..4).context("no mode")?;
        let content = fs::read(host.path(path)).with_context(|| path.to_owned())?;
        let content = base64::engine::general_purpose::STANDARD.encode(content);
        files.retain(|(known, ..)| known != path);
        files.push((path.to_owned(), mode.to_owned(), content));
    }
    ensure!(files.len() > 5, "firstboot wrote only {files:?}");
    Ok(files)
}

/// Returns the CPU time of cloud-init's stages on a new machine.
fn cloud_init(host: &mut Host, files: &[Written], settings: &str) -> Result<Duration> {
    let entry = |(path, mode, content): &Written| -> Value {
        json!({ "path": path, "permissions": mode, "encoding": "b64", "content": content })
    };
    let data: Value = json!({ "write_files": files.iter().map(entry).collect::<Vec<_>>() });
    let meta = "instance-id: etcd-1\nlocal-hostname: etcd-1\n";
    host.write(
        &format!("{SEED}/user-data"),
        format!("#cloud-config\n{data}\n"),
        0o600,
    )?;
    host.write(&format!("{SEED}/meta-data"), meta, 0o600)?;
    let own = format!("{SETTINGS}{settings}");
    host.write("/etc/cloud/cloud.cfg.d/99-bench.cfg", own, 0o644)?;
    // The units of cloud-init do not start at boot, because this function runs the stages itself.
    host.write("/etc/cloud/cloud-init.disabled", "", 0o644)?;
    host.start()?;
    let (time, _) = cost(&mut host.command(&["sh", "-c", STAGES])?)?;
    for (path, _, content) in files {
        let found = fs::read(host.path(path)).with_context(|| path.clone())?;
        let found = base64::engine::general_purpose::STANDARD.encode(found);
        ensure!(
            found == *content || KEPT.contains(&path.as_str()),
            "cloud-init wrote a different {path}"
        );
    }
    host.cut_power()?;
    Ok(time)
}
