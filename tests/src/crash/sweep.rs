//! The sweep: a scenario is run once to list its points, and then once for each point, at which firstboot is killed.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use super::bed::{Bed, Traced};
use super::order::{Order, Point};
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
    /// What must hold at each point: firstboot is dead, or stands still, and nobody has started it again.
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
    /// Those that the run did not come by.
    pub missed: Vec<String>,
    /// Those that came to another end, and which.
    pub failed: Vec<String>,
}

impl Report {
    /// Adds another scenario's.
    pub fn add(&mut self, other: Self) {
        self.all += other.all;
        self.passed += other.passed;
        self.missed.extend(other.missed);
        self.failed.extend(other.failed);
    }

    /// An error that shows them, if any point failed.
    pub fn ok(&self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{self}\n{}", self.failed.join("\n"));
        ensure!(self.passed > 0, "{self}: nothing was proved");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, all, failed, missed) = (self.passed, self.all, self.failed.len(), self.missed.len());
        write!(f, "{passed} of {all} points passed, {failed} failed, {missed} not reached")
    }
}

/// Runs a scenario undisturbed: what it passes, and what is there in the end.
pub fn list(bed: &Bed, scenario: &Scenario) -> Result<(Vec<Point>, State)> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.prepare)(bed).with_context(|| format!("{}: preparing", scenario.name))?;
    Order::List.give(&folder)?;
    (scenario.begin)(bed)?;
    (scenario.end)(bed).with_context(|| format!("{}, undisturbed", scenario.name))?;
    Ok((Order::points(&folder)?, bed.state(scenario.victim)?))
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// firstboot is killed.
    Kill,
    /// The victim loses its power, and its disk what it may lose.
    Power(Loss),
    /// So do all three.
    AllPower(Loss),
}

/// Runs a scenario once for each of these points.
pub fn sweep(bed: &mut Bed, scenario: &Scenario, points: &[(Point, Blow)], wanted: &State) -> Report {
    let mut report = Report { all: points.len(), ..Report::default() };
    for (number, (point, blow)) in points.iter().enumerate() {
        let name = format!("{}: {blow:?} before {point}", scenario.name);
        let line = match once(bed, scenario, point, *blow, wanted) {
            Ok(true) => {
                report.passed += 1;
                "ok".to_owned()
            }
            Ok(false) => {
                report.missed.push(name.clone());
                "not reached".to_owned()
            }
            Err(error) => {
                report.failed.push(format!("{name}: {error:#}\n{}", bed.journals()));
                "FAILED".to_owned()
            }
        };
        println!("{}/{} {name}: {line}", number + 1, points.len());
    }
    report
}

/// Whether the point was reached. An error where what came after was not the right end.
fn once(bed: &mut Bed, scenario: &Scenario, point: &Point, blow: Blow, wanted: &State) -> Result<bool> {
    let folder = bed.orders(scenario.victim, scenario.traced);
    (scenario.prepare)(bed).context("preparing")?;
    bed.settle();
    let order = if blow == Blow::Kill { Order::Kill(point.clone()) } else { Order::Hold(point.clone()) };
    order.give(&folder)?;
    (scenario.begin)(bed)?;
    let reached = bed.comes_by(scenario.victim, scenario.traced)?;
    if reached {
        (scenario.between)(bed).context("at the point")?;
    }
    match blow {
        Blow::Power(loss) if reached => bed.power_cut(&[scenario.victim], loss)?,
        Blow::AllPower(loss) if reached => bed.power_cut(&[0, 1, 2], loss)?,
        Blow::Kill | Blow::Power(_) | Blow::AllPower(_) => {}
    }
    (scenario.end)(bed)?;
    let now = bed.state(scenario.victim)?;
    if let Some(difference) = now.differs_from(wanted) {
        bail!("it ends otherwise than undisturbed:\n{difference}");
    }
    Ok(reached)
}
