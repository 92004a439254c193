//! The packages that `%packages` installs and excludes.

use anyhow::Result;
use recipes::recipe::Package;
use recipes::{Diagnostic, Recipe};

use crate::tuning::{self, Place};

/// Packages of @core that a node does not need. A package in this list is installed nevertheless if
/// the recipe lists it.
const UNNEEDED: [&str; 11] = [
    "postfix",
    "plymouth",
    "NetworkManager-team",
    "NetworkManager-tui",
    "NetworkManager-wifi",
    "btrfs-progs",
    "iprutils",
    "aic94xx-firmware",
    "alsa-firmware",
    "ivtv-firmware",
    "iwl*firmware",
];

/// Returns the lines of the recipe's own packages.
pub(super) fn listed(recipe: &Recipe) -> String {
    recipe
        .install
        .packages
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the lines that exclude the packages that a node does not need. The lines that the tuning
/// profile adds are not included. anaconda does not install a package that is both listed and
/// excluded, so the function omits the packages that the recipe lists.
pub(super) fn excluded(recipe: &Recipe) -> String {
    let listed = |pattern: &str| {
        recipe
            .install
            .packages
            .iter()
            .any(|package| package.is_excluded_by(pattern))
    };
    let unneeded = UNNEEDED
        .into_iter()
        .chain(recipe.install.family.other_kernels().iter().copied());
    unneeded
        .filter(|pattern| !listed(pattern))
        .map(|pattern| format!("-{pattern}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Finds the packages that the recipe lists but its tuning profile excludes, each with the reason.
pub(crate) fn contradictions(recipe: &Recipe) -> Result<Vec<Diagnostic>> {
    let settings = tuning::settings(recipe)?;
    let excluded: Vec<_> = settings
        .iter()
        .filter(|setting| setting.place == Place::Package)
        .collect();
    let finding = |package: &Package| {
        let setting = excluded
            .iter()
            .find(|setting| package.is_excluded_by(&setting.key))?;
        let message = format!("`{package}` is excluded from every image");
        Some(
            Diagnostic::error(package.span.clone(), message)
                .label(setting.why.clone())
                .help("remove it from `packages`"),
        )
    };
    Ok(recipe.install.packages.iter().filter_map(finding).collect())
}
