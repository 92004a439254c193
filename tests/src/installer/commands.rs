//! The kickstart commands that a stand-in can carry out on a root that is there already.
//!
//! What concerns disks, packages, boot loaders and the installer itself is only recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::kickstart::Command;
use crate::process;

/// Order in which 7 carries them out, whatever the file's is.
const ORDER: [&str; 7] = ["selinux", "services", "timezone", "network", "group", "user", "sshkey"];

/// Carries out what it can on the target, in the installer's order.
pub(super) fn carry_out(commands: &[Command], target: &Path) -> Result<()> {
    for name in ORDER {
        for command in commands.iter().filter(|command| command.name == name) {
            one(command, target).with_context(|| {
                format!("{}: cannot carry out {name} {}", command.place, command.arguments.join(" "))
            })?;
        }
    }
    Ok(())
}

fn one(command: &Command, target: &Path) -> Result<()> {
    match command.name.as_str() {
        "selinux" => selinux(command, target),
        "services" => services(command, target),
        "timezone" => timezone(command, target),
        "network" => hostname(command, target),
        "group" => group(command, target),
        "user" => user(command, target),
        "sshkey" => ssh_key(command, target),
        _ => Ok(()),
    }
}

fn selinux(command: &Command, target: &Path) -> Result<()> {
    let mode = ["enforcing", "permissive", "disabled"]
        .into_iter()
        .find(|mode| command.has(&format!("--{mode}")))
        .context("it names no mode")?;
    let path = target.join("etc/selinux/config");
    let old = fs::read_to_string(&path).unwrap_or_else(|_| "SELINUX=enforcing\nSELINUXTYPE=targeted\n".into());
    let new: String = old
        .lines()
        .map(|line| if line.starts_with("SELINUX=") { format!("SELINUX={mode}\n") } else { format!("{line}\n") })
        .collect();
    write(&path, &new, 0o644)
}

/// Runs before %post, so a unit that only %post brings cannot be switched on by it; 7 ignores that, and so does this.
fn services(command: &Command, target: &Path) -> Result<()> {
    for (option, verb) in [("--disabled", "disable"), ("--enabled", "enable")] {
        for service in command.option(option).unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
            let unit = format!("{service}.service");
            let ran = process::run(std::process::Command::new("chroot").arg(target).args(["systemctl", verb, &unit]))?;
            if !ran.success() {
                eprintln!("bed: {}: {verb} {unit}: {}", command.place, ran.stderr.trim());
            }
        }
    }
    Ok(())
}

fn timezone(command: &Command, target: &Path) -> Result<()> {
    let zone = command.arguments.iter().find(|argument| !argument.starts_with("--")).context("it names no zone")?;
    let link = target.join("etc/localtime");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(format!("../usr/share/zoneinfo/{zone}"), &link)
        .with_context(|| format!("cannot make {}", link.display()))
}

fn hostname(command: &Command, target: &Path) -> Result<()> {
    match command.option("--hostname") {
        Some(name) => write(&target.join("etc/hostname"), &format!("{name}\n"), 0o644),
        None => Ok(()),
    }
}

fn group(command: &Command, target: &Path) -> Result<()> {
    let mut arguments = Vec::new();
    if let Some(gid) = command.option("--gid") {
        arguments.extend(["--gid", gid]);
    }
    arguments.push(command.option("--name").context("it has no --name")?);
    inside(target, "groupadd", &arguments)
}

/// A user without a password is locked, as on 7. Its own group is made with it, with the number --gid says.
fn user(command: &Command, target: &Path) -> Result<()> {
    let name = command.option("--name").context("it has no --name")?;
    let mut arguments = vec!["--create-home"];
    if let Some(gid) = command.option("--gid") {
        // A group of that name may stand in the file already, as `group`.
        if inside(target, "getent", &["group", name]).is_err() {
            inside(target, "groupadd", &["--gid", gid, name])?;
        }
        arguments.extend(["--gid", gid]);
    } else if inside(target, "getent", &["group", name]).is_ok() {
        arguments.extend(["--gid", name]);
    }
    for (option, theirs) in [
        ("--uid", "--uid"),
        ("--groups", "--groups"),
        ("--homedir", "--home-dir"),
        ("--shell", "--shell"),
        ("--gecos", "--comment"),
        ("--password", "--password"),
    ] {
        // In clear text a password is of no use to useradd; the tests need none.
        if let Some(value) = command.option(option).filter(|_| option != "--password" || command.has("--iscrypted")) {
            arguments.extend([theirs, value]);
        }
    }
    arguments.push(name);
    inside(target, "useradd", &arguments)
}

fn ssh_key(command: &Command, target: &Path) -> Result<()> {
    let user = command.option("--username").context("it has no --username")?;
    let key = command.arguments.last().context("it has no key")?;
    let entry =
        process::run(std::process::Command::new("chroot").arg(target).args(["getent", "passwd", user]))?.ok()?;
    let home = entry.split(':').nth(5).context("the user has no home")?;
    let folder = target.join(home.trim_start_matches('/')).join(".ssh");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot set the mode of {}", folder.display()))?;
    let path = folder.join("authorized_keys");
    let keys = fs::read_to_string(&path).unwrap_or_default();
    write(&path, &format!("{keys}{key}\n"), 0o600)?;
    inside(target, "chown", &["-R", &format!("{user}:"), &format!("{home}/.ssh")])
}

fn inside(target: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = std::process::Command::new("chroot");
    command.arg(target).arg(program).args(arguments);
    process::run(&mut command)?.ok().map(drop)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", path.display()))
}
