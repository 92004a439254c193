//! Compares the model with the output of anaconda's own classes: `said.txt`.

use anyhow::{Context as _, Result, ensure};

use super::super::hardware::{Disk, DiskPartition, Hardware};
use super::super::model;

const SAID: &str = include_str!("said.txt");

/// A kickstart, the machine it runs on, and anaconda's answer.
#[derive(Debug, Clone, Default)]
struct Case {
    name: String,
    machine: Vec<String>,
    kickstart: Vec<String>,
    answer: Vec<String>,
}

/// Reads the cases in the table. Every case after the first contains only its differences from the
/// first case. If anaconda ends with an error, the case contains the complete answer instead of
/// differences.
fn cases() -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let table = SAID
        .split_once("\n== ")
        .context("the table contains no case")?
        .1;
    for text in table.split("\n== ") {
        let (header, rest) = text
            .split_once('\n')
            .context("a case consists only of its name")?;
        let (kickstart, answer) = rest
            .split_once("-- says")
            .with_context(|| format!("{header} has no answer"))?;
        let mut words = header.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let mut case = Case {
            name,
            machine: words.collect(),
            ..Case::default()
        };
        let lines = |text: &str| {
            text.lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        (case.kickstart, case.answer) = match cases.first() {
            None => (lines(kickstart), lines(answer)),
            Some(first) if answer.trim().starts_with("stops") => {
                (changed(&first.kickstart, kickstart)?, lines(answer))
            }
            Some(first) => (
                changed(&first.kickstart, kickstart)?,
                changed(&first.answer, answer)?,
            ),
        };
        cases.push(case);
    }
    Ok(cases)
}

/// Applies a case's changes to the lines of the first case: `@N` keeps all lines before line N
/// (counted from 0), `-` removes the next line, and `+` inserts a line.
fn changed(first: &[String], changes: &str) -> Result<Vec<String>> {
    let (mut out, mut at) = (Vec::new(), 0);
    for change in changes.lines().filter(|line| !line.is_empty()) {
        let (sign, text) = change.split_at(1);
        match sign {
            "@" => {
                let next: usize = text.parse()?;
                out.extend(
                    first
                        .get(at..next)
                        .context("the changes are not in ascending order")?
                        .iter()
                        .cloned(),
                );
                at = next;
            }
            "-" => {
                ensure!(
                    first.get(at).is_some_and(|line| line == text),
                    "line {at} is not {text}"
                );
                at += 1;
            }
            _ => out.push(text.to_owned()),
        }
    }
    out.extend(
        first
            .get(at..)
            .context("the changes are not in ascending order")?
            .iter()
            .cloned(),
    );
    Ok(out)
}

/// Reads `START:SECTORS:FORMAT:LABEL`.
fn existing(name: &str, text: &str) -> Result<DiskPartition> {
    let parts: Vec<&str> = text.split(':').collect();
    let [start, sectors, kind, label] = parts.as_slice() else {
        anyhow::bail!("{text} is not a partition");
    };
    Ok(DiskPartition {
        start: start.parse()?,
        sectors: sectors.parse()?,
        kind: (*kind).to_owned(),
        label: (!label.is_empty()).then(|| (*label).to_owned()),
        ..DiskPartition::new(name, "8:1")
    })
}

fn says(case: &Case) -> Result<Vec<String>> {
    let (mut hardware, mut words) = (Hardware::with([]), "");
    for word in &case.machine {
        match word.split_once('=') {
            Some((name, partition)) if partition.contains(':') => {
                let disk = hardware
                    .disks
                    .last_mut()
                    .context("the case has no disk yet")?;
                disk.partitions.push(existing(name, partition)?);
            }
            Some(("table", _)) => {
                hardware
                    .disks
                    .last_mut()
                    .context("the case has no disk yet")?
                    .table = "gpt";
            }
            Some((name, bytes)) => hardware.disks.push(Disk::new(name, bytes.parse()?)),
            None if word == "efi" => hardware.efi = true,
            None => words = "inst.gpt",
        }
    }
    let text = case.kickstart.join("\n");
    let said = model(&text, &|_| Ok(None), &hardware, words);
    // If the model stops, compare only whether it stops early or late, because anaconda words the
    // reasons differently.
    let stop = said.split(':').next().filter(|_| said.starts_with("stops"));
    Ok(stop.map_or_else(
        || said.lines().map(str::to_owned).collect(),
        |stop| vec![stop.to_owned()],
    ))
}

#[test]
fn the_model_agrees_with_anaconda_on_each_kickstart() -> Result<()> {
    let cases = cases()?;
    ensure!(cases.len() > 130, "only {} cases", cases.len());
    for case in &cases {
        let model = says(case).with_context(|| case.name.clone())?;
        // Ignore trailing spaces: an entry `a` whose list is empty may be printed as "a " or as
        // "a".
        let trimmed = |lines: &[String]| {
            lines
                .iter()
                .map(|line| line.trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        let (model, anaconda) = (trimmed(&model), trimmed(&case.answer));
        assert_eq!(
            model, anaconda,
            "{} (left: the model, right: anaconda)",
            case.name
        );
    }
    Ok(())
}
