//! Renders the page. Every string that does not come from the server itself is escaped.

use std::fmt::{self, Display, Write as _};

use members::survey::{Row, health, role, size};

use super::view::{Machine, MachineStage, View};
use crate::status::{Report, days, word};

/// A string in which the characters that are special in HTML are escaped.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // A control character, or a character that reverses the direction of the text,
                // could disguise the text that follows.
                c if c.is_control() || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(c) => {
                    f.write_char('\u{fffd}')?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

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
         <header><h1>Cluster {name}</h1>\n<p id=\"live\" role=\"status\">This page shows the state at the time when it was loaded.</p></header>\n\
         <main id=\"board\">\n{main}</main>\n</body>\n</html>\n",
        name = Escaped(&view.cluster),
        main = fragment(view)
    )
}

/// Renders the part of the page that changes.
pub(super) fn fragment(view: &View) -> String {
    let mut text = machines(&view.machines);
    match &view.report {
        Some(report) => text += &report_sections(report),
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

fn machines(machines: &[Machine]) -> String {
    let mut table = Table::new(
        "Machines",
        &[
            "Machine", "Stage", "Since", "Message", "Address", "Image", "Attempts", "Document",
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
            machine.image.map_or_else(dash, |image| image.to_string()),
            machine.attempts.to_string(),
            moment(machine.document.as_deref()),
        ]);
    }
    table.end()
}

/// Renders the stage as a word, with the detail if the detail adds information.
fn stage(machine: &Machine) -> String {
    let chip = chip(tone(machine.stage), machine.stage.word());
    if machine.detail.is_empty() || machine.detail == machine.stage.word() {
        return chip;
    }
    format!("{chip}<br><small>{}</small>", Escaped(&machine.detail))
}

/// Renders the machine's last message, and the result of the `--power` calls.
fn message(machine: &Machine) -> String {
    let Some(power) = &machine.power else {
        return or_dash(machine.message.as_deref());
    };
    let mut lines: Vec<String> = machine
        .message
        .iter()
        .map(|message| Escaped(message).to_string())
        .collect();
    lines.push(if power.failed {
        format!(
            "{} {}",
            chip(Tone::Warning, "power failed"),
            Escaped(&power.text)
        )
    } else {
        format!("<small>{}</small>", Escaped(&power.text))
    });
    lines.join("<br>")
}

fn report_sections(report: &Report) -> String {
    let verdict = match report.verdict {
        members::survey::Verdict::Healthy => Tone::Good,
        members::survey::Verdict::Degraded => Tone::Warning,
        members::survey::Verdict::NoQuorum => Tone::Bad,
    };
    let mut table = Table::new(
        "Members",
        &[
            "Member",
            "Health",
            "Role",
            "Version",
            "Database",
            "Term",
            "Index",
            "Certificate days left",
            "Remarks",
        ],
    );
    for row in &report.members {
        table.row(&member(row));
    }
    let mut text = table.end();
    let _ = writeln!(
        text,
        "<p>The cluster is {} at {}.</p>",
        chip(verdict, word(report.verdict)),
        moment(Some(&report.at))
    );
    text += &lists(report);
    text += &facts(report);
    text
}

fn member(row: &Row) -> Vec<String> {
    let answered = !row.version.is_empty();
    let number = |text: String| if answered { text } else { dash() };
    let remarks: Vec<String> = row
        .errors
        .iter()
        .chain(&row.notes)
        .map(|reason| Escaped(reason).to_string())
        .collect();
    vec![
        Escaped(&row.name).to_string(),
        chip(member_tone(row), health(row)),
        format!("<span class=\"fixed\">{}</span>", Escaped(role(row))),
        number(Escaped(&row.version).to_string()),
        number(size(row.db_size)),
        number(row.raft_term.to_string()),
        number(row.raft_index.to_string()),
        Escaped(days(row)).to_string(),
        if remarks.is_empty() {
            dash()
        } else {
            remarks.join("<br>")
        },
    ]
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

fn facts(report: &Report) -> String {
    let update = &report.update;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let serial = |serial: Option<u64>| serial.map_or_else(dash, |serial| serial.to_string());
    facts.push(("Newest image built here", serial(update.built)));
    facts.push((
        "Newest image that an update has begun to install",
        serial(update.newest),
    ));
    facts.push((
        "Turn",
        match (&update.turn, &update.restart) {
            (Some(turn), _) => format!(
                "{} has been installing image {} since {}",
                Escaped(&turn.node),
                turn.serial,
                moment(Some(&members::timestamp::rfc3339(turn.since)))
            ),
            (None, Some(member)) => format!("{} is restarting its etcd", Escaped(member)),
            (None, None) => "no member".to_owned(),
        },
    ));
    if let Some(halt) = &update.halt {
        facts.push(("Updates halted", Escaped(halt.reason()).to_string()));
    }
    if let (Some(failed), Some(serial)) = (&update.failed, update.newest) {
        facts.push(("Failed image", Escaped(failed.reason(serial)).to_string()));
    }
    if let Some(backup) = &report.backup {
        facts.push(("Newest snapshot", Escaped(backup.line().trim()).to_string()));
    }
    for error in &report.errors {
        facts.push(("Error", Escaped(error).to_string()));
    }
    let mut text = "<h2>Images, updates and snapshots</h2>\n<dl>\n".to_owned();
    for (name, value) in facts {
        let _ = writeln!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    text + "</dl>\n"
}

/// The importance of a state. Each tone also has its own sign, for readers who cannot see its
/// colour.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Neutral,
    Busy,
    Good,
    Warning,
    Bad,
}

fn tone(stage: MachineStage) -> Tone {
    match stage {
        MachineStage::Unknown | MachineStage::Allowed => Tone::Neutral,
        MachineStage::Installing | MachineStage::Installed => Tone::Busy,
        MachineStage::Healthy => Tone::Good,
        MachineStage::Failed => Tone::Warning,
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

fn chip(tone: Tone, text: &str) -> String {
    let (class, sign) = match tone {
        Tone::Neutral => ("neutral", '○'),
        Tone::Busy => ("busy", '◐'),
        Tone::Good => ("good", '✓'),
        Tone::Warning => ("warning", '!'),
        Tone::Bad => ("bad", '✕'),
    };
    format!(
        "<span class=\"chip {class}\"><span aria-hidden=\"true\">{sign}</span> {}</span>",
        Escaped(text)
    )
}

fn dash() -> String {
    "–".to_owned()
}

fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(dash, |text| Escaped(text).to_string())
}

fn moment(time: Option<&str>) -> String {
    time.map_or_else(dash, |time| {
        let time = Escaped(time);
        format!("<time datetime=\"{time}\">{time}</time>")
    })
}

/// A table with its heading. On a narrow screen, each row becomes a list in which each cell shows
/// its column's name. This layout removes the implicit ARIA roles of the elements, so each element
/// states its role explicitly.
struct Table {
    text: String,
    head: Vec<String>,
}

impl Table {
    fn new(title: &str, head: &[&str]) -> Self {
        let id = title.to_lowercase().replace(' ', "-");
        let head: Vec<String> = head.iter().map(|name| Escaped(name).to_string()).collect();
        let mut text = format!(
            "<h2 id=\"{id}\">{title}</h2>\n<table role=\"table\" aria-labelledby=\"{id}\">\n\
             <thead role=\"rowgroup\"><tr role=\"row\">"
        );
        for name in &head {
            let _ = write!(text, "<th role=\"columnheader\" scope=\"col\">{name}</th>");
        }
        text += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
        Self { text, head }
    }

    /// Adds a row of cells in HTML.
    fn row(&mut self, cells: &[String]) {
        self.text += "<tr role=\"row\">";
        for (at, (cell, name)) in cells.iter().zip(&self.head).enumerate() {
            let _ = if at == 0 {
                write!(
                    self.text,
                    "<th role=\"rowheader\" scope=\"row\">{cell}</th>"
                )
            } else {
                write!(
                    self.text,
                    "<td role=\"cell\" data-label=\"{name}\"><span>{cell}</span></td>"
                )
            };
        }
        self.text += "</tr>\n";
    }

    fn end(self) -> String {
        self.text + "</tbody>\n</table>\n"
    }
}
