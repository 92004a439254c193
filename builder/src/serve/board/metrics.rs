//! Formats the board as metrics, in the text format of Prometheus.

use std::fmt::Write as _;

use super::view::{MachineStage, View};
use crate::status::Report;

/// Formats all metrics.
pub(super) fn text(view: &View) -> String {
    let mut page = Page::default();
    page.family(
        "etcd_image_machine_stage",
        "Whether the machine is in this stage of its installation.",
        view.machines.iter().flat_map(|machine| {
            MachineStage::ALL.map(|stage| {
                (
                    vec![
                        ("machine", machine.name.clone()),
                        ("stage", stage.word().to_owned()),
                    ],
                    u8::from(machine.stage == stage).to_string(),
                )
            })
        }),
    );
    page.family(
        "etcd_image_machine_attempts",
        "The number of attempts to install the machine.",
        view.machines.iter().map(|machine| {
            (
                vec![("machine", machine.name.clone())],
                machine.attempts.to_string(),
            )
        }),
    );
    if let Some(report) = &view.report {
        members(&mut page, report);
        cluster(&mut page, report);
    }
    page.text
}

fn members(page: &mut Page, report: &Report) {
    let label = |name: &str| vec![("member", name.to_owned())];
    let rows = || report.members.iter();
    let answered = || rows().filter(|row| !row.version.is_empty());
    page.family(
        "etcd_image_member_healthy",
        "Whether the member is healthy.",
        rows().map(|row| (label(&row.name), u8::from(row.healthy).to_string())),
    );
    page.family(
        "etcd_image_member_leader",
        "Whether the member is the leader.",
        answered().map(|row| (label(&row.name), u8::from(row.leader).to_string())),
    );
    page.family(
        "etcd_image_member_learner",
        "Whether the member is a learner.",
        answered().map(|row| (label(&row.name), u8::from(row.learner).to_string())),
    );
    page.family(
        "etcd_image_member_info",
        "The member's etcd version.",
        answered().map(|row| {
            let labels = vec![
                ("member", row.name.clone()),
                ("version", row.version.clone()),
            ];
            (labels, "1".to_owned())
        }),
    );
    page.family(
        "etcd_image_member_database_bytes",
        "The size of the member's database.",
        answered().map(|row| (label(&row.name), row.db_size.to_string())),
    );
    page.family(
        "etcd_image_member_altered_files",
        "The number of the node's files that differ from its image, according to the newest check.",
        rows().filter_map(|row| {
            let check = row.image_check.as_ref()?;
            Some((label(&row.name), check.differing.to_string()))
        }),
    );
    page.family(
        "etcd_image_member_raft_index",
        "The member's newest raft index.",
        answered().map(|row| (label(&row.name), row.raft_index.to_string())),
    );
    certificates(page, report);
}

fn certificates(page: &mut Page, report: &Report) {
    let days = |port: &'static str, days: Option<i64>, name: &str| {
        days.map(|days| {
            let labels = vec![("member", name.to_owned()), ("port", port.to_owned())];
            (labels, days.to_string())
        })
    };
    page.family(
        "etcd_image_member_certificate_days",
        "The number of whole days until the member's certificate expires.",
        report.members.iter().flat_map(|row| {
            [
                days("client", row.certificate_days_left, &row.name),
                days("peer", row.peer_certificate_days_left, &row.name),
            ]
            .into_iter()
            .flatten()
        }),
    );
}

fn cluster(page: &mut Page, report: &Report) {
    let one = |value: Option<u64>| value.map(|value| (Vec::new(), value.to_string()));
    page.family(
        "etcd_image_member_lists_agree",
        "Whether all members that answer return the same member list.",
        one(Some(u64::from(report.lists_agree))),
    );
    page.family(
        "etcd_image_image_built",
        "The serial of the newest image that was built.",
        one(report.update.built),
    );
    page.family(
        "etcd_image_image_newest",
        "The serial of the newest image that an update has started to install on a member.",
        one(report.update.newest),
    );
    page.family(
        "etcd_image_update_turn",
        "The Unix time at which the turn of the updating member began.",
        report.update.turn.iter().map(|turn| {
            (
                vec![("member", turn.node.to_string())],
                turn.since.to_string(),
            )
        }),
    );
    page.family(
        "etcd_image_snapshot_age_seconds",
        "The age of the newest scheduled snapshot.",
        one(report
            .backup
            .as_ref()
            .and_then(members::survey::Backup::age_seconds)),
    );
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Adds one metric with all its samples. Adds nothing if there are no samples.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'static str, String)>, String)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
                .collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let _ = writeln!(self.text, "{name}{labels} {value}");
        }
    }
}

/// Escapes the characters that are special in a label's value.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
