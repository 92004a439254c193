//! Carries out an installation on the machine that runs this program. The machine is a virtual
//! machine whose disk may be erased.
//!
//! The model of anaconda makes the decisions, as in [`super::Installer`]. Unlike
//! [`super::Installer`], this module partitions the disk, installs the packages, runs the scripts
//! under the installer's own systemd, and shuts the machine down.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::anaconda::{self, Data, Failure};
use super::fetch::{Machine, fetch_with};
use super::hardware::{Disk, Hardware, Quirk};
use super::include::included;
use super::kickstart::{Kickstart, Kind, Section};
use super::yum::Yum;
use super::{copies, execute, log, storage};
use crate::process;

/// The new system.
const TARGET: &str = "/mnt/sysimage";
const PACKAGES: &str = "/run/packages";

/// The message that the installer prints before it installs the packages.
pub const UNPACKING: &str = "anaconda: installing the packages";

/// Installs this machine with the kickstart that its kernel command line names, and then shuts the
/// machine down as anaconda does. The kickstart's own unit decides whether the machine restarts.
pub fn install_this_machine() -> Result<()> {
    let ended = steps();
    let end = match ended? {
        Ok(()) => "finished".to_owned(),
        Err(Failure::Early(reason)) => {
            // The machine stays on until the kickstart's monitor detects that this process has
            // ended.
            log::write(Path::new("/"), "anaconda.log", &reason)?;
            bail!("anaconda ends before it has registered its exit handler: {reason}");
        }
        Err(Failure::Late(reason)) => {
            log::write(Path::new("/"), "anaconda.log", &reason)?;
            reason
        }
    };
    println!("anaconda: {end}");
    process::check("systemctl", &["--no-wall", "--no-block", "poweroff"]).map(drop)
}

/// Runs anaconda's steps in order. The inner error is the failure that ends anaconda.
fn steps() -> Result<Result<(), Failure>> {
    macro_rules! go_on {
        ($step:expr) => {
            match $step {
                Ok(value) => value,
                Err(stop) => return Ok(Err(stop)),
            }
        };
    }
    let early = |error: anyhow::Error| Failure::Early(format!("{error:#}"));
    let root = Path::new("/");
    let words = fs::read_to_string("/proc/cmdline")?;
    let hardware = this_hardware()?;
    let text = fetch_with(&words, &Machine::default(), &|| Command::new("curl"))?;
    let first = Kickstart::parse(&text, &|file| Ok(included(root, file).ok()));
    let mut number = 0;
    go_on!(scripts(
        &go_on!(first.map_err(early)),
        Kind::Pre,
        &mut number
    )?);
    let kickstart = Kickstart::parse(&text, &|file| included(root, file).map(Some));
    let kickstart = go_on!(kickstart.map_err(early));
    let data = go_on!(Data::read(&kickstart, &hardware));
    let plan = go_on!(anaconda::plan(&kickstart, &hardware, &words));
    let yum = Yum {
        namespace: None,
        root,
    };
    let available = go_on!(yum.gather(&data)?.map_err(Failure::Late));
    go_on!(available.select(&plan.software).map_err(Failure::Late));
    let target = Path::new(TARGET);
    let mounted = storage::make(&plan, target)?;
    go_on!(scripts(&kickstart, Kind::PreInstall, &mut number)?);
    go_on!(available.require(&plan.software).map_err(Failure::Late));
    yum.install()?;
    unpack(target)?;
    storage::write_tables(&plan, &mounted, target)?;
    for effect in &plan.after {
        let done = execute::execute(effect, target)
            .with_context(|| format!("cannot carry out: {effect}"))?;
        go_on!(done.map_err(Failure::Late));
    }
    go_on!(scripts(&kickstart, Kind::Post, &mut number)?);
    copies::leave_copies(&text, &words, root, target)?;
    Ok(Ok(()))
}

/// Runs all scripts of this kind, until one with `--erroronfail` fails.
fn scripts(kickstart: &Kickstart, kind: Kind, number: &mut u32) -> Result<Result<(), Failure>> {
    for section in kickstart.sections(kind) {
        *number += 1;
        println!("anaconda: {kind} at {}", section.place);
        let code = script(section, *number)?;
        if code != Some(0) && section.has("--erroronfail") {
            let reason = format!("{kind} at {} failed: {code:?}", section.place);
            return Ok(Err(match kind {
                Kind::Pre => Failure::Early(reason),
                _ => Failure::Late(reason),
            }));
        }
    }
    Ok(Ok(()))
}

fn script(section: &Section, number: u32) -> Result<Option<i32>> {
    let in_target = section.kind == Kind::Post && !section.has("--nochroot");
    let root = Path::new(if in_target { TARGET } else { "/" });
    let name = format!("tmp/ks-script-{number:04}");
    fs::write(root.join(&name), &section.body)?;
    fs::set_permissions(root.join(&name), fs::Permissions::from_mode(0o700))?;
    let log = match section.options.get("--log") {
        Some(log) => root.join(log.trim_start_matches('/')),
        None => root.join(format!("{name}.log")),
    };
    fs::create_dir_all(log.parent().unwrap_or(root))?;
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new("chroot");
    command.arg(root);
    let interpreter = section.options.get("--interpreter");
    let status = command
        .arg(interpreter.map_or("/bin/bash", String::as_str))
        .arg(format!("/{name}"))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    if !status.success() {
        println!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    let _ = fs::remove_file(root.join(&name));
    Ok(status.code())
}

/// Returns the firmware and the disks of this machine.
fn this_hardware() -> Result<Hardware> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/block").context("cannot list /sys/block")? {
        let sys = entry?.path();
        let name = sys.file_name().unwrap_or_default().to_string_lossy();
        let sectors: u64 = read(&sys.join("size")).trim().parse()?;
        let mut disk = Disk::new(&name.replace('!', "/"), sectors * 512);
        for (file, quirk) in [("removable", Quirk::Removable), ("ro", Quirk::ReadOnly)] {
            if read(&sys.join(file)).trim() == "1" {
                disk = disk.but(quirk);
            }
        }
        if !sys.join("device").exists() {
            disk = disk.but(Quirk::Virtual);
        }
        disks.push(disk);
    }
    Ok(Hardware {
        efi: Path::new("/sys/firmware/efi").exists(),
        disks,
        ..Hardware::default()
    })
}

/// Copies all packages into the new system, whose file systems are already mounted. Then removes
/// the copies of the installer's own files from the new system.
fn unpack(target: &Path) -> Result<()> {
    println!("{UNPACKING}");
    fs::create_dir_all(PACKAGES)?;
    process::check(
        "mount",
        &["-t", "squashfs", "-o", "ro", "/dev/loop0", PACKAGES],
    )?;
    let content = format!("{PACKAGES}/.");
    process::check("cp", &["--archive", &content, TARGET])?;
    process::check("umount", &[PACKAGES])?;
    // The installer's own files do not belong to any package.
    for path in [
        "etc/systemd/system/anaconda.service",
        "etc/systemd/system/anaconda.target",
        "etc/systemd/system/default.target",
    ] {
        fs::remove_file(target.join(path)).with_context(|| format!("cannot remove {path}"))?;
    }
    fs::remove_dir_all(target.join("usr/lib/installer")).context("cannot remove the installer")
}
