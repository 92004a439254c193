//! Checks a kickstart against the files in the overlay.

use super::document::{Kickstart, read};
use super::line::Line;
use super::packages;
use crate::check::file::{File, Kind};
use crate::check::finding::Finding;

pub(in crate::check) fn installs(text: &str, package: &str) -> bool {
    let kickstart = read(text, &mut Vec::new());
    let lists = kickstart
        .sections
        .iter()
        .filter(|section| section.name() == "%packages");
    lists
        .into_iter()
        .any(|section| packages::entries(section).any(|line| line.text == package))
}

pub(in crate::check) fn cross_check(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for (index, file) in files
        .iter()
        .enumerate()
        .filter(|(_, file)| Kind::of(&file.path) == Some(Kind::Kickstart))
    {
        let kickstart: Kickstart<'_> = read(file.text, &mut Vec::new());
        for line in &kickstart.commands {
            let mut found = Vec::new();
            match line.command.name {
                "services" => services(line, files, &mut found),
                "timezone" => time(line, &kickstart, files, &mut found),
                _ => {}
            }
            out.extend(found.into_iter().map(|finding| (index, finding)));
        }
    }
    out
}

fn services(line: &Line<'_>, files: &[File<'_>], out: &mut Vec<Finding>) {
    for name in line.list("--enabled") {
        let unit = if name.ends_with(".service") {
            name.to_owned()
        } else {
            format!("{name}.service")
        };
        if files
            .iter()
            .any(|file| file.path.ends_with(&format!("/systemd/system/{unit}")))
        {
            let message =
                format!("{unit} does not exist yet, because the overlay adds the unit later");
            out.push(
                Finding::error("kickstart/services", line.span(), message)
                    .effect(
                        "anaconda enables units before %post and ignores missing units, so the unit stays disabled",
                    )
                    .fix(format!("write `enable {unit}` into a preset file")),
            );
        }
    }
}

/// Checks the effects of the `timezone` command on chrony (kickstart.py, Timezone.setup and
/// execute, Services.execute; ntp.py).
fn time(line: &Line<'_>, kickstart: &Kickstart<'_>, files: &[File<'_>], out: &mut Vec<Finding>) {
    if !files.iter().any(|file| file.path == "/etc/chrony.conf") {
        return;
    }
    if line.has("--ntpservers") {
        out.push(
            Finding::warning("kickstart/overwritten", line.span(), "--ntpservers is used together with a chrony.conf in the overlay")
                .effect("anaconda adds the servers to the stock file, and the overlay replaces that file")
                .fix("remove --ntpservers, write the servers into the overlay's file, and do not add --nontp"),
        );
    }
    let names_it = |line: &Line<'_>| {
        line.list("--enabled")
            .any(|name| ["chronyd", "chronyd.service"].contains(&name))
    };
    let scripts = kickstart
        .sections
        .iter()
        .filter(|section| section.name() == "%post");
    let by_script = |body: &str| {
        body.lines()
            .any(|line| line.contains("enable") && line.contains("chronyd"))
    };
    let enabled = kickstart
        .commands
        .iter()
        .any(|line| line.is(&["services"]) && names_it(line));
    if line.has("--nontp")
        && !enabled
        && !scripts
            .into_iter()
            .any(|section| by_script(section.body.text))
    {
        out.push(
            Finding::error(
                "kickstart/nontp",
                line.span(),
                "--nontp is used together with a chrony.conf in the overlay",
            )
            .effect("anaconda disables chronyd before %post, so the node's clock drifts")
            .fix(
                "remove --nontp, so that anaconda enables chronyd and does not change chrony.conf",
            ),
        );
    }
}
