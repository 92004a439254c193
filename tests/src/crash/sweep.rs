//! The sweep: a scenario is run once to list its points, and then once for each point, at which
//! firstboot is killed.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use super::bed::{Bed, Traced};
use super::order::{Point, TracerOrder};
use super::state::State;
use crate::lossy::Loss;

/// Something that firstboot does on a node, again and again from the same beginning.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// On which host firstboot is killed.
    pub victim: usize,
    /// As what: the unit that runs at every boot, or a command.
    pub traced: Traced,
    /// Brings the hosts to where it begins.
    pub prepare: fn(&Bed) -> Result<()>,
    /// Begins it. The order has been given.
    pub begin: fn(&Bed) -> Result<()>,
    /// What must hold at each point: firstboot is dead, or stands still, and nobody has started it
    /// again.
    pub between: fn(&Bed) -> Result<()>,
    /// Waits until it has come to its end, which is the same whatever happened on the way.
    pub end: fn(&Bed) -> Result<()>,
}

/// What came of a scenario's points.
#[derive(Debug, Default)]
pub struct Report {
    /// How many the scenario has.
    pub all: usize,
    /// How many came to the right end.
    pub passed: usize,
    /// How many are there only where something is done more often than it had to be in any run
    /// since, such as asking a peer that is not there yet; the last time that it was done is among
    /// those that passed.
    pub fewer: usize,
    /// Those that no run came by.
    pub missed: Vec<String>,
    /// Those that came to another end, and which.
    pub failed: Vec<String>,
}

impl Report {
    /// Adds another scenario's.
    pub fn add(&mut self, other: Self) {
        self.all += other.all;
        self.passed += other.passed;
        self.fewer += other.fewer;
        self.missed.extend(other.missed);
        self.failed.extend(other.failed);
    }

    /// An error that shows them, if any point failed, or if so many were not reached that the runs
    /// cannot be the same.
    pub fn ok(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{self}\n{}", self.failed.join("\n"));
        let missed = self.missed.len();
        ensure!(
            self.passed > 0 && missed * POINTS_PER_ALLOWED_MISS <= self.all,
            "{self}: too little was proved\n{}",
            self.missed.join("\n")
        );
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            all,
            passed,
            fewer,
            missed,
            failed,
        } = self;
        let [missed, failed] = [missed, failed].map(Vec::len);
        write!(
            f,
            "{passed} of {all} points passed, {failed} failed, {fewer} came fewer times, {missed} not reached"
        )
    }
}

/// Runs a scenario undisturbed: what it passes, and what is there in the end.
///
/// # Errors
/// Where what is traced was started more than once: only the points of its first start are listed.
pub fn list(bed: &Bed, scenario: &Scenario) -> Result<(Vec<Point>, State)> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.prepare)(bed).with_context(|| format!("{}: preparing", scenario.name))?;
    TracerOrder::List.give(&folder)?;
    (scenario.begin)(bed)?;
    (scenario.end)(bed).with_context(|| format!("{}, undisturbed", scenario.name))?;
    let unit = format!("{}.service", scenario.traced.name());
    let host = &bed.hosts[scenario.victim];
    let restarts = host.check(&[
        "systemctl",
        "show",
        "--property=NRestarts",
        "--value",
        &unit,
    ])?;
    ensure!(
        restarts.trim() == "0",
        "{}, undisturbed, was started {} times more",
        scenario.name,
        restarts.trim()
    );
    Ok((TracerOrder::points(&folder)?, bed.state(scenario.victim)?))
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// firstboot is killed.
    Kill,
    /// The victim loses its power, and its disk what it may lose.
    Power(Loss),
    /// So do all three.
    AllPower(Loss),
    /// firstboot is killed, the victim's data is removed, and its etcd dies.
    Empty,
}

/// How often a point is looked for that a run did not come by.
const MAX_ATTEMPTS_PER_POINT: usize = 4;
/// So many failures in a row say that the bed is broken.
const MAX_FAILURES_IN_A_ROW: usize = 5;
/// Of so many points one may be missed.
const POINTS_PER_ALLOWED_MISS: usize = 10;

/// Runs a scenario once for each of these points.
pub fn sweep(
    bed: &mut Bed,
    scenario: &Scenario,
    points: &[(Point, Disturbance)],
    wanted: &State,
) -> Report {
    let mut report = Report {
        all: points.len(),
        ..Report::default()
    };
    let mut done = Vec::new();
    let mut in_a_row = 0;
    for (number, (point, blow)) in points.iter().enumerate() {
        if in_a_row == MAX_FAILURES_IN_A_ROW {
            report.failed.push(format!(
                "{}: {MAX_FAILURES_IN_A_ROW} in a row failed; the others were not tried",
                scenario.name
            ));
            break;
        }
        let name = format!("{}: {blow:?} before {point}", scenario.name);
        let reached = reach(bed, scenario, point, *blow, wanted, &done);
        in_a_row = if reached.is_err() { in_a_row + 1 } else { 0 };
        let line = match reached {
            Ok(Reached::Point(it)) => {
                report.passed += 1;
                let line = if it == *point {
                    "ok".to_owned()
                } else {
                    format!("ok, with #{}, the last", it.nth)
                };
                done.push((it, *blow));
                line
            }
            Ok(Reached::Done(it)) => {
                report.fewer += 1;
                format!("#{} was the last, and is done", it.nth)
            }
            Ok(Reached::Nothing) => {
                report.missed.push(name.clone());
                "not reached".to_owned()
            }
            Err(error) => {
                let why = format!("{error:#}\n{}", bed.journals());
                report.failed.push(format!("{name}: {why}"));
                // The rest may take hours.
                format!("FAILED: {why}")
            }
        };
        println!("{}/{} {name}: {line}", number + 1, points.len());
    }
    report
}

/// Which point a run was disturbed at.
enum Reached {
    /// This one, and it came to the right end.
    Point(Point),
    /// None, but this one would have taken the place of what it was to be, and was one earlier.
    Done(Point),
    /// None.
    Nothing,
}

/// Runs a scenario until it comes by the point. Where a run does something fewer times than it was
/// listed, the last time takes the place of the one that is missing.
fn reach(
    bed: &mut Bed,
    scenario: &Scenario,
    listed: &Point,
    blow: Disturbance,
    wanted: &State,
    done: &[(Point, Disturbance)],
) -> Result<Reached> {
    let mut point = listed.clone();
    for _ in 0..MAX_ATTEMPTS_PER_POINT {
        let Some(times) = once(bed, scenario, &point, blow, wanted)
            .with_context(|| format!("at #{}", point.nth))?
        else {
            return Ok(Reached::Point(point));
        };
        // None at all is chance: it may come by the next time.
        if times > 0 {
            point.nth = times;
        }
        if done.contains(&(point.clone(), blow)) {
            return Ok(Reached::Done(point));
        }
    }
    Ok(Reached::Nothing)
}

/// None where the point was reached, and how often the same was done where it was not. An error
/// where what came after was not the right end.
fn once(
    bed: &mut Bed,
    scenario: &Scenario,
    point: &Point,
    blow: Disturbance,
    wanted: &State,
) -> Result<Option<usize>> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.prepare)(bed).context("preparing")?;
    bed.flush_disks();
    let order = if matches!(blow, Disturbance::Kill | Disturbance::Empty) {
        TracerOrder::Kill(point.clone())
    } else {
        TracerOrder::Hold(point.clone())
    };
    order.give(&folder)?;
    (scenario.begin)(bed)?;
    let reached = bed.reaches_point(scenario.victim, scenario.traced)?;
    if reached {
        (scenario.between)(bed).context("at the point")?;
    }
    match blow {
        Disturbance::Power(loss) if reached => bed.power_cut(&[scenario.victim], loss)?,
        Disturbance::AllPower(loss) if reached => bed.power_cut(&[0, 1, 2], loss)?,
        Disturbance::Empty if reached => bed.remove_data(scenario.victim)?,
        Disturbance::Kill
        | Disturbance::Power(_)
        | Disturbance::AllPower(_)
        | Disturbance::Empty => {}
    }
    (scenario.end)(bed)?;
    let now = bed.state(scenario.victim)?;
    if let Some(difference) = now.differs_from(wanted) {
        bail!("it ends otherwise than undisturbed:\n{difference}");
    }
    if reached {
        return Ok(None);
    }
    Ok(Some(
        TracerOrder::points(&folder)?
            .iter()
            .filter(|passed| passed.what == point.what)
            .count(),
    ))
}
