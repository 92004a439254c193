//! `builder plan`: shows the planned contents of a recipe's image, with the CentOS 7 guide's
//! settings next to the image's settings. The command does not download anything.

mod contents;
mod text;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::Recipe;
use recipes::recipe::Size;

use self::contents::{Member, Plan, Port, Service, Volume};
use crate::check::{self, CheckedRecipe};
use crate::files::UserFile;
use crate::render::{OverlayDigests, Rendered};
use crate::tuning::{self, Place, value};
use crate::{console, render};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write the kickstart and the overlay's files to a new folder, for inspection. The
    /// written kickstart cannot install a machine, because only a build computes the overlay's
    /// digest
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
}

/// Shows the planned contents of an image, and writes the rendered files if the options name a
/// folder.
pub(crate) fn run(options: &Options) -> Result<()> {
    let CheckedRecipe {
        recipe, user_files, ..
    } = check::checked_recipe(&options.recipe, options.strict)?;
    let overlay = render::overlay(&recipe)?;
    let plan = plan(&recipe, &overlay, &user_files)?;
    if let Some(folder) = &options.files {
        let kickstart = render::kickstart(&recipe, OverlayDigests::NONE)?;
        write(folder, &overlay, &user_files, &kickstart)?;
    }
    Ok(console::report(&plan, options.json, text::render)?)
}

fn plan(recipe: &Recipe, overlay: &[Rendered], user_files: &[UserFile]) -> Result<Plan> {
    let (document, partitions) = (recipe.cluster_document(), &recipe.install.partitions);
    let settings = tuning::settings(recipe)?;
    let options = value(&settings, Place::Mount, "options")?;
    let volume = |mount, size: Option<Size>| Volume {
        mount,
        size: size.map_or_else(|| "the rest".to_owned(), |size| size.to_string()),
        options: options.clone(),
    };
    let firewall = &recipe.firewall;
    let clients = firewall
        .clients
        .iter()
        .filter(|client| !firewall.peers.contains(client));
    Ok(Plan {
        cluster: document.name.to_string(),
        domain: document.domain.to_string(),
        etcd: document.etcd.version.to_string(),
        profile: recipe.tuning.profile.name(),
        members: document
            .members
            .iter()
            .map(|member| Member {
                name: member.name.to_string(),
                address: member.address.to_string(),
                fqdn: document.fqdn(&member.name),
            })
            .collect(),
        volumes: vec![
            volume("/boot", Some(partitions.boot)),
            volume("/", Some(partitions.root)),
            volume("/var/lib/etcd", partitions.etcd),
        ],
        services: overlay
            .iter()
            .filter(|file| is_preset(&file.path))
            .flat_map(|file| services(&file.content))
            .collect(),
        ports: vec![
            Port {
                port: 22,
                from: texts(firewall.admins.iter()),
            },
            Port {
                port: 2379,
                from: texts(firewall.peers.iter().chain(clients)),
            },
            Port {
                port: 2380,
                from: texts(firewall.peers.iter()),
            },
        ],
        files: paths(overlay, user_files),
        settings,
    })
}

/// Returns the absolute paths of the rendered files and the user's files, sorted.
fn paths(overlay: &[Rendered], user_files: &[UserFile]) -> Vec<String> {
    let rendered = overlay.iter().map(|file| &file.path);
    let mut paths: Vec<String> = rendered
        .chain(user_files.iter().map(|file| &file.path))
        .map(|path| format!("/{path}"))
        .collect();
    paths.sort();
    paths
}

fn texts<T: ToString>(values: impl Iterator<Item = T>) -> Vec<String> {
    values.map(|value| value.to_string()).collect()
}

fn is_preset(path: &str) -> bool {
    path.starts_with("usr/lib/systemd/system-preset/")
}

/// Returns the units that a preset file enables or disables.
fn services(preset: &str) -> impl Iterator<Item = Service> {
    preset.lines().filter_map(|line| {
        let (verb, unit) = line.split_once(' ')?;
        let enabled = matches!(verb, "enable" | "disable").then_some(verb == "enable")?;
        Some(Service {
            unit: unit.trim().to_owned(),
            enabled,
        })
    })
}

/// Writes the kickstart as `centos7.ks`, and the overlay's files, including the user's files, below
/// `overlay/`.
fn write(
    folder: &Path,
    overlay: &[Rendered],
    user_files: &[UserFile],
    kickstart: &str,
) -> Result<()> {
    fs::create_dir(folder).with_context(|| {
        format!(
            "cannot create the folder {}, which must not exist yet",
            folder.display()
        )
    })?;
    let put = |path: &Path, content: &[u8], mode: u32| {
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
        fs::write(path, content)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let rendered = overlay
        .iter()
        .map(|file| (&file.path, file.content.as_bytes(), file.mode));
    let user = user_files
        .iter()
        .map(|file| (&file.path, file.bytes.as_slice(), file.mode));
    for (path, content, mode) in rendered.chain(user) {
        put(&folder.join("overlay").join(path), content, mode)?;
    }
    put(&folder.join("centos7.ks"), kickstart.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests;
