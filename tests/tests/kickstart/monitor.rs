//! Tests that only a finished installation restarts the machine. The installer's systemd is real in
//! these tests. anaconda is a script that ends at each of the stages at which the real anaconda can
//! end.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::base;
use tests::harness::{long, trial};
use tests::host::{Host, OffReason};
use tests::installer::{Hardware, Kind};
use tests::network::Network;
use tests::programs;
use tests::requirement::Requirement;
use tests::vm::{self, Vm};

use crate::planned::Planned;

const HOST: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Nspawn,
    Requirement::Network,
];
const VM: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Xfs,
    Requirement::Qemu,
    Requirement::Apt,
];
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(240);

const ANACONDA: &str = include_str!("anaconda.sh");
const UNIT: &str = "[Unit]\nDescription=Stands for anaconda\n\n[Service]\nExecStart=/bin/bash /ks/anaconda.sh\n\
                    [Install]\nWantedBy=multi-user.target\n";
/// A unit that stands for NetworkManager. If systemd stops this unit before the monitor, the
/// monitor cannot send its report.
const NETWORK: &str = "[Unit]\nDescription=Stands for NetworkManager\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
                       ExecStart=/bin/true\nExecStop=/bin/touch /run/network-is-gone\n\
                       [Install]\nWantedBy=multi-user.target\n";
/// A stand-in for curl. This stand-in returns metadata for each mirror, and records reports as a
/// server would. No test reads the content of the metadata.
const CURL: &str = include_str!("curl.sh");
const CMDLINE: &str = "initrd=initrd.img etcd-image.report=http://10.0.0.1/report/token";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_machine_restarts_only_after_a_finished_installation",
            HOST,
            hosts,
        ),
        // This trial runs the same test under a separate kernel, which takes minutes without KVM.
        long(
            "a_virtual_machine_restarts_only_after_a_finished_installation",
            VM,
            machines,
        ),
    ]
}

/// The stages at which an installation can end. Each entry contains the stage, whether the machine
/// then switches off or restarts, the text on the consoles, and the reports.
const STAGES: [(&str, OffReason, &str, &[&str]); 8] = [
    (
        "unmonitored",
        OffReason::PoweredOff,
        "INSTALLATION FAILED. %pre could not start its monitor",
        &[],
    ),
    (
        "pre",
        OffReason::PoweredOff,
        "INSTALLATION FAILED. %pre failed: no disk for the node",
        &["started", "failed %pre failed: no disk for the node"],
    ),
    (
        "parse",
        OffReason::PoweredOff,
        ENDED,
        &["started", "installing", "failed anaconda ended before"],
    ),
    (
        "killed",
        OffReason::PoweredOff,
        ENDED,
        &["started", "installing", "failed anaconda ended before"],
    ),
    (
        "storage",
        OffReason::PoweredOff,
        "etcd-image: 03:00:00,000 ERR anaconda: CmdlineError",
        &[
            "started",
            "installing",
            "failed anaconda ended before the installation was finished: 03:00:00,000 ERR anaconda: CmdlineError",
        ],
    ),
    (
        "post",
        OffReason::PoweredOff,
        "INSTALLATION FAILED. %post (fetch the overlay) failed: no server for the overlay",
        &[
            "started",
            "installing",
            "failed %post (fetch the overlay) failed: no server for the overlay",
        ],
    ),
    (
        "finished",
        OffReason::Rebooted,
        "installed; the machine restarts",
        &["started", "installing", "installed"],
    ),
    (
        "crashed-at-last",
        OffReason::Rebooted,
        "installed; the machine restarts",
        &["started", "installing", "installed"],
    ),
];
const ENDED: &str = "INSTALLATION FAILED. anaconda ended before the installation was finished";

/// Adds the folder `ks`, and the units for anaconda and the network, to an installer's root. The
/// folder contains the scripts of the single-node recipe's kickstart, and the stand-ins for
/// anaconda and curl.
fn lay_out(root: &Path, stage: &str) -> Result<()> {
    let work = tempfile::tempdir()?;
    let planned = Planned::new(
        work.path(),
        "planned",
        &programs::recipe("single-node"),
        "bed0",
    )?
    .context("the recipe is refused")?;
    let (ks, scripts) = (root.join("ks"), planned.scripts()?);
    fs::create_dir_all(ks.join("bin"))?;
    let of = |kind: Kind| {
        scripts
            .iter()
            .filter(move |(of, _)| *of == kind)
            .map(|(_, script)| script)
    };
    let post: Vec<&String> = of(Kind::Post).collect();
    let last = post.last().context("no %post")?;
    fs::write(ks.join("pre"), of(Kind::Pre).next().context("no %pre")?)?;
    fs::write(ks.join("fetch"), post.first().context("no %post")?)?;
    fs::write(ks.join("last"), last)?;
    let digest = last
        .split_once("!= ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .context("the kickstart contains no digest")?;
    fs::write(ks.join("digest"), digest)?;
    let end = planned
        .kickstart
        .lines()
        .find(|line| ["poweroff", "reboot"].contains(line))
        .context("no last command")?;
    fs::write(ks.join("end"), end)?;
    fs::write(ks.join("stage"), stage)?;
    let hardware = if stage == "pre" {
        Hardware::with([])
    } else {
        Hardware::default()
    };
    hardware.lay_out(&ks.join("hardware"))?;
    fs::write(ks.join("cmdline"), format!("{CMDLINE}\n"))?;
    write_program(&ks.join("bin/curl"), CURL)?;
    write_program(&root.join("usr/local/bin/curl"), CURL)?;
    write_program(&ks.join("anaconda.sh"), ANACONDA)?;
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    for (name, unit) in [
        ("anaconda.service", UNIT),
        ("NetworkManager.service", NETWORK),
    ] {
        fs::write(units.join(name), unit)?;
        std::os::unix::fs::symlink(
            format!("../{name}"),
            units.join("multi-user.target.wants").join(name),
        )?;
    }
    Ok(())
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn hosts() -> Result<()> {
    let network = Network::new()?;
    for (number, (stage, ends, says, reports)) in STAGES.into_iter().enumerate() {
        let mut host = Host::new(&network, &format!("installer-{number}"), &base::base()?)?;
        lay_out(&host.root(), stage)?;
        host.boot()?;
        let off = host
            .wait_off(POWER_OFF_TIMEOUT)
            .with_context(|| stage.to_owned())?;
        ensure!(off == ends, "{stage}: {off:?}\n{}", host.console());
        ensure!(
            host.console().contains(says),
            "{stage}: the console does not show {says}:\n{}",
            host.console()
        );
        let issue = host.read("/mnt/sysimage/etc/issue").unwrap_or_default();
        let monitored = stage != "unmonitored" && ends == OffReason::PoweredOff;
        ensure!(
            issue.contains("This is not an etcd node") == monitored,
            "{stage}: {issue}"
        );
        let reported = host.read("/ks/reports").unwrap_or_default();
        let same = reported.lines().count() == reports.len()
            && reported
                .lines()
                .zip(reports)
                .all(|(line, start)| line.starts_with(start));
        ensure!(same, "{stage} is reported as\n{reported}{}", host.console());
    }
    // An operator presses the power button or Ctrl-Alt-Del while anaconda is running.
    for (number, asked) in ["poweroff", "reboot"].into_iter().enumerate() {
        let mut host = Host::new(&network, &format!("pressed-{number}"), &base::base()?)?;
        lay_out(&host.root(), "hangs")?;
        host.boot()?;
        host.wait_for(
            "systemctl is-active --quiet etcd-image-monitor.service",
            POWER_OFF_TIMEOUT,
        )?;
        host.run(&["systemctl", "--no-block", asked])?;
        let off = host
            .wait_off(POWER_OFF_TIMEOUT)
            .with_context(|| asked.to_owned())?;
        ensure!(
            off == OffReason::PoweredOff,
            "{asked} during the installation: {off:?}\n{}",
            host.console()
        );
        ensure!(
            host.console().contains("INSTALLATION FAILED"),
            "{}",
            host.console()
        );
    }
    Ok(())
}

fn machines() -> Result<()> {
    let base = base::base()?;
    for (stage, ends, says, _) in STAGES
        .into_iter()
        .filter(|(stage, ..)| ["killed", "storage", "finished"].contains(stage))
    {
        let vm = Vm::new(&base, 2 << 30, |root| {
            fs::copy(vm::busybox()?, root.join("usr/local/bin/busybox"))?;
            lay_out(root, stage)
        })?;
        vm.run(
            "",
            (Ipv4Addr::new(10, 101, 15, 101), "52:54:00:00:00:65"),
            Duration::from_secs(600),
        )
        .with_context(|| stage.to_owned())?;
        let console = vm.console();
        // The last message that the kernel prints (kernel/reboot.c).
        let last = if ends == OffReason::Rebooted {
            "reboot: Restarting system"
        } else {
            "reboot: Power down"
        };
        ensure!(
            console.contains(last) && console.contains(says),
            "{stage}:\n{console}"
        );
    }
    Ok(())
}
