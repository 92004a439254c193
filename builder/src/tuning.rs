//! What this image sets, what the guide says to it, and why: the table kickstart/tuning/settings.toml, seen from one recipe.

mod block;

use anyhow::{Context as _, Result};
use recipes::Recipe;
use recipes::recipe::Profile;
use serde::{Deserialize, Serialize};

pub(crate) use block::{block, wrapped};

const TABLE: &str = include_str!("../../kickstart/tuning/settings.toml");

/// Where a setting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// `/etc/sysctl.d/95-etcd.conf`.
    Sysctl,
    /// The mount options of XFS volumes: `/etc/fstab`, the kickstart's `part` and, for `/`, `rootflags=`.
    Mount,
    /// The kernel's command line.
    Kernel,
    /// The kickstart's `%packages`.
    Package,
    /// `/etc/systemd/journald.conf.d/95-etcd.conf`.
    Journald,
    /// Resource limits: the units, `system.conf.d` and `limits.d`.
    Limit,
    /// `/etc/chrony.conf`.
    Chrony,
    /// `/etc/etcd/etcd.conf`, which firstboot writes.
    Etcd,
}

impl Place {
    /// The file, for people.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Sysctl => "/etc/sysctl.d/95-etcd.conf",
            Self::Mount => "mounts of XFS volumes",
            Self::Kernel => "the kernel's command line",
            Self::Package => "packages of @core",
            Self::Journald => "/etc/systemd/journald.conf.d/95-etcd.conf",
            Self::Limit => "resource limits",
            Self::Chrony => "/etc/chrony.conf",
            Self::Etcd => "/etc/etcd/etcd.conf",
        }
    }
}

/// One key, what it is set to and what the two profiles have for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) key: String,
    /// What the guide says; `None` where it says nothing.
    pub(crate) guide: Option<String>,
    /// What the other profile than the recipe's has.
    #[serde(skip)]
    other: Option<String>,
    /// What this image has; `None` where it leaves the key as the system has it.
    pub(crate) image: Option<String>,
    pub(crate) why: String,
    pub(crate) source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    choice: Vec<Choice>,
}

/// Keys that are set for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    place: Place,
    why: String,
    source: String,
    keys: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: String,
    guide: Option<String>,
    etcd: Option<String>,
    both: Option<String>,
}

/// Every setting, in the table's order; the recipe's own additions last.
pub(crate) fn settings(recipe: &Recipe) -> Result<Vec<Setting>> {
    let etcd = serde_json::to_value(&recipe.etcd.settings)?;
    let mut settings = of_profile(recipe.tuning.profile)?;
    for setting in settings.iter_mut().filter(|setting| setting.place == Place::Etcd && setting.image.is_none()) {
        let value = etcd.get(&setting.key).with_context(|| format!("etcd has no setting {}", setting.key))?;
        setting.image = Some(value.to_string());
    }
    for (key, value) in &recipe.tuning.sysctl {
        let (key, image) = (key.to_string(), Some(value.clone()));
        let (why, source) = ("The recipe's own, under [tuning.sysctl].".to_owned(), "the recipe".to_owned());
        match settings.iter_mut().find(|setting| setting.place == Place::Sysctl && setting.key == key) {
            Some(setting) => *setting = Setting { image, why, source, ..setting.clone() },
            None => {
                settings.push(Setting { place: Place::Sysctl, key, guide: None, other: None, image, why, source });
            }
        }
    }
    Ok(settings)
}

/// The one value of a place and key.
pub(crate) fn value(settings: &[Setting], place: Place, key: &str) -> Result<String> {
    let found = settings.iter().find(|setting| setting.place == place && setting.key == key);
    let value = found.and_then(|setting| setting.image.clone());
    value.with_context(|| format!("kickstart/tuning/settings.toml has no {key} among its {place:?} settings"))
}

fn of_profile(profile: Profile) -> Result<Vec<Setting>> {
    let table: Table = toml::from_str(TABLE).context("kickstart/tuning/settings.toml")?;
    let mut settings = Vec::new();
    for Choice { place, why, source, keys } in table.choice {
        for Row { key, guide, etcd, both } in keys {
            let (image, other) = match profile {
                Profile::Guide => (&guide, &etcd),
                Profile::Etcd => (&etcd, &guide),
            };
            let (image, other) = (image.clone().or(both.clone()), other.clone().or(both));
            settings.push(Setting { place, key, image, other, guide, why: why.clone(), source: source.clone() });
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
