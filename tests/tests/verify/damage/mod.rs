//! Compares firstboot's verdicts on damaged contents with the behaviour of real etcd servers.
//!
//! `verdicts.txt` lists the results of three etcd versions (3.5, 3.6 and 3.7) with each damaged
//! database. Each etcd tried to restore the database, to start with it, and to serve requests. If
//! one of the versions failed or started without authentication, firstboot must refuse the database.
//! The cases in `WHOLE` are the only exceptions. `verdicts.txt` also shows which databases
//! firstboot refuses although all three versions accept them. Each run repeats the experiment for a
//! sample of the cases.
//!
//! `JUDGE= cargo test -p tests --test verify -- etcd_behaves` repeats the experiment for all cases,
//! which takes an hour. `JUDGE=alarm,meta` repeats the experiment for the cases with one of these
//! words in their names. Both commands write the results to `target/verdicts.txt`.

mod base;
mod mutations;
mod outcome;
mod semantic;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::etcd;
use tests::harness::{is_all, trial};
use tests::{cache, run};

use crate::contents::Contents;
use crate::fixtures::ours;
use crate::image::Image;
use base::base;
use mutations::{Case, cases};
use outcome::{Outcome, run_etcd};

/// For each minor version, the newest release that Go's module proxy had on 2026-11-28.
const ETCDS: [&str; 3] = ["3.5.35", "3.6.16", "3.7.3"];
const VERDICTS: &str = include_str!("verdicts.txt");
/// In `make test` and in `make test-all`, one in this many cases is tried again with one of
/// the versions.
const SHARE: [usize; 2] = [144, 12];
/// The outcomes that a snapshot must not have if firstboot calls it good.
const WORSE: [&str; 4] = ["no-restore", "no-start", "fails", "open"];
/// Cases that also occur in intact clusters and are not damage. The first four cases occur in
/// clusters that have, or had, no authentication. In the last two cases, only an etcd of an
/// unsuitable minor version fails to start, and `firstboot restore` checks the minor version.
const WHOLE: [&str; 6] = [
    "auth: authEnabled: bit 0 of byte 0 of the value",
    "auth: authEnabled: gone",
    "auth: authEnabled: zeros",
    "auth: authEnabled = [0]",
    "cluster and storage 3.7.0",
    r#"cluster: downgrade = {"target-version":"3.6.0","enabled":true}"#,
];

pub(crate) fn trials() -> Vec<Trial> {
    let needs: Vec<_> = ETCDS.iter().map(|version| etcd::need(version)).collect();
    vec![
        trial(
            "every_database_that_etcd_would_fail_on_is_refused",
            &[],
            recorded,
        ),
        trial("etcd_behaves_as_recorded", &needs, asked),
    ]
}

/// Returns an undamaged database.
pub(crate) fn whole() -> Image {
    base().image()
}

/// The result of each etcd, and firstboot's verdict.
type Row<'a> = ([&'a str; 3], &'a str);

fn table() -> Result<BTreeMap<&'static str, Row<'static>>> {
    let lines = VERDICTS
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let [name, a, b, c, own] = cells[..] else {
                anyhow::bail!("{line:?} has {} cells", cells.len())
            };
            Ok((name, ([a, b, c], own)))
        })
        .collect()
}

/// Returns firstboot's verdict: `good` or `refused`.
fn verdict(case: &Case, folder: &Path) -> Result<&'static str> {
    let path = folder.join("damaged.db");
    fs::write(&path, case.contents.image().sealed())?;
    let (code, _) = ours(&path, &[]).with_context(|| case.name.clone())?;
    Ok(if code == 0 { "good" } else { "refused" })
}

fn recorded() -> Result<()> {
    let folder = run::current()?.folder("damage")?;
    let whole = Case {
        name: "whole".into(),
        contents: base(),
    };
    ensure!(
        Contents::of(&base().image())? == base(),
        "the written contents differ when they are read again"
    );
    ensure!(
        verdict(&whole, &folder)? == "good",
        "the undamaged database is refused"
    );
    let table = table()?;
    let cases = cases();
    ensure!(
        table.len() == cases.len(),
        "{} cases, but verdicts.txt has {}",
        cases.len(),
        table.len()
    );
    let mut wrong = String::new();
    for case in &cases {
        let (etcds, expected) = table
            .get(case.name.as_str())
            .with_context(|| format!("no verdict on {}", case.name))?;
        let found = verdict(case, &folder)?;
        let worse = etcds.iter().any(|outcome| WORSE.contains(outcome))
            && !WHOLE.contains(&case.name.as_str());
        if found != *expected || worse && found == "good" {
            let _ = writeln!(
                wrong,
                "{}: {found}, expected {expected}; etcd: {etcds:?}",
                case.name
            );
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Returns the result of one case with this version of etcd.
fn outcome(version: &str, case: &Case) -> Result<Outcome> {
    let folder = run::current()?.folder("judged")?;
    let path = folder.join("damaged.db");
    fs::write(&path, case.contents.image().sealed())?;
    let outcome = run_etcd(version, &path, &folder)
        .with_context(|| format!("{} and etcd {version}", case.name));
    fs::remove_dir_all(&folder)?;
    outcome
}

fn asked() -> Result<()> {
    let whole = Case {
        name: "whole".into(),
        contents: base(),
    };
    let whole = ETCDS.map(|version| outcome(version, &whole));
    let [a, b, c] = whole;
    let whole = [a?, b?, c?];
    for (outcome, version) in whole.iter().zip(ETCDS) {
        ensure!(
            matches!(outcome, Outcome::Lives(_)),
            "etcd {version} on the undamaged database: {outcome:?}"
        );
    }
    if let Ok(words) = std::env::var("JUDGE") {
        return all(&whole, &words);
    }
    let table = table()?;
    for (nth, case) in cases()
        .iter()
        .step_by(SHARE[usize::from(is_all())])
        .enumerate()
    {
        let which = nth % ETCDS.len();
        let found = outcome(ETCDS[which], case)?;
        let (etcds, _) = table
            .get(case.name.as_str())
            .with_context(|| format!("no verdict on {}", case.name))?;
        let word = found.label(&whole[which]);
        ensure!(
            word == etcds[which],
            "{}: etcd {}: {word}, expected {}: {}",
            case.name,
            ETCDS[which],
            etcds[which],
            found.why()
        );
    }
    Ok(())
}

/// Tries all cases whose names contain one of these words with each of the three versions of etcd.
/// For the other cases, the earlier results remain. Writes the results to `target/verdicts.txt`,
/// and the reasons to `target/reasons.txt`.
fn all(whole: &[Outcome; 3], words: &str) -> Result<()> {
    let table = table()?;
    let folder = run::current()?.folder("damage")?;
    let mut lines = format!(
        "# The results of etcd {} with each damaged database, and firstboot's verdict.\n",
        ETCDS.join(", ")
    );
    let mut reasons = String::new();
    for case in cases() {
        let wanted = words.split(',').any(|word| case.name.contains(word));
        let known = table.get(case.name.as_str()).filter(|_| !wanted);
        let mut said: Vec<&str> = known.iter().flat_map(|(etcds, _)| *etcds).collect();
        for (version, whole) in ETCDS.iter().zip(whole).filter(|_| known.is_none()) {
            let found = outcome(version, &case)?;
            said.push(found.label(whole));
            let _ = writeln!(
                reasons,
                "{}\t{version}\t{}\t{}",
                case.name,
                found.label(whole),
                found.why()
            );
        }
        let _ = writeln!(
            lines,
            "{}\t{}\t{}",
            case.name,
            said.join("\t"),
            verdict(&case, &folder)?
        );
        fs::write(cache::workspace().join("target/verdicts.txt"), &lines)?;
        fs::write(cache::workspace().join("target/reasons.txt"), &reasons)?;
    }
    Ok(())
}
