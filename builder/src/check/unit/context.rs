//! The information about a unit that systemd 219 has while it reads a line: the unit's name, and
//! the settings of earlier lines.

use super::assignment::Assignment;
use crate::check::systemd::name;
use crate::check::systemd::specifier::{Subject, Table, User};

/// The unit or the daemon whose file is read.
#[derive(Debug)]
pub(super) struct Context {
    /// The type of the unit, such as `service`. The type is empty for the configuration of a
    /// daemon.
    pub(super) kind: &'static str,
    /// The unit itself or, for a template, a few sample instances. A value is accepted if it is
    /// valid for at least one of these units. For a daemon, the list is empty.
    subjects: Vec<Subject>,
    /// The priorities that the scheduling policy allows.
    pub(super) priorities: std::ops::RangeInclusive<i32>,
    /// Whether an earlier line names the unit that this unit triggers.
    pub(super) triggers: bool,
}

/// The verdict of systemd 219 on a string whose specifiers are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expansion {
    /// systemd accepts the text.
    Accepted,
    /// systemd does not accept the string for any unit of this name.
    Rejected,
    /// systemd cannot resolve this specifier.
    Unresolved(char),
}

impl Context {
    /// Creates the context for a unit file, or for a drop-in of the unit.
    pub(super) fn of_unit(id: &str, drop_in: bool) -> Self {
        let kind = name::type_of(id).unwrap_or("service");
        let runs = ["service", "socket", "mount", "swap"].contains(&kind);
        let user = runs.then_some(if drop_in { User::Unknown } else { User::Root });
        let ids = if name::is_template(id) {
            // Sample instances: a name, a number and a path.
            ["x", "1", "-x"]
                .map(|instance| name::with_instance(id, instance))
                .to_vec()
        } else {
            vec![id.to_owned()]
        };
        let subjects = ids
            .into_iter()
            .map(|id| Subject {
                id,
                user: user.clone(),
            })
            .collect();
        Self {
            kind,
            subjects,
            priorities: 0..=0,
            triggers: false,
        }
    }

    /// Creates the context for the configuration of a daemon, in which systemd 219 does not expand
    /// specifiers.
    pub(super) fn of_daemon() -> Self {
        Self {
            kind: "",
            subjects: Vec::new(),
            priorities: 0..=0,
            triggers: false,
        }
    }

    /// Records the setting of an accepted line if the checks of later lines depend on it.
    pub(super) fn note(&mut self, assignment: &Assignment<'_>) {
        let value = assignment.value.text;
        match assignment.key.text {
            "User" => {
                let user = match value {
                    "" | "root" | "0" => User::Root,
                    other => User::Other(
                        self.expand(Table::Full, other)
                            .into_iter()
                            .next()
                            .and_then(Result::ok)
                            .unwrap_or_default(),
                    ),
                };
                for own in self
                    .subjects
                    .iter_mut()
                    .filter_map(|subject| subject.user.as_mut())
                {
                    *own = user.clone();
                }
            }
            "CPUSchedulingPolicy" => {
                self.priorities = match value {
                    "fifo" | "rr" | "1" | "2" => 1..=99,
                    "other" | "batch" | "idle" | "0" | "3" | "5" => 0..=0,
                    // sched_get_priority_min and _max both return -1 for a number that is not a
                    // policy.
                    _ => -1..=-1,
                };
            }
            _ => {}
        }
    }

    /// Resolves the specifiers in a string for the unit or, for a template, for each sample
    /// instance.
    fn expand(&self, table: Table, text: &str) -> Vec<Result<String, char>> {
        if self.subjects.is_empty() || !text.contains('%') {
            return vec![Ok(text.to_owned())];
        }
        self.subjects
            .iter()
            .map(|subject| subject.expand(table, text))
            .collect()
    }

    /// Resolves the specifiers in a string, and uses `takes` to determine whether systemd 219
    /// accepts the result.
    pub(super) fn check_expanded(
        &self,
        table: Table,
        text: &str,
        takes: impl Fn(&str) -> bool,
    ) -> Expansion {
        let all = self.expand(table, text);
        if all
            .iter()
            .any(|one| one.as_ref().is_ok_and(|text| takes(text)))
        {
            return Expansion::Accepted;
        }
        match all.first() {
            Some(Err(letter)) => Expansion::Unresolved(*letter),
            _ => Expansion::Rejected,
        }
    }

    /// Returns the name of the unit that a word in this unit's file refers to. If the word is a
    /// template, systemd inserts the instance of this unit into the word. If this unit has no
    /// instance, systemd inserts the prefix of this unit's name (`resolve_template` of
    /// src/core/unit.c).
    pub(super) fn resolve(&self, word: &str) -> String {
        match self.subjects.first() {
            Some(own) if name::is_template(word) => name::with_instance(
                word,
                name::instance(&own.id).unwrap_or_else(|| name::prefix(&own.id)),
            ),
            _ => word.to_owned(),
        }
    }

    /// Resolves the specifiers in a string for the unit or, for a template, for the first sample
    /// instance.
    pub(super) fn first(&self, table: Table, text: &str) -> Result<String, char> {
        self.expand(table, text).swap_remove(0)
    }
}
