//! Renders the page. Every string that does not come from the server itself is escaped.

use members::survey::{Row, Verdict, health, role, size};

use super::elements::{Escaped, Table, Tone, chip, dash, explained_chip, facts, moment, or_dash};
use super::view::{Machine, MachineStage, View};
use crate::status::{Report, word};

/// Renders the whole page.
pub(super) fn page(view: &View) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name} – etcd-image</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"/board/board.css\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\n\
         <script src=\"/board/board.js\" defer></script>\n</head>\n<body>\n\
         <header><h1>Cluster {name}</h1>\n<p id=\"live\" role=\"status\">Without JavaScript, this page reloads every 10 seconds.</p></header>\n\
         <main id=\"board\">\n{main}</main>\n</body>\n</html>\n",
        name = Escaped(&view.cluster),
        main = fragment(view)
    )
}

/// Renders the part of the page that changes.
pub(super) fn fragment(view: &View) -> String {
    let mut text = overview(view) + &machines(&view.machines);
    match &view.report {
        Some(report) => text += &(members(report) + &lists(report) + &images(report)),
        None if view.asks_members => {
            text += "<h2>Members</h2>\n<p>The members have not answered yet.</p>\n";
        }
        None => {
            text += "<h2>Members</h2>\n<p>The server does not query the members, because it has no \
                client certificate. Start it with <code>--client</code>.</p>\n";
        }
    }
    text
}

/// Renders what an operator must know first: the verdict, the number of machines in each stage, and
/// everything that is in progress or failed.
fn overview(view: &View) -> String {
    let mut known = Vec::new();
    if let Some(report) = &view.report {
        known.push(("Cluster", verdict(report)));
    }
    let stages = MachineStage::ALL.into_iter().rev().filter_map(|stage| {
        let count = view
            .machines
            .iter()
            .filter(|machine| machine.stage == stage);
        let count = count.count();
        (count > 0).then(|| chip(tone(stage), &format!("{count} {}", stage.word())))
    });
    known.push((
        "Machines, by their last stage",
        stages.collect::<Vec<_>>().join(" "),
    ));
    if let Some(report) = &view.report {
        known.extend(progress(report));
    }
    facts("Overview", &known)
}

fn verdict(report: &Report) -> String {
    let tone = match report.verdict {
        Verdict::Healthy => Tone::Good,
        Verdict::Degraded => Tone::Warning,
        Verdict::NoQuorum => Tone::Bad,
    };
    let healthy = report.members.iter().filter(|row| row.healthy).count();
    format!(
        "{} {healthy} of {} members are healthy at {}",
        chip(tone, word(report.verdict)),
        report.members.len(),
        moment(Some(&report.at))
    )
}

fn machines(machines: &[Machine]) -> String {
    let mut table = Table::new(
        "Machines",
        &[
            "Machine", "Stage", "Since", "Message", "Address", "Attempts", "Document",
        ],
    );
    for machine in machines {
        let card = machine.card.as_ref().map_or_else(String::new, |card| {
            format!("<br><small>{}</small>", Escaped(card))
        });
        table.row(&[
            Escaped(&machine.name).to_string(),
            stage(machine),
            moment(machine.since.as_deref()),
            message(machine),
            format!(
                "<span class=\"fixed\">{}{card}</span>",
                Escaped(&machine.address)
            ),
            machine.attempts.to_string(),
            document(machine),
        ]);
    }
    table.end()
}

/// Renders the time at which the machine first fetched its document, and the image that was the
/// newest when the document was issued. An update of the node's image does not change these two
/// values.
fn document(machine: &Machine) -> String {
    let fetched = match &machine.document {
        Some(time) => moment(Some(time)),
        None => "not fetched".to_owned(),
    };
    match machine.image {
        Some(serial) => format!("{fetched}<br><small>issued with image {serial}</small>"),
        None => fetched,
    }
}

/// Renders the stage as a word, with the detail if the detail adds information.
fn stage(machine: &Machine) -> String {
    let chip = chip(tone(machine.stage), machine.stage.word());
    if machine.detail.is_empty() || machine.detail == machine.stage.word() {
        return chip;
    }
    format!("{chip}<br><small>{}</small>", Escaped(&machine.detail))
}

/// Renders the machine's last message, and the result of the newest calls of the `--power` command.
fn message(machine: &Machine) -> String {
    let Some(power) = &machine.power else {
        return or_dash(machine.message.as_deref());
    };
    let mut lines: Vec<String> = machine
        .message
        .iter()
        .map(|message| Escaped(message).to_string())
        .collect();
    let (text, at) = (Escaped(&power.text), moment(Some(&power.at)));
    lines.push(if power.failed {
        format!("{} {text}, {at}", chip(Tone::Warning, "power failed"))
    } else {
        format!("<small>power: {text}, {at}</small>")
    });
    lines.join("<br>")
}

fn members(report: &Report) -> String {
    let mut table = Table::new(
        "Members",
        &[
            "Member",
            "Health",
            "Role",
            "Remarks",
            "Version",
            "Database",
            "Term",
            "Index",
            "Certificate days left",
        ],
    );
    for row in &report.members {
        table.row(&member(row));
    }
    table.end()
}

fn member(row: &Row) -> Vec<String> {
    let answered = |text: String| {
        if row.version.is_empty() { dash() } else { text }
    };
    let remarks: Vec<String> = row
        .errors
        .iter()
        .chain(&row.notes)
        .map(|reason| Escaped(reason).to_string())
        .collect();
    vec![
        Escaped(&row.name).to_string(),
        member_health(row),
        answered(format!("<span class=\"fixed\">{}</span>", role(row))),
        if remarks.is_empty() {
            dash()
        } else {
            remarks.join("<br>")
        },
        answered(Escaped(&row.version).to_string()),
        answered(format!(
            "<span class=\"fixed\">{}</span>",
            size(row.db_size)
        )),
        answered(row.raft_term.to_string()),
        answered(row.raft_index.to_string()),
        days(row),
    ]
}

/// Renders the health of a member. The text for screen readers also contains the faults of a
/// healthy member. On the screen, the chip indicates the faults only by its colour and its sign.
fn member_health(row: &Row) -> String {
    let tone = member_tone(row);
    if !row.healthy || row.errors.is_empty() {
        return chip(tone, health(row));
    }
    let faults: Vec<String> = row.errors.iter().map(ToString::to_string).collect();
    explained_chip(tone, health(row), &faults.join("; "))
}

/// Renders the remaining validity, in days, of the certificates at a member's two ports.
fn days(row: &Row) -> String {
    let ports = [
        ("client port", row.certificate_days_left),
        ("peer port", row.peer_certificate_days_left),
    ];
    let known: Vec<String> = ports
        .iter()
        .filter_map(|(port, days)| Some(format!("{} <small>{port}</small>", (*days)?)))
        .collect();
    if known.is_empty() {
        dash()
    } else {
        known.join("<br>")
    }
}

/// Renders the member lists side by side, if they differ.
fn lists(report: &Report) -> String {
    if report.lists_agree {
        return String::new();
    }
    let head: Vec<String> = std::iter::once("Member".to_owned())
        .chain(
            report
                .lists
                .iter()
                .map(|list| format!("As seen by {}", list.from)),
        )
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new("Member lists that differ", &head);
    for (id, name) in report.listed() {
        let mut cells = vec![format!("{} <small>{}</small>", Escaped(name), Escaped(id))];
        for list in &report.lists {
            cells.push(Escaped(list.role_of(id)).to_string());
        }
        table.row(&cells);
    }
    table.end()
}

/// Renders the update or restart that is in progress, the reason if updates are halted, and
/// everything that has failed.
fn progress(report: &Report) -> Vec<(&'static str, String)> {
    let update = &report.update;
    let mut known = Vec::new();
    if let Some(turn) = &update.turn {
        let text = format!(
            "{} {} has been installing image {} since {}",
            chip(Tone::Busy, "updating"),
            Escaped(&turn.node),
            turn.serial,
            moment(Some(&members::timestamp::rfc3339(turn.since)))
        );
        known.push(("Turn", text));
    } else if let Some(member) = &update.restart {
        let chip = chip(Tone::Busy, "restarting");
        known.push((
            "Turn",
            format!("{chip} {} is restarting its etcd", Escaped(member)),
        ));
    }
    if let Some(halt) = &update.halt {
        let chip = chip(Tone::Warning, "halted");
        known.push(("Updates", format!("{chip} {}", Escaped(halt.reason()))));
    }
    if let (Some(failed), Some(serial)) = (&update.failed, update.newest) {
        let chip = chip(Tone::Bad, "failed");
        let reason = failed.reason(serial);
        known.push(("Newest image", format!("{chip} {}", Escaped(reason))));
    }
    for error in &report.errors {
        let chip = chip(Tone::Bad, "error");
        known.push(("Server", format!("{chip} {}", Escaped(error))));
    }
    known
}

fn images(report: &Report) -> String {
    let serial = |serial: Option<u64>| serial.map_or_else(dash, |serial| serial.to_string());
    let mut known = vec![
        ("Newest image built here", serial(report.update.built)),
        (
            "Newest image that an update has begun to install",
            serial(report.update.newest),
        ),
    ];
    if let Some(backup) = &report.backup {
        known.push(("Newest snapshot", Escaped(backup.line().trim()).to_string()));
    }
    facts("Images and snapshots", &known)
}

/// Returns the tone of a machine's stage.
fn tone(stage: MachineStage) -> Tone {
    match stage {
        MachineStage::Unknown | MachineStage::Allowed => Tone::Neutral,
        MachineStage::Installing | MachineStage::Installed => Tone::Busy,
        MachineStage::Healthy => Tone::Good,
        MachineStage::Approval | MachineStage::Failed => Tone::Warning,
        MachineStage::Held => Tone::Bad,
    }
}

fn member_tone(row: &Row) -> Tone {
    match (row.healthy, row.errors.is_empty()) {
        (false, _) => Tone::Bad,
        (true, false) => Tone::Warning,
        (true, true) => Tone::Good,
    }
}
