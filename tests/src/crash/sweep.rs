//! The sweep runs a scenario once to list its points, and then once more for each point. In each of
//! these runs, the sweep kills the traced program or cuts the power at the point.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use super::bed::{Bed, Traced};
use super::order::{Point, TracerOrder};
use super::state::State;
use crate::lossy::Loss;

/// An operation of firstboot on a node. The sweep repeats the operation from the same initial
/// state.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// The scenario's name.
    pub name: &'static str,
    /// The host on which the traced program runs.
    pub victim: usize,
    /// The traced program, which is a unit of the image or a command.
    pub traced: Traced,
    /// Brings the hosts to the initial state.
    pub setup: fn(&Bed) -> Result<()>,
    /// Starts the scenario. The sweep calls this function after it has given the tracer its order.
    pub begin: fn(&Bed) -> Result<()>,
    /// Checks the conditions that must be true while the traced program is stopped at a point. The
    /// program has been killed or is being held, and has not been started again.
    pub between: fn(&Bed) -> Result<()>,
    /// Waits for the end of the scenario. The end state must be the same regardless of any
    /// interruption.
    pub end: fn(&Bed) -> Result<()>,
}

/// The results of a scenario's points.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of points in the scenario.
    pub all: usize,
    /// The number of points that led to the correct end state.
    pub passed: usize,
    /// The number of points that later runs did not reach, because the listing run repeated an
    /// action more often. An example is a query to a peer that is not up yet. Instead of such a
    /// point, the last occurrence of the action in a later run was tested.
    pub fewer: usize,
    /// The points that no run reached.
    pub missed: Vec<String>,
    /// The points at which a run failed, each with the reason and the journals.
    pub failed: Vec<String>,
}

impl Report {
    /// Adds the results of another scenario.
    pub fn add(&mut self, other: Self) {
        self.all += other.all;
        self.passed += other.passed;
        self.fewer += other.fewer;
        self.missed.extend(other.missed);
        self.failed.extend(other.failed);
    }

    /// Returns an error that describes the failures if any point failed. Also returns an error if
    /// no point passed, or if more than one in `POINTS_PER_ALLOWED_MISS` points was missed.
    pub fn ok(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{self}\n{}", self.failed.join("\n"));
        let missed = self.missed.len();
        ensure!(
            self.passed > 0 && missed * POINTS_PER_ALLOWED_MISS <= self.all,
            "{self}: too few points were reached\n{}",
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
            "{passed} of {all} points passed, {failed} failed, {fewer} occurred fewer times, {missed} not reached"
        )
    }
}

/// Runs a scenario undisturbed, and returns the points it passes and its end state.
///
/// # Errors
/// Returns an error if the traced program was started more than once, since only the points of its
/// first start are listed.
pub fn list(bed: &Bed, scenario: &Scenario) -> Result<(Vec<Point>, State)> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.setup)(bed).with_context(|| format!("{}: preparing", scenario.name))?;
    TracerOrder::List.submit(&folder)?;
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
        "{} was started {} more times without a disturbance",
        scenario.name,
        restarts.trim()
    );
    Ok((TracerOrder::points(&folder)?, bed.state(scenario.victim)?))
}

/// The disturbance of the hosts at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The traced program is killed.
    Kill,
    /// The victim's power is cut. The value determines which unflushed data the victim's disks
    /// lose.
    Power(Loss),
    /// The power of all three hosts is cut. The value determines which unflushed data their disks
    /// lose.
    AllPower(Loss),
    /// The traced program is killed, the victim's data is removed, and its etcd is killed.
    Empty,
}

/// The maximum number of attempts to reach a point.
const MAX_ATTEMPTS_PER_POINT: usize = 4;
/// The number of consecutive failures after which the test bed counts as broken.
const MAX_FAILURES_IN_A_ROW: usize = 5;
/// If a sweep misses more than one in this many points, the sweep fails.
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
    for (number, (point, disturbance)) in points.iter().enumerate() {
        if in_a_row == MAX_FAILURES_IN_A_ROW {
            report.failed.push(format!(
                "{}: {MAX_FAILURES_IN_A_ROW} points in a row failed; the remaining points were not tried",
                scenario.name
            ));
            break;
        }
        let name = format!("{}: {disturbance:?} before {point}", scenario.name);
        let reached = reach(bed, scenario, point, *disturbance, wanted, &done);
        in_a_row = if reached.is_err() { in_a_row + 1 } else { 0 };
        let line = match reached {
            Ok(Reached::Point(it)) => {
                report.passed += 1;
                let line = if it == *point {
                    "ok".to_owned()
                } else {
                    format!("ok, with the last occurrence, #{}", it.nth)
                };
                done.push((it, *disturbance));
                line
            }
            Ok(Reached::Done(it)) => {
                report.fewer += 1;
                format!(
                    "#{} was the last occurrence, which has already been tested",
                    it.nth
                )
            }
            Ok(Reached::Nothing) => {
                report.missed.push(name.clone());
                "not reached".to_owned()
            }
            Err(error) => {
                let why = format!("{error:#}\n{}", bed.journals());
                report.failed.push(format!("{name}: {why}"));
                // Print the failure immediately, because the remaining points can take hours.
                format!("FAILED: {why}")
            }
        };
        println!("{}/{} {name}: {line}", number + 1, points.len());
    }
    report
}

/// The point at which a run was disturbed.
enum Reached {
    /// The run was disturbed at this point, and reached the correct end state.
    Point(Point),
    /// The run was not disturbed, because the action occurred fewer times than in the listing run.
    /// This point is the last occurrence of the action, and has already been tested.
    Done(Point),
    /// No run was disturbed, because no run reached the listed point or its replacement.
    Nothing,
}

/// Runs a scenario until it reaches the point, but at most [`MAX_ATTEMPTS_PER_POINT`] times. If the
/// action of the point occurs fewer times than in the listing run, its last occurrence replaces the
/// missing point.
fn reach(
    bed: &mut Bed,
    scenario: &Scenario,
    listed: &Point,
    disturbance: Disturbance,
    wanted: &State,
    done: &[(Point, Disturbance)],
) -> Result<Reached> {
    let mut point = listed.clone();
    for _ in 0..MAX_ATTEMPTS_PER_POINT {
        let Some(times) = run_point(bed, scenario, &point, disturbance, wanted)
            .with_context(|| format!("at #{}", point.nth))?
        else {
            return Ok(Reached::Point(point));
        };
        // An action that did not occur in this run can still occur in the next run.
        if times > 0 {
            point.nth = times;
        }
        if done.contains(&(point.clone(), disturbance)) {
            return Ok(Reached::Done(point));
        }
    }
    Ok(Reached::Nothing)
}

/// Runs a scenario once with the disturbance at the point. If the point was reached, returns
/// `None`. Otherwise, returns how many times the action of the point occurred. Returns an error if
/// the end state is wrong.
fn run_point(
    bed: &mut Bed,
    scenario: &Scenario,
    point: &Point,
    disturbance: Disturbance,
    wanted: &State,
) -> Result<Option<usize>> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.setup)(bed).context("preparing")?;
    bed.flush_disks();
    let order = if matches!(disturbance, Disturbance::Kill | Disturbance::Empty) {
        TracerOrder::Kill(point.clone())
    } else {
        TracerOrder::Hold(point.clone())
    };
    order.submit(&folder)?;
    (scenario.begin)(bed)?;
    let reached = bed.reaches_point(scenario.victim, scenario.traced)?;
    if reached {
        (scenario.between)(bed).context("while the program is stopped at the point")?;
    }
    match disturbance {
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
        bail!("the end state differs from that of an undisturbed run:\n{difference}");
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
