//! For whom a node waits, since when, and what it heard from each last: a line for the operator, and for
//! `systemctl status`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use recipes::Label;
use time::OffsetDateTime;
use time::macros::format_description;

use super::decide::{Memory, Step, View, Views};
use crate::domain::Task;
use crate::membership::{Heard, Phase, Words};

/// What is known of one member, with times.
#[derive(Debug, Clone)]
struct Account {
    view: View,
    /// When it last said anything.
    spoke: Option<SystemTime>,
    /// What came of asking it last.
    now: Heard,
    /// Since when asking it has brought the same.
    since: SystemTime,
}

/// What is known of all others.
#[derive(Debug, Default)]
pub(crate) struct Accounts(BTreeMap<Label, Account>);

impl Accounts {
    /// Takes an answer in.
    pub(crate) fn hear(&mut self, name: &Label, heard: Heard, at: SystemTime) {
        let before = self.0.remove(name);
        let since = before.as_ref().filter(|before| before.now == heard).map_or(at, |before| before.since);
        let (view, spoke) = match &heard {
            Heard::Words(words) => (View { words: Some(words.clone()), fresh: true }, Some(at)),
            Heard::Silence(_) | Heard::Stranger(_) => match before {
                Some(before) => (View { fresh: false, ..before.view }, before.spoke),
                None => (View::default(), None),
            },
        };
        self.0.insert(name.clone(), Account { view, spoke, now: heard, since });
    }

    /// As the rule takes it.
    pub(crate) fn views(&self) -> Views {
        self.0.iter().map(|(name, account)| (name.clone(), account.view.clone())).collect()
    }

    /// The clusters of those that said just now that etcd runs there.
    pub(crate) fn living(&self) -> BTreeSet<u64> {
        let of = |account: &Account| match account.now {
            Heard::Words(Words::Etcd { cluster_id }) => Some(cluster_id),
            _ => None,
        };
        self.0.values().filter_map(of).collect()
    }

    /// Why the node waits. Two times give the same text as long as nothing has changed.
    pub(crate) fn tell(&self, memory: &Memory, step: &Step) -> String {
        let mut parts = Vec::new();
        for (name, account) in &self.0 {
            parts.extend(account.tell(name, memory));
        }
        if *step == Step::Alive {
            return format!(
                "this disk is empty, but a cluster lives, or lived when it was last heard of, so this node must not \
                 start as new ({})",
                parts.join("; ")
            );
        }
        if memory.task.is_new() {
            return format!("waiting until all initial members agree. {}", parts.join("; "));
        }
        format!("told to {}; waiting until all others are. {}", memory.task, parts.join("; "))
    }

    /// Why this node gives up what it was told, because of that member.
    pub(crate) fn objection(&self, memory: &Memory, name: &Label) -> String {
        match self.0.get(name).map(|account| &account.now) {
            Some(Heard::Words(Words::Firstboot { task, .. })) => {
                format!("this node was told to {}, and {name} to {task}. Both give up; tell them the same", memory.task)
            }
            _ => {
                format!("{name} had agreed to {}, and does not want it any more: its etcd runs as before", memory.task)
            }
        }
    }
}

impl Account {
    fn tell(&self, name: &Label, memory: &Memory) -> Option<String> {
        let since = clock(self.since);
        let given_up = memory.without.contains(name);
        if !memory.task.is_new() {
            return self.tell_of_the_told(name, memory, &since);
        }
        Some(match &self.now {
            // Only a living cluster would matter there.
            Heard::Silence(_) | Heard::Stranger(_) if given_up && self.view.words.is_none() => return None,
            Heard::Silence(why) => format!("{name} does not answer since {since} ({why}; {})", self.last_heard()),
            Heard::Stranger(why) => {
                format!("{name}'s peer port is answered since {since}, but not as it should be: {why}")
            }
            Heard::Words(Words::Etcd { cluster_id }) => {
                format!("{name} runs etcd in the cluster {cluster_id:x} since {since}")
            }
            Heard::Words(Words::Firstboot { .. }) if given_up => {
                format!("{name} waits since {since}, though this node was told to go without it")
            }
            Heard::Words(Words::Firstboot { task, .. }) if !task.is_new() => {
                format!("{name} was told to {task} since {since}: run `firstboot restore --from {name}` here, too")
            }
            Heard::Words(Words::Firstboot { without, .. }) if *without != memory.without => {
                let set: Vec<&str> = without.iter().map(Label::as_str).collect();
                let set = if set.is_empty() {
                    "all members of the recipe".into()
                } else {
                    format!("all but {}", set.join(", "))
                };
                format!("{name} waits for {set} since {since}: run `firstboot run --without` the same on each")
            }
            Heard::Words(Words::Firstboot { phase: Phase::Empty, .. }) => format!("{name} is empty, too"),
            Heard::Words(Words::Firstboot { .. }) => format!("{name} is ready"),
        })
    }

    /// The same where this node was told to restore.
    fn tell_of_the_told(&self, name: &Label, memory: &Memory, since: &str) -> Option<String> {
        let left_out = memory.without.contains(name);
        Some(match &self.now {
            Heard::Words(Words::Etcd { cluster_id }) if memory.task == Task::Rollback { cluster: *cluster_id } => {
                format!("{name} runs etcd in that cluster")
            }
            Heard::Words(Words::Etcd { .. }) if left_out => {
                format!("{name} was left out, but runs etcd: stop it, or tell it, too")
            }
            _ if left_out => return None,
            Heard::Words(Words::Etcd { cluster_id }) => {
                format!("{name} runs etcd in the cluster {cluster_id:x} and was not told yet")
            }
            Heard::Silence(why) => format!("{name} does not answer since {since} ({why}; {})", self.last_heard()),
            Heard::Stranger(why) => {
                format!("{name}'s peer port is answered since {since}, but not as it should be: {why}")
            }
            Heard::Words(Words::Firstboot { task: Task::New, .. }) => format!(
                "{name} has no data and was not told yet{}",
                match memory.task {
                    Task::Restore { .. } => format!(": run `firstboot restore --from {}` there", memory.name),
                    _ => String::new(),
                }
            ),
            Heard::Words(Words::Firstboot { task, .. }) if memory.task.with(*task).is_none() => {
                format!("{name} was told to {task} since {since}")
            }
            Heard::Words(Words::Firstboot { without, .. }) if *without != memory.without => {
                format!("{name} was told another --without since {since}: tell all the same")
            }
            Heard::Words(Words::Firstboot { phase: Phase::Empty, .. }) => format!("{name} was told, too"),
            Heard::Words(Words::Firstboot { .. }) => format!("{name} is ready"),
        })
    }

    fn last_heard(&self) -> String {
        let what = match &self.view.words {
            None => return "never heard from".to_owned(),
            Some(Words::Etcd { cluster_id }) => format!("as etcd in the cluster {cluster_id:x}"),
            Some(Words::Firstboot { phase: Phase::Empty, .. }) => "as empty".to_owned(),
            Some(Words::Firstboot { .. }) => "as ready".to_owned(),
        };
        let at = self.spoke.map(clock).unwrap_or_default();
        format!("last heard from at {at}, {what}")
    }
}

fn clock(time: SystemTime) -> String {
    let format = format_description!("[hour]:[minute]:[second] UTC");
    OffsetDateTime::from(time).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::domain::Nonce;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn memory(without: &[&str]) -> Memory {
        let without: BTreeSet<Label> = without.iter().map(|name| label(name)).collect();
        let initial = &BTreeSet::from(["a", "b", "c"].map(label)) - &without;
        Memory { name: label("a"), initial, without, nonce: Nonce::of(1), epochs: vec![], task: Task::New }
    }

    fn empty(without: &[&str]) -> Heard {
        let without = without.iter().map(|name| label(name)).collect();
        Heard::Words(Words::Firstboot { nonce: Nonce::of(2), phase: Phase::Empty, without, task: Task::New })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_says_for_whom_since_when_and_what_was_heard() {
        let mut accounts = Accounts::default();
        let silence = || Heard::Silence("connection refused".into());
        accounts.hear(&label("b"), empty(&[]), at(60));
        accounts.hear(&label("b"), silence(), at(61));
        accounts.hear(&label("c"), silence(), at(61));
        let text = accounts.tell(&memory(&[]), &Step::Wait);
        assert_eq!(
            text,
            "waiting until all initial members agree. b does not answer since 00:01:01 UTC (connection refused; last \
             heard from at 00:01:00 UTC, as empty); c does not answer since 00:01:01 UTC (connection refused; never \
             heard from)"
        );
        accounts.hear(&label("c"), silence(), at(99));
        assert_eq!(accounts.tell(&memory(&[]), &Step::Wait), text, "the same is not told twice");
        assert!(!accounts.views()[&label("b")].fresh);
    }

    #[test]
    fn different_sets_strangers_and_living_clusters_are_named() {
        let mut accounts = Accounts::default();
        accounts.hear(&label("b"), empty(&["c"]), at(0));
        accounts.hear(&label("c"), Heard::Stranger("it speaks HTTP".into()), at(0));
        let text = accounts.tell(&memory(&[]), &Step::Wait);
        assert!(text.contains("b waits for all but c") && text.contains("not as it should be: it speaks"), "{text}");
        assert!(!accounts.tell(&memory(&["c"]), &Step::Wait).contains("HTTP"), "nobody waits for c");
        accounts.hear(&label("c"), Heard::Words(Words::Etcd { cluster_id: 0xab }), at(0));
        let text = accounts.tell(&memory(&["c"]), &Step::Alive);
        assert!(text.contains("must not start as new") && text.contains("c runs etcd in the cluster ab"), "{text}");
    }
}
