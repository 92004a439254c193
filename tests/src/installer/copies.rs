//! The files that the installer stores on the target.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Stores the kickstart and the scripts' logs on the target, as anaconda does. `inst.nosave` or the
/// kickstart can forbid these copies.
pub(super) fn leave_copies(
    kickstart: &str,
    cmdline: &str,
    root: &Path,
    target: &Path,
) -> Result<()> {
    let saved = |what: &str| {
        !cmdline.split_whitespace().any(|word| {
            word.strip_prefix("inst.nosave=").is_some_and(|list| {
                list.split(',').any(|item| {
                    item == what || item == "all" || (item == "all_ks" && what.ends_with("_ks"))
                })
            })
        })
    };
    let copies = [
        ("input_ks", "root/original-ks.cfg"),
        ("output_ks", "root/anaconda-ks.cfg"),
    ];
    for (what, path) in copies.into_iter().filter(|(what, _)| saved(what)) {
        let forbidden = what == "input_ks" && root.join("tmp/NOSAVE_INPUT_KS").exists();
        if !forbidden {
            leave(&target.join(path), kickstart.as_bytes())?;
        }
    }
    if saved("logs") {
        for folder in [root.join("tmp"), target.join("tmp")] {
            for entry in fs::read_dir(&folder)
                .with_context(|| format!("cannot list {}", folder.display()))?
                .flatten()
            {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("ks-script-")
                    && Path::new(&name).extension().is_some_and(|end| end == "log")
                {
                    let text = fs::read(entry.path())
                        .with_context(|| format!("cannot read {}", entry.path().display()))?;
                    leave(&target.join("var/log/anaconda").join(name), &text)?;
                }
            }
        }
    }
    Ok(())
}

fn leave(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("cannot write {}", path.display()))
}
