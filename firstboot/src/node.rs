//! Which node this machine is: found, verified, and taken on once and for all.

use anyhow::Result;
use recipes::Label;

use crate::exit::refused;
use crate::files::{self, DesiredFile};
use crate::identity::{self, Identity};
use crate::journal::{Event, Journal};
use crate::machine::Machine;
use crate::metadata::SourceLog;
use crate::output::say;
use crate::{image_integrity, metadata, paths, rotation};

/// What this node is, and who. The sources' answers go to `log`.
pub(crate) fn identify(log: &mut SourceLog) -> Result<(Identity, Machine)> {
    image_integrity::check()?;
    let machine = Machine::observe()?;
    let cluster = identity::cluster()?;
    let found = metadata::find(&cluster.metadata, &machine, log)?;
    let verified = identity::verify(found, &identity::trusted()?, cluster, &machine);
    let mut identity = verified.inspect_err(|error| log.refuse(error))?;
    rotation::defer_certificates(&mut identity, &Journal::look(paths::JOURNAL)?)?;
    Ok((identity, machine))
}

/// As whom, and on which machine, this disk was set up.
fn accepted(journal: &Journal) -> Option<(&Label, &Machine)> {
    journal.last(|event| match event {
        Event::Accepted { name, machine } => Some((name, machine)),
        _ => None,
    })
}

/// Refuses a disk that belongs to another node or machine, and a document that another one has replaced.
pub(crate) fn check_before(identity: &Identity, machine: &Machine, journal: &Journal) -> Result<()> {
    let before = accepted(journal);
    if let Some((name, _)) = before
        && *name != identity.node.name
    {
        return Err(refused(format!(
            "this disk was set up as {name}, and the node document is for {}. Install the machine again to make it {}",
            identity.node.name, identity.node.name
        )));
    }
    identity::check_clone(machine, before.map(|(_, machine)| machine))?;
    identity::check_age(identity)
}

/// Takes the identity on, once and for all.
pub(crate) fn adopt_identity(identity: &Identity, machine: &Machine, journal: &mut Journal) -> Result<()> {
    if accepted(journal).is_none() {
        let node = &identity.node;
        say(format!("this is {} of cluster {} ({machine})", node.name, node.cluster));
        journal.add(Event::Accepted { name: node.name.clone(), machine: machine.clone() })?;
    }
    let kept = DesiredFile::new(paths::ACCEPTED, serde_json::to_vec(&identity.envelope)?).mode(0o600, files::ROOT);
    if !kept.is_current()? {
        kept.write()?;
    }
    Ok(())
}
