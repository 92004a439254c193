//! What was set aside: kept until an operator says that it is old enough to go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use time::PrimitiveDateTime;
use time::macros::format_description;

use crate::barrier::{Data, Past, SetAside, data};
use crate::exit::refused;
use crate::files;
use crate::journal::{Event, Journal};
use crate::lock::Lock;
use crate::paths;
use crate::say::say;

/// One folder of it.
#[derive(Debug, PartialEq, Eq)]
struct Aside {
    path: PathBuf,
    /// When, as its name has it.
    at: PrimitiveDateTime,
}

/// That it is there, and is what etcd can go on with.
pub(super) fn check(set_aside: &SetAside) -> Result<()> {
    let path = &set_aside.path;
    if data(path)? == Data::Whole {
        return Ok(());
    }
    Err(refused(format!("{} holds no data of etcd's any more, so there is nothing to return to", path.display())))
}

/// Lists all of it, oldest first.
pub(super) fn list(journal: &Journal) -> Result<String> {
    let back = Past::of(journal).set_aside.map(|aside| aside.path);
    let mut lines = Vec::new();
    for aside in all()? {
        let at = aside.at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC"))?;
        let mib = size(&aside.path)? >> 20;
        let cluster = journal.entries.iter().enumerate().rev().find_map(|(number, entry)| match &entry.event {
            Event::Exchange(exchange) if exchange.aside.as_ref() == Some(&aside.path) => {
                Past::from(&journal.entries[..number]).cluster
            }
            _ => None,
        });
        let of = cluster.map(|cluster| format!(", of the cluster {cluster:x}")).unwrap_or_default();
        let note = if back.as_ref() == Some(&aside.path) { "; --rollback returns to it" } else { "" };
        lines.push(format!("{at}  {mib} MiB  {}{of}{note}\n", aside.path.display()));
    }
    Ok(if lines.is_empty() { "nothing was set aside\n".to_owned() } else { lines.concat() })
}

/// Deletes what is older than so many days.
pub(super) fn prune(journal: &Journal, days: u64) -> Result<()> {
    let _lock = Lock::take()?;
    let now = time::OffsetDateTime::now_utc();
    let age = time::Duration::days(i64::try_from(days).unwrap_or(i64::MAX / 86_400));
    let kept = Past::of(journal).exchange.map(|exchange| exchange.from);
    for aside in all()? {
        if now - aside.at.assume_utc() > age && kept.as_ref() != Some(&aside.path) {
            say(format!("deleting {}", aside.path.display()));
            files::remove_all(&aside.path)?;
        }
    }
    Ok(())
}

fn all() -> Result<Vec<Aside>> {
    let folder = Path::new(paths::ASIDE);
    if !files::exists(folder)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.with_context(|| format!("cannot look into {}", folder.display()))?;
    let mut all: Vec<Aside> = entries.into_iter().filter_map(|entry| parse(entry.path())).collect();
    all.sort_by_key(|aside| aside.at);
    Ok(all)
}

/// What firstboot put there has the time in its name; what anybody else did is left alone.
fn parse(path: PathBuf) -> Option<Aside> {
    let name = path.file_name()?.to_str()?;
    let (_, time) = name.rsplit_once('-')?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = PrimitiveDateTime::parse(time, format).ok()?;
    Some(Aside { path, at })
}

fn size(folder: &Path) -> Result<u64> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut total = 0;
    for entry in entries.with_context(|| format!("cannot look into {}", folder.display()))? {
        let meta = entry.metadata()?;
        total += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_counted() {
        let parse = |name: &str| parse(Path::new("/aside").join(name));
        assert!(parse("before-restore-20261122T101112Z").is_some());
        assert!(parse("half-born-20261122T101112Z").is_some());
        for strange in ["before-restore", "keep-this", "x-20261322T101112Z", "20261122T101112Z"] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }
}
