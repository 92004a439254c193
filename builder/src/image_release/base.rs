//! The base of an image: the parts that only an installation can change. Parts that are commands in
//! the kickstart are read from the rendered kickstart. Parts that a kickstart script handles are
//! read from the recipe.

use std::fmt::Display;

use recipes::recipe::Size;
use recipes::{ImageBase, Recipe, Sha256};

use crate::files::{self, UserFile};
use crate::tuning::{self, Place, value};

/// The SELinux module of etcd, which the installer loads.
const SELINUX_MODULE: &str =
    include_str!("../../../kickstart/overlay/usr/share/selinux/packages/etcd.cil");

/// Returns the base of a recipe's image. `kickstart` is the rendered kickstart.
pub(crate) fn base(
    recipe: &Recipe,
    kickstart: &str,
    brought: &[UserFile],
) -> anyhow::Result<ImageBase> {
    let install = &recipe.install;
    let settings = tuning::settings(recipe)?;
    let mount_options = value(&settings, Place::Mount, "options")?;
    let mut base = ImageBase::default();
    base.add("installer", commands(kickstart));
    base.add("packages", section(kickstart, "%packages"));
    base.add("partitions", partitions(recipe));
    base.add("repositories", repositories(recipe));
    base.add(
        "kernel words",
        [
            named(
                "transparent_hugepage",
                &value(&settings, Place::Kernel, "transparent_hugepage")?,
            ),
            // The mount options are a kernel argument only if they contain allocsize
            // (kickstart/scripts/disk.sh).
            named(
                "rootflags",
                if mount_options.contains("allocsize") {
                    &mount_options
                } else {
                    ""
                },
            ),
            named(
                "console",
                &install
                    .console
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ),
        ],
    );
    base.add(
        "ssh keys of root",
        install.ssh_keys.iter().map(ToString::to_string),
    );
    // An update does not load a changed module, because libsemanage 2.5 does not flush the new
    // policy to the disk (semanage_store.c). After a power cut, the policy could be empty, and
    // systemd stops the boot of an enforcing system that has no policy (systemd 219,
    // selinux-setup.c and main.c).
    base.add(
        "SELinux module",
        recipe
            .selinux
            .module
            .then(|| format!("etcd {}", rules(SELINUX_MODULE))),
    );
    let scripts: Vec<String> = files::post_paths(&recipe.files).collect();
    let ran = brought.iter().filter(|file| scripts.contains(&file.path));
    base.add(
        "scripts of [files] post",
        ran.map(|file| format!("{} {}", file.path, short(&file.bytes))),
    );
    Ok(base)
}

fn named(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

/// Returns the first 16 digits of the digest of `bytes`. These digits suffice to distinguish the
/// contents that one operator writes.
fn short(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()[..16].to_owned()
}

/// Returns a short digest of the rules in an SELinux module, without comments.
fn rules(module: &str) -> String {
    let lines = module
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(';'));
    short(lines.collect::<Vec<_>>().join("\n").as_bytes())
}

/// Returns the lines before the first section, without comments and `%include` lines. The hash of
/// root's password is replaced by the first digits of the hash's own digest, so that the base does
/// not publish the hash.
fn commands(kickstart: &str) -> impl Iterator<Item = String> {
    let lines = kickstart
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let before = lines.take_while(|line| !line.starts_with('%') || line.starts_with("%include"));
    before
        .filter(|line| !line.starts_with("%include"))
        .map(|line| match line.strip_prefix("rootpw --iscrypted ") {
            Some(hash) => format!("rootpw, hash {}", short(hash.as_bytes())),
            None => line.to_owned(),
        })
}

/// Returns the lines of a section, without comments.
fn section(kickstart: &str, name: &str) -> impl Iterator<Item = String> {
    let lines = kickstart
        .lines()
        .map(str::trim)
        .skip_while(move |line| line.split(' ').next() != Some(name))
        .skip(1);
    let inside = lines.take_while(|line| *line != "%end");
    inside
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
}

fn partitions(recipe: &Recipe) -> Vec<String> {
    let (disk, sizes) = (&recipe.install.disk, &recipe.install.partitions);
    let disk = disk
        .as_ref()
        .map_or_else(|| "the first that fits".to_owned(), ToString::to_string);
    let etcd = sizes
        .etcd
        .map_or_else(|| "the rest".to_owned(), |size: Size| size.to_string());
    vec![
        format!("disk {disk}"),
        format!("/boot {}", sizes.boot),
        format!("/ {}", sizes.root),
        format!("/var/lib/etcd {etcd}"),
    ]
}

/// Returns the sources of the packages. If the metadata is pinned, its digest represents the
/// sources, because every mirror with that metadata provides the same packages.
fn repositories(recipe: &Recipe) -> Vec<String> {
    let install = &recipe.install;
    let by = |digest: Option<&Sha256>, urls: Vec<String>| match digest {
        Some(digest) => format!("sha256 {digest}"),
        None => urls.join(" "),
    };
    let mut lines = vec![format!(
        "tree {}",
        by(install.repomd_sha256.as_ref(), texts(&install.trees))
    )];
    lines.extend(install.repos.iter().map(|repo| {
        format!(
            "{} {}",
            repo.name,
            by(repo.repomd_sha256.as_ref(), texts(&repo.urls))
        )
    }));
    lines
}

fn texts<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_rule_in_the_selinux_module_changes_the_base_and_another_comment_does_not() {
        let module = rules(SELINUX_MODULE);
        assert_eq!(module.len(), 16);
        assert_ne!(rules(&format!("{SELINUX_MODULE}(type own_t)\n")), module);
        assert_eq!(rules(&format!("; A comment.\n\n{SELINUX_MODULE}")), module);
    }
}
