//! firstboot is killed at each of its points, and finishes the same job all the same.

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use tests::crash::bed::Bed;
use tests::crash::scenarios;
use tests::crash::sweep::{Report, list, sweep};
use tests::harness::trial;

use crate::{NEEDS, tracer};

/// How many points of each scenario a run takes; `CRASH_POINTS=all` takes all.
const SAMPLE: usize = 6;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("firstboot_killed_at_any_point_finishes_the_same_job", NEEDS, killed)]
}

fn killed() -> Result<()> {
    let all = std::env::var("CRASH_POINTS").is_ok_and(|points| points == "all");
    let only = std::env::var("CRASH_SCENARIO").unwrap_or_default();
    let seed: u64 = match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().context("CRASH_SEED is no number")?,
        Err(_) => 1,
    };
    let bed = Bed::on(tracer())?;
    let mut total = Report::default();
    let mut known = 0;
    for scenario in scenarios::ALL.iter().filter(|scenario| scenario.name.contains(&only)) {
        let (mut points, wanted) = list(&bed, scenario)?;
        known += points.len();
        println!("{}: {} points", scenario.name, points.len());
        if !all {
            points = sample(points, seed);
        }
        total.add(sweep(&bed, scenario, &points, &wanted));
    }
    println!("crash sweep: {} of {known} points, seed {seed}: {total}", total.all);
    for missed in &total.missed {
        println!("not reached: {missed}");
    }
    total.ok()
}

/// Some of them, in their order, drawn by a linear congruential generator (Knuth's MMIX).
fn sample<T>(mut all: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed;
    while all.len() > SAMPLE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 33).unwrap_or_default() % all.len();
        all.remove(at);
    }
    all
}
