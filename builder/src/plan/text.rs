//! The plan as text.

use std::fmt::Write as _;

use super::contents::Plan;
use crate::console::counted;
use crate::tuning::{Place, Setting, wrapped};

/// The width at which a reason is wrapped.
const WIDTH: usize = 100;

pub(super) fn render(plan: &Plan) -> String {
    let mut out = format!(
        "{} of {} in {}, etcd {}, profile {}\n\n",
        counted(plan.members.len(), "member"),
        plan.cluster,
        plan.domain,
        plan.etcd,
        plan.profile
    );
    let members = plan
        .members
        .iter()
        .map(|member| [&member.name, &member.address, &member.fqdn].map(Clone::clone));
    out += &table(["MEMBER", "ADDRESS", "FULL NAME"], members);
    let volumes = plan.volumes.iter().map(|volume| {
        [
            volume.mount.into(),
            volume.size.clone(),
            volume.options.clone(),
        ]
    });
    out += &table(["VOLUME", "SIZE", "MOUNTED WITH"], volumes);
    let services = plan.services.iter().map(|service| {
        let state = if service.enabled {
            "enabled"
        } else {
            "disabled"
        };
        [service.unit.clone(), state.to_owned()]
    });
    out += &table(["SERVICE", "AT BOOT"], services);
    let ports = plan
        .ports
        .iter()
        .map(|port| [port.port.to_string(), port.from.join(" ")]);
    out += &table(["PORT", "OPEN TO"], ports);
    out += "FILE\n";
    for file in &plan.files {
        let _ = writeln!(out, "{file}");
    }
    out + &settings(&plan.settings)
}

/// Formats the settings, grouped by the file or place in which they are set, and then by their
/// reason. A star marks a setting that differs from the guide.
fn settings(settings: &[Setting]) -> String {
    let mut out = String::new();
    let places = [
        Place::Sysctl,
        Place::Mount,
        Place::Kernel,
        Place::Package,
        Place::Journald,
        Place::Limit,
        Place::Chrony,
        Place::Etcd,
    ];
    for place in places {
        let here: Vec<&Setting> = settings
            .iter()
            .filter(|setting| setting.place == place)
            .collect();
        let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let width = |of: fn(&Setting) -> usize| {
            here.iter()
                .map(|setting| of(setting))
                .max()
                .unwrap_or(0)
                .max(5)
        };
        let (keys, guides) = (
            width(|s| s.key.len()),
            width(|s| s.guide.as_ref().map_or(0, String::len)),
        );
        let _ = writeln!(
            out,
            "\n  {:keys$}  {:guides$}  THIS IMAGE    {}",
            "KEY",
            "GUIDE",
            place.file()
        );
        for group in here.chunk_by(|a, b| a.why == b.why) {
            for setting in group {
                let star = if setting.guide == setting.image {
                    ' '
                } else {
                    '*'
                };
                let (guide, image) = (cell(&setting.guide), cell(&setting.image));
                let line = format!("{star} {:keys$}  {guide:guides$}  {image}", setting.key);
                let _ = writeln!(out, "{}", line.trim_end());
            }
            for line in wrapped(&format!("{} ({})", group[0].why, group[0].source), WIDTH) {
                let _ = writeln!(out, "      {line}");
            }
        }
    }
    out
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0);
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out + "\n"
}
