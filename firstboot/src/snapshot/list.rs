//! `firstboot snapshot list`: lists the snapshots in a folder or bucket.

use anyhow::Result;
use members::timestamp::{duration, now};
use recipes::backup::Destination;
use serde::Serialize;

use super::listed::ListedSnapshot;
use super::manifest::Manifest;
use super::store::Store;
use crate::identity;
use crate::output::{show, show_json};

/// The command line of `firstboot snapshot list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder or s3://BUCKET/PREFIX/ [default: the recipe's destination]
    place: Option<Destination>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A listed snapshot in the JSON output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    name: &'a str,
    size: u64,
    good: bool,
    age_seconds: Option<u64>,
    manifest: Option<&'a Manifest>,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let cluster = identity::cluster();
    let backup = cluster
        .as_ref()
        .ok()
        .and_then(|cluster| cluster.backup.as_ref());
    let place = Store::existing(options.place.as_ref(), backup)?;
    let found = place.list().await?;
    let now = now();
    if options.json {
        let rows: Vec<Row<'_>> = found.iter().map(|found| row(found, now)).collect();
        show_json(&rows)?;
    } else {
        show(&table(&found, now))?;
    }
    Ok(())
}

fn row(found: &ListedSnapshot, now: u64) -> Row<'_> {
    let manifest = found.manifest.as_ref();
    let age_seconds = manifest.map(|manifest| now.saturating_sub(manifest.time));
    Row {
        name: &found.name,
        size: found.size,
        good: found.has_stated_size(),
        age_seconds,
        manifest,
    }
}

fn table(found: &[ListedSnapshot], now: u64) -> String {
    let mut lines = vec![["NAME", "AGE", "BYTES", "REVISION", "STATE"].map(str::to_owned)];
    for found in found {
        let manifest = found.manifest.as_ref();
        let state = match manifest {
            None => "unknown: it has no manifest".to_owned(),
            Some(manifest) if !found.has_stated_size() => {
                format!(
                    "DAMAGED: its manifest states a size of {} bytes",
                    manifest.size
                )
            }
            Some(manifest) => format!("good when taken: {}", manifest.checked.join(", ")),
        };
        lines.push([
            found.name.clone(),
            manifest.map_or_else(
                || "-".to_owned(),
                |manifest| duration(now.saturating_sub(manifest.time)),
            ),
            found.size.to_string(),
            manifest.map_or_else(
                || "-".to_owned(),
                |manifest| manifest.snapshot.revision.to_string(),
            ),
            state,
        ]);
    }
    let widths: Vec<usize> = (0..5)
        .map(|i| lines.iter().map(|line| line[i].len()).max().unwrap_or(0))
        .collect();
    let line = |line: &[String; 5]| {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};
    use crate::snapshot::manifest::tests::some;

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_listed_snapshot() {
        let found = ListedSnapshot {
            name: "a.db".into(),
            size: 5,
            manifest: None,
        };
        assert_eq!(
            documented("json.md", "firstboot snapshot list"),
            keys(&row(&found, 0))
        );
    }

    #[test]
    fn the_table_shows_the_state_of_each_snapshot() {
        let manifest = some(1_795_312_800, 5);
        let found = |size, manifest| ListedSnapshot {
            name: "a.db".into(),
            size,
            manifest,
        };
        let all = [
            found(5, Some(manifest.clone())),
            found(4, Some(manifest)),
            found(9, None),
        ];
        let shown = table(&all, 1_795_312_800 + 7_200);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[1].contains("2 h") && lines[1].ends_with("good when taken: pages"),
            "{shown}"
        );
        assert!(
            lines[2].ends_with("DAMAGED: its manifest states a size of 5 bytes")
                && lines[3].contains("no manifest"),
            "{shown}"
        );
    }
}
