//! Carries out anaconda's actions on the new system, whose root already exists.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::anaconda::{Effect, Plan, User};
use crate::process::{self, Output};

/// Models blivet, turnOnFilesystems: the mount points are made before the packages are installed.
pub(super) fn mount_points(plan: &Plan, target: &Path) -> Result<()> {
    for mount in plan.mounts() {
        let folder = within(target, mount);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(())
}

/// Carries out one effect. The inner error is an error that ends anaconda (KickstartError in an
/// `execute`).
pub(super) fn execute(effect: &Effect, target: &Path) -> Result<Result<(), String>> {
    match effect {
        // An effect on the installer itself does not change the new system.
        Effect::Installer(_) => Ok(Ok(())),
        Effect::Target(words) => program(words, target),
        Effect::Set { path, key, value } => set(target, path, key, value).map(Ok),
        Effect::File { path, content } => write(&within(target, path), content, 0o644).map(Ok),
        Effect::Link { path, to } => link(&within(target, path), to).map(Ok),
        Effect::Servers(servers) => chrony(target, servers).map(Ok),
        Effect::Root { password, locked } => root(target, password.as_deref(), *locked).map(Ok),
        Effect::Group { name, gid } => {
            let mut arguments = Vec::new();
            let gid = gid.map(|gid| gid.to_string());
            arguments.extend(gid.iter().flat_map(|gid| ["--gid", gid]));
            arguments.push(name);
            // users.py, createGroup: if the group already exists, anaconda only logs this fact.
            inside(target, "groupadd", &arguments).map(|_| Ok(()))
        }
        Effect::User(user) => new_user(target, user).map(Ok),
        Effect::SshKey { user, key } => ssh_key(target, user, key).map(Ok),
    }
}

/// Runs a program in the new system and ignores its exit code (iutil.py, execInSysroot).
fn program(words: &[String], target: &Path) -> Result<Result<(), String>> {
    let [program, arguments @ ..] = words else {
        return Ok(Ok(()));
    };
    if program.starts_with('/') && !within(target, program).exists() {
        // Authconfig.execute always tries to run the program. A missing program is an error only if
        // the kickstart has the command that needs the program.
        let asked = match program.rsplit('/').next() {
            Some("authconfig") => arguments.len() > 2,
            _ => arguments.iter().any(|argument| argument == "--enabled"),
        };
        return Ok(if asked {
            Err(format!("{program} is missing. Cannot set it up."))
        } else {
            Ok(())
        });
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    inside(target, program, &arguments)?;
    Ok(Ok(()))
}

fn set(target: &Path, path: &str, key: &str, value: &str) -> Result<()> {
    let path = within(target, path);
    let old = fs::read_to_string(&path)
        .unwrap_or_else(|_| "SELINUX=enforcing\nSELINUXTYPE=targeted\n".into());
    let line = |line: &str| {
        let ours = line.split_once('=').is_some_and(|(found, _)| found == key);
        if ours {
            format!("{key}={value}\n")
        } else {
            format!("{line}\n")
        }
    };
    write(&path, &old.lines().map(line).collect::<String>(), 0o644)
}

fn link(path: &Path, to: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    make_folder(path)?;
    symlink(to, path).with_context(|| format!("cannot make {}", path.display()))
}

/// Models `save_servers_to_config` in ntp.py: replaces lines of the form `server HOST WORD` and
/// keeps all other lines.
fn chrony(target: &Path, servers: &[String]) -> Result<()> {
    let path = within(target, "/etc/chrony.conf");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let server = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        !matches!(words.as_slice(), ["server", _, word] if word.chars().all(|c| c.is_ascii_alphabetic()))
    };
    let mut text = "# These servers were defined in the installation:\n".to_owned();
    text.extend(servers.iter().map(|host| format!("server {host} iburst\n")));
    text.extend(old.lines().filter(server).map(|line| format!("{line}\n")));
    write(&path, &text, 0o644)
}

/// Models `setRootPassword` in users.py.
fn root(target: &Path, password: Option<&str>, locked: bool) -> Result<()> {
    // Ignore a plain-text password, which anaconda would hash, because no test needs one.
    if let Some(hash) = password.filter(|text| text.starts_with('$')) {
        inside(target, "usermod", &["--password", hash, "root"])?.ok()?;
    }
    if locked {
        inside(target, "usermod", &["--lock", "root"])?.ok()?;
    }
    Ok(())
}

/// Models `createUser` in users.py: unless the account exists, creates the account, a group with
/// the same name, and the home directory. The account becomes the owner of an existing home
/// directory.
fn new_user(target: &Path, user: &User) -> Result<()> {
    let known =
        |database: &str| inside(target, "getent", &[database, &user.name]).map(|ran| ran.success());
    if known("passwd")? {
        return Ok(());
    }
    // If a group with this name already exists, the error "Error when creating new group"
    // interrupts the creation: the account is not locked and does not own its home directory.
    let half = known("group")?;
    let gid = user.gid.map(|gid| gid.to_string());
    if !half {
        let mut arguments: Vec<&str> = gid.iter().flat_map(|gid| ["--gid", gid]).collect();
        arguments.push(&user.name);
        inside(target, "groupadd", &arguments)?.ok()?;
    }
    let (uid, groups) = (user.uid.map(|uid| uid.to_string()), user.groups.join(","));
    let mut arguments = vec!["--gid", &user.name, "--home-dir", &user.home];
    let there = within(target, &user.home).exists();
    arguments.push(if there {
        "--no-create-home"
    } else {
        "--create-home"
    });
    for (option, value) in [
        ("--uid", uid.as_deref()),
        ("--shell", user.shell.as_deref()),
        ("--comment", user.gecos.as_deref()),
        (
            "--groups",
            Some(groups.as_str()).filter(|groups| !groups.is_empty()),
        ),
        // Ignore a plain-text password, which anaconda would hash, because no test needs one.
        (
            "--password",
            user.password
                .as_deref()
                .filter(|hash| hash.starts_with('$')),
        ),
    ] {
        arguments.extend(value.iter().flat_map(|value| [option, value]));
    }
    arguments.push(&user.name);
    inside(target, "useradd", &arguments)?.ok()?;
    if half {
        return Ok(());
    }
    if there {
        inside(
            target,
            "chown",
            &["--recursive", &format!("{0}:{0}", user.name), &user.home],
        )?
        .ok()?;
    }
    if user.locked {
        inside(target, "usermod", &["--lock", &user.name])?.ok()?;
    }
    Ok(())
}

/// Models `setUserSshKey` in users.py.
fn ssh_key(target: &Path, user: &str, key: &str) -> Result<()> {
    let entry = inside(target, "getent", &["passwd", user])?;
    let Some(home) = entry.stdout.split(':').nth(5).filter(|_| entry.success()) else {
        // If the account does not exist, anaconda only logs an error.
        return Ok(());
    };
    let path = within(target, home).join(".ssh/authorized_keys");
    let keys = fs::read_to_string(&path).unwrap_or_default();
    write(&path, &format!("{keys}{key}\n"), 0o600)?;
    let folder = path.parent().unwrap_or(&path);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot set the mode of {}", folder.display()))?;
    inside(
        target,
        "chown",
        &["-R", &format!("{user}:"), &format!("{home}/.ssh")],
    )?
    .ok()
    .map(drop)
}

fn within(target: &Path, path: &str) -> PathBuf {
    target.join(path.trim_start_matches('/'))
}

fn inside(target: &Path, program: &str, arguments: &[&str]) -> Result<Output> {
    if !target.is_dir() {
        bail!("there is no new system at {}", target.display());
    }
    process::run(
        Command::new("chroot")
            .arg(target)
            .arg(program)
            .args(arguments),
    )
}

fn make_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    make_folder(path)?;
    // Do not write through a link, because the base can have a link at the path of a file that
    // anaconda writes.
    if path.is_symlink() {
        let _ = fs::remove_file(path);
    }
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", path.display()))
}
