//! Tests that firstboot still completes its work after a disturbance at any point. In each
//! disturbance, firstboot is killed, etcd's data is removed, or the power fails and the disk loses
//! unflushed data.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use tests::crash::UpdateKind;
use tests::crash::bed::{Bed, Traced};
use tests::crash::scenarios;
use tests::crash::sweep::{Disturbance, Report, Scenario, list, sweep};
use tests::harness::{is_all, long, trial};
use tests::lossy::Loss;
use tests::requirement::Requirement;

use crate::requirements::{REQUIREMENTS, tracer};

/// The number of points of each scenario that `make test` and `make test-all` cover.
const SAMPLE: [usize; 2] = [1, 4];

pub(crate) fn trials() -> Vec<Trial> {
    let with_fuse: Vec<Requirement> = REQUIREMENTS
        .iter()
        .copied()
        .chain([Requirement::Fuse])
        .collect();
    vec![
        trial(
            "firstboot_killed_at_any_point_finishes_the_same_job",
            REQUIREMENTS,
            killed,
        ),
        trial(
            "a_wal_that_firstboot_had_no_time_to_record_is_recorded_by_its_next_run",
            REQUIREMENTS,
            killed_before_record,
        ),
        trial(
            "power_lost_at_any_point_with_all_unflushed_writes",
            &with_fuse,
            power_lost,
        ),
        trial(
            "data_removed_at_any_point_is_rebuilt",
            REQUIREMENTS,
            emptied,
        ),
        long(
            "a_downgrade_killed_at_any_point_finishes_the_same_job",
            &[REQUIREMENTS, &UpdateKind::Minor.requirements()].concat(),
            downgrade_killed,
        ),
        long(
            "power_lost_at_any_point_of_a_downgrade",
            &[&with_fuse[..], &UpdateKind::Minor.requirements()].concat(),
            downgrade_power_lost,
        ),
    ]
}

fn killed() -> Result<()> {
    let settings = Settings::read()?;
    let scenarios = settings.share(&scenarios::ALL, 0, 2);
    let bed = || Bed::booted(tracer(), UpdateKind::Files);
    run(bed, &settings, &scenarios, |_| Disturbance::Kill)
}

/// Kills firstboot after etcd has created its WAL. The next run must record the data in the
/// journal. It must also record the end of the WAL, in a file next to the data.
fn killed_before_record() -> Result<()> {
    let mut bed = Bed::booted(tracer(), UpdateKind::Files)?;
    let scenario = scenarios::TOGETHER;
    let (points, wanted) = list(&bed, &scenario)?;
    let record = points
        .into_iter()
        .find(|point| point.what.ends_with("/.firstboot-progress.new"))
        .context("the scenario does not record the end of the WAL")?;
    sweep(&mut bed, &scenario, &[(record, Disturbance::Kill)], &wanted).ok()
}

fn downgrade_killed() -> Result<()> {
    let settings = Settings::read()?;
    let bed = || Bed::booted(tracer(), UpdateKind::Minor);
    run(bed, &settings, &scenarios::MINOR, |_| Disturbance::Kill)
}

/// An operator or an accident removes the data at an arbitrary moment. Only the scenarios in which
/// firstboot.service is traced are included. In particular, the scenario in which an operator makes
/// the node leave is omitted, because that operator wants to keep the data.
fn emptied() -> Result<()> {
    let settings = Settings::read()?;
    let comes: Vec<Scenario> = scenarios::ALL
        .into_iter()
        .filter(|scenario| scenario.traced == Traced::Firstboot)
        .collect();
    let comes = settings.share(&comes, 0, 4);
    let bed = || Bed::booted(tracer(), UpdateKind::Files);
    run(bed, &settings, &comes, |_| Disturbance::Empty)
}

fn power_lost() -> Result<()> {
    let settings = Settings::read()?;
    let scenarios = settings.share(&scenarios::ALL, 1, 2);
    let bed = || Bed::lossy(tracer(), UpdateKind::Files);
    run(bed, &settings, &scenarios, losses(settings.seed))
}

fn downgrade_power_lost() -> Result<()> {
    let settings = Settings::read()?;
    let bed = || Bed::lossy(tracer(), UpdateKind::Minor);
    run(bed, &settings, &scenarios::MINOR, losses(settings.seed))
}

/// Returns a function that takes the number of a point and returns the kind of power cut at that
/// point.
fn losses(seed: u64) -> impl Fn(usize) -> Disturbance {
    let losses = [
        Loss::Unflushed,
        Loss::Contents,
        Loss::Zeros,
        Loss::Torn(seed),
        Loss::Nothing,
    ];
    // The length of `losses` is not a multiple of 3, so each kind of loss affects one node at some
    // points and all three nodes at other points.
    move |number| {
        let loss = losses[number % losses.len()];
        if number % 3 == 2 {
            Disturbance::AllPower(loss)
        } else {
            Disturbance::Power(loss)
        }
    }
}

/// The part of the sweep that a run covers, as set in the environment.
struct Settings {
    /// `CRASH_POINTS`, the number of points to test in each scenario, or `all`.
    points: usize,
    /// `CRASH_SCENARIO`, which selects only scenarios with this text in their names.
    only: String,
    /// `CRASH_SEED`, the seed that selects the sample.
    seed: u64,
    /// `CRASH_PART`, such as 2/5, which selects the second of every five points.
    part: (usize, usize),
}

impl Settings {
    fn read() -> Result<Self> {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        let seed = match var("CRASH_SEED").as_str() {
            "" => 1,
            seed => seed.parse().context("CRASH_SEED is not a number")?,
        };
        let points = match var("CRASH_POINTS").as_str() {
            "" => SAMPLE[usize::from(is_all())],
            "all" => usize::MAX,
            count => count
                .parse()
                .context("CRASH_POINTS is not a number or `all`")?,
        };
        let part = match var("CRASH_PART").as_str() {
            "" => (1, 1),
            part => {
                let numbers = part
                    .split_once('/')
                    .and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
                numbers
                    .filter(|(nth, of)| (1..=*of).contains(nth))
                    .context("CRASH_PART is not a part such as 2/5")?
            }
        };
        Ok(Self {
            points,
            only: var("CRASH_SCENARIO"),
            seed,
            part,
        })
    }

    /// Returns the scenarios that this run covers with one kind of disturbance. `make test` covers
    /// every `step`-th scenario, starting with the index `first`. It kills firstboot in one half of
    /// the scenarios, and cuts the power in the other half.
    fn share(&self, scenarios: &[Scenario], first: usize, step: usize) -> Vec<Scenario> {
        if self.points > SAMPLE[0] || !self.only.is_empty() {
            return scenarios.to_vec();
        }
        scenarios
            .iter()
            .skip(first)
            .step_by(step)
            .copied()
            .collect()
    }

    /// Returns the points of a scenario that this run covers.
    fn take<T>(&self, points: Vec<T>) -> Vec<T> {
        let (nth, of) = self.part;
        sample(points, self.points, self.seed)
            .into_iter()
            .skip(nth - 1)
            .step_by(of)
            .collect()
    }
}

/// Runs the given scenarios whose names contain the text in `CRASH_SCENARIO`, or all of them if
/// that variable is not set.
fn run(
    bed: impl FnOnce() -> Result<Bed>,
    settings: &Settings,
    scenarios: &[Scenario],
    blow: impl Fn(usize) -> Disturbance,
) -> Result<()> {
    let mut total = Report::default();
    let mut known = 0;
    let mut selected = scenarios
        .iter()
        .filter(|scenario| scenario.name.contains(&settings.only))
        .peekable();
    if selected.peek().is_none() {
        println!("none of these scenarios is selected");
        return Ok(());
    }
    let bed = &mut bed()?;
    for scenario in selected {
        let (points, wanted) = list(bed, scenario)?;
        known += points.len();
        println!("{}: {} points", scenario.name, points.len());
        let drawn = settings.take(points);
        let first = total.all;
        let points: Vec<_> = drawn
            .into_iter()
            .zip(first..)
            .map(|(point, number)| (point, blow(number)))
            .collect();
        total.add(sweep(bed, scenario, &points, &wanted));
    }
    println!(
        "crash sweep: {} of {known} points, seed {}: {total}",
        total.all, settings.seed
    );
    for missed in &total.missed {
        println!("not reached: {missed}");
    }
    total.ok()
}

/// Returns a sample of `wanted` points. Divides all points into `wanted` equal ranges, and draws
/// one point from each range with a linear congruential generator (Knuth's MMIX).
fn sample<T>(all: Vec<T>, wanted: usize, seed: u64) -> Vec<T> {
    let (mut state, count) = (seed, all.len());
    let wanted = wanted.min(count);
    let drawn: BTreeSet<usize> = (0..wanted)
        .map(|stretch| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (first, next) = (stretch * count / wanted, (stretch + 1) * count / wanted);
            first + usize::try_from(state >> 33).unwrap_or_default() % (next - first).max(1)
        })
        .collect();
    all.into_iter()
        .enumerate()
        .filter(|(at, _)| drawn.contains(at))
        .map(|(_, point)| point)
        .collect()
}
