//! Tests power failures while etcd itself changes between two states.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::crash::UpdateKind;
use tests::crash::bed::{Bed, CONVERGENCE_TIMEOUT, Traced};
use tests::crash::order::{Point, TracerOrder};
use tests::crash::scenarios::{REBUILD, TOGETHER};
use tests::crash::sweep::list;
use tests::harness::{is_all, trial};
use tests::lossy::Loss;

use crate::requirements::{REQUIREMENTS, tracer};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_partial_data_directory_is_archived_and_never_deleted",
            REQUIREMENTS,
            half_born,
        ),
        trial(
            "an_etcd_that_is_killed_during_its_first_start_is_started_again",
            REQUIREMENTS,
            killed_first_start,
        ),
        trial(
            "an_interrupted_promotion_is_finished_at_the_next_boot",
            REQUIREMENTS,
            promotion,
        ),
    ]
}

/// etcd-io/etcd#16596: an etcd that was interrupted while it created its first data refuses this
/// data at every later start.
fn half_born() -> Result<()> {
    let (mut bed, victim) = held_first_start()?;
    bed.hosts[victim].cut_power()?;
    let data = bed.hosts[victim].path("/var/lib/etcd/data/member");
    ensure!(
        data.join("snap/db").exists() && data.join("wal.tmp").exists(),
        "etcd was not interrupted at the right point"
    );
    ensure!(!data.join("wal").exists(), "etcd already has its log");
    let database = fs::read(data.join("snap/db"))?;

    bed.hosts[victim].boot()?;
    bed.wait_healthy()?;
    let aside = bed.hosts[victim].path("/var/lib/etcd/aside");
    let put: Vec<_> = fs::read_dir(&aside)?.collect::<Result<_, _>>()?;
    let [put] = put.as_slice() else {
        anyhow::bail!("{} contains {put:?}", aside.display())
    };
    ensure!(
        put.file_name().to_string_lossy().starts_with("half-born-"),
        "the data was archived as {put:?}"
    );
    let kept = fs::read(put.path().join("member/snap/db"))?;
    ensure!(
        kept == database && put.path().join("member/wal.tmp").exists(),
        "the archive does not contain the old data"
    );
    let said = bed.hosts[victim].journal("firstboot")?;
    ensure!(
        said.contains("first start was interrupted")
            && said.contains("moving /var/lib/etcd/data to"),
        "{said}"
    );
    Ok(())
}

/// Kills etcd during its first start. firstboot must not wait for its deadline, because the guard
/// does not let etcd start on the partial data.
fn killed_first_start() -> Result<()> {
    let (bed, victim) = held_first_start()?;
    let host = &bed.hosts[victim];
    host.check(&["systemctl", "kill", "--signal=KILL", "etcd.service"])?;
    bed.wait_healthy()?;
    let said = bed.hosts[victim].journal("firstboot")?;
    ensure!(
        said.contains("stopped during its first start, and left partial data")
            && said.contains("first start was interrupted"),
        "{said}"
    );
    Ok(())
}

/// Returns a bed, and the index of the host on which the tracer holds etcd during etcd's first
/// start. etcd's database exists. The write-ahead log is complete, but has not been renamed into
/// place yet.
fn held_first_start() -> Result<(Bed, usize)> {
    let bed = Bed::booted(tracer(), UpdateKind::Files)?;
    let victim = TOGETHER.victim;
    let orders = bed.orders(victim, Traced::Etcd);
    let point = Point {
        what: "rename /var/lib/etcd/data/member/wal".to_owned(),
        nth: 1,
    };
    TracerOrder::Hold(point).submit(&orders)?;
    (TOGETHER.begin)(&bed)?;
    ensure!(
        bed.reaches_point(victim, Traced::Etcd)?,
        "etcd never reached the rename of its log"
    );
    Ok((bed, victim))
}

/// Cuts the power between etcd's start as a learner and the end of firstboot's run.
fn promotion() -> Result<()> {
    let mut bed = Bed::booted(tracer(), UpdateKind::Files)?;
    let victim = REBUILD.victim;
    let (points, wanted) = list(&bed, &REBUILD)?;
    let start = points
        .iter()
        .rposition(|point| point.what == "spawn")
        .context("etcd was never started")?;
    let own = "127.0.0.1";
    let matters = |point: &&Point| {
        let to_a_voter = point.what.starts_with("send ")
            && point.what.ends_with(":2379")
            && !point.what.contains(own);
        point.what == "spawn" || point.what.ends_with("/journal") || to_a_voter
    };
    // `make test` covers every second point.
    let step = if is_all() { 1 } else { 2 };
    let points: Vec<&Point> = points[start..]
        .iter()
        .filter(matters)
        .take(6)
        .step_by(step)
        .collect();
    ensure!(
        points.len() >= 3,
        "there are too few points between start and promotion: {points:?}"
    );
    for point in points {
        (REBUILD.setup)(&bed)?;
        TracerOrder::Hold(point.clone()).submit(&bed.orders(victim, Traced::Firstboot))?;
        (REBUILD.begin)(&bed)?;
        let reached = bed.reaches_point(victim, Traced::Firstboot)?;
        println!(
            "the power fails {} {point}",
            if reached {
                "before"
            } else {
                "without having reached"
            }
        );
        bed.power_cut(&[victim], Loss::Nothing)?;
        (REBUILD.end)(&bed).with_context(|| {
            format!("within {CONVERGENCE_TIMEOUT:?} of the power failure before {point}")
        })?;
        let difference = bed.state(victim)?.differs_from(&wanted);
        ensure!(
            difference.is_none(),
            "after the power failed before {point}: {difference:?}"
        );
    }
    Ok(())
}
