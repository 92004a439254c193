//! The installer's own root file system: a copy of the base without the programs that CentOS 7.9's
//! installer lacks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::base;
use crate::overlay::Overlay;

const PRESENT: &str = include_str!("el7-present.txt");

/// The stand-in for systemctl and the programs that switch off or reboot the machine.
const POWER: &str = include_str!("power.sh");
/// The program that scripts call to query udev.
const UDEVADM: &str = include_str!("udevadm.sh");
/// The program that scripts call to read and change the firmware's boot order.
const EFIBOOTMGR: &str = include_str!("efibootmgr.sh");
const POWER_NAMES: [&str; 5] = ["poweroff", "reboot", "halt", "shutdown", "systemctl"];

const FOLDERS: [&str; 6] = [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "usr/local/sbin",
];

/// The installer's root. Changes to the root are discarded on drop.
#[derive(Debug)]
pub(super) struct Environment(Overlay);

impl Environment {
    pub(super) fn new() -> Result<Environment> {
        let environment = Environment(Overlay::new("installer", &base::base()?)?);
        let root = environment.root();
        for folder in FOLDERS {
            let folder = root.join(folder);
            // Skip /bin if it is a link to /usr/bin, because `FOLDERS` also contains the target of
            // the link.
            if folder.is_dir() && !folder.is_symlink() {
                keep_what_is_present(&folder)?;
            }
        }
        let programs = root.join("usr/bin");
        if !programs.join("sh").exists() {
            symlink("bash", programs.join("sh")).context("cannot make bash the installer's sh")?;
        }
        for name in POWER_NAMES {
            write_program(&programs.join(name), POWER)?;
        }
        write_program(&programs.join("udevadm"), UDEVADM)?;
        write_program(&root.join("usr/sbin/efibootmgr"), EFIBOOTMGR)?;
        for folder in ["mnt/sysimage", "run", "tmp"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot make /{folder} in the installer"))?;
        }
        Ok(environment)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.0.root()
    }

    /// Returns the first unit that scripts have started and not stopped, if any.
    pub(super) fn started(&self) -> Option<String> {
        let units = fs::read_to_string(self.root().join("run/started")).ok()?;
        units.lines().next().map(str::to_owned)
    }

    /// Returns the power-off or reboot that was requested, if any.
    pub(super) fn power(&self) -> Option<String> {
        let asked = fs::read_to_string(self.root().join("run/power")).ok()?;
        Some(asked.trim().to_owned())
    }
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn keep_what_is_present(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name();
        // Also remove sh, which can be dash, because the installer's sh is bash.
        if name != "sh" && is_present(&name.to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Returns whether CentOS 7.9's installer has a program of that name.
pub fn is_present(name: &str) -> bool {
    PRESENT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .any(|known| {
            known
                .strip_suffix('*')
                .map_or(known == name, |start| name.starts_with(start))
        })
}

#[cfg(test)]
mod tests {
    use super::is_present;

    #[test]
    fn programs_that_the_clean_up_removes_are_not_present() {
        for name in ["sha256sum", "curl", "xfs_growfs", "mkfs.xfs", "tar"] {
            assert!(is_present(name), "{name}");
        }
        for name in [
            "gpg",
            "openssl",
            "sha512sum",
            "stat",
            "install",
            "timeout",
            "base64",
            "diff",
            "useradd",
            "printf",
        ] {
            assert!(!is_present(name), "{name}");
        }
    }
}
