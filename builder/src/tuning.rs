//! The settings of an image, with their reasons and with the corresponding values in the guide
//! (docs/guide.md). The builder computes the settings for one recipe from the table
//! kickstart/tuning/settings.toml.

mod block;
mod setting;

use anyhow::{Context as _, Result};
use recipes::Recipe;
use recipes::recipe::Profile;
use serde::Deserialize;

pub(crate) use block::{block, wrapped};
pub(crate) use setting::{Place, Setting};

const TABLE: &str = include_str!("../../kickstart/tuning/settings.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    choice: Vec<Choice>,
}

/// A group of keys that are set for the same reason.
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

/// Returns all settings in the order of the table, followed by the recipe's own additions.
pub(crate) fn settings(recipe: &Recipe) -> Result<Vec<Setting>> {
    let etcd = serde_json::to_value(&recipe.etcd.settings)?;
    let mut settings = for_profile(recipe.tuning.profile)?;
    for setting in settings
        .iter_mut()
        .filter(|setting| setting.place == Place::Etcd && setting.image.is_none())
    {
        let value = etcd
            .get(&setting.key)
            .with_context(|| format!("etcd has no setting {}", setting.key))?;
        setting.image = Some(value.to_string());
    }
    for own in &recipe.tuning.sysctl {
        let (key, image) = (own.key.to_string(), Some(own.value.clone()));
        let (why, source) = (
            "The recipe sets this key under [tuning.sysctl].".to_owned(),
            "the recipe".to_owned(),
        );
        match settings
            .iter_mut()
            .find(|setting| setting.place == Place::Sysctl && setting.key == key)
        {
            Some(setting) => {
                *setting = Setting {
                    image,
                    why,
                    source,
                    ..setting.clone()
                }
            }
            None => {
                settings.push(Setting {
                    place: Place::Sysctl,
                    key,
                    guide: None,
                    other: None,
                    image,
                    why,
                    source,
                });
            }
        }
    }
    Ok(settings)
}

/// Returns the value that the image sets for a key. `place` is the file or the list that contains
/// the key.
pub(crate) fn value(settings: &[Setting], place: Place, key: &str) -> Result<String> {
    let found = settings
        .iter()
        .find(|setting| setting.place == place && setting.key == key);
    let value = found.and_then(|setting| setting.image.clone());
    value.with_context(|| {
        format!("the {place:?} settings in kickstart/tuning/settings.toml do not include {key}")
    })
}

fn for_profile(profile: Profile) -> Result<Vec<Setting>> {
    let table: Table = toml::from_str(TABLE).context("kickstart/tuning/settings.toml")?;
    let mut settings = Vec::new();
    for Choice {
        place,
        why,
        source,
        keys,
    } in table.choice
    {
        for Row {
            key,
            guide,
            etcd,
            both,
        } in keys
        {
            let (image, other) = match profile {
                Profile::Guide => (&guide, &etcd),
                Profile::Etcd => (&etcd, &guide),
            };
            let (image, other) = (image.clone().or(both.clone()), other.clone().or(both));
            settings.push(Setting {
                place,
                key,
                image,
                other,
                guide,
                why: why.clone(),
                source: source.clone(),
            });
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
