//! What a kickstart says of the files that the overlay brings.

use super::super::File;
use super::super::finding::Finding;
use super::{Kickstart, read};

/// Whether a kickstart installs a package.
pub(in super::super) fn installs(text: &str, package: &str) -> bool {
    let sections = read(text, &mut Vec::new()).sections;
    sections
        .iter()
        .filter(|section| section.name() == "%packages")
        .any(|section| section.body.lines().any(|line| line.text.trim() == package))
}

pub(in super::super) fn together(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    for (index, file) in files
        .iter()
        .enumerate()
        .filter(|(_, file)| super::super::Kind::of(&file.path) == Some(super::super::Kind::Kickstart))
    {
        let kickstart: Kickstart<'_> = read(file.text, &mut Vec::new());
        for words in &kickstart.commands {
            let lists = |name: &str| {
                words
                    .iter()
                    .filter_map(|word| word.value.strip_prefix(name))
                    .flat_map(|list| list.split(','))
                    .map(|name| name.trim().to_owned())
                    .collect::<Vec<_>>()
            };
            let span = words[0].span.clone();
            if words[0].value == "services" {
                for name in lists("--enabled=") {
                    let unit = if name.ends_with(".service") { name.clone() } else { format!("{name}.service") };
                    if files.iter().any(|file| file.path.ends_with(&format!("/systemd/system/{unit}"))) {
                        out.push((
                            index,
                            Finding::error(
                                "kickstart/services",
                                span.clone(),
                                format!("{unit} is not there yet: the overlay brings it"),
                            )
                            .does("services runs before %post and fails, which nobody sees: the unit stays off")
                            .instead(format!("write `enable {unit}` into a preset file")),
                        ));
                    }
                }
            }
            let brings = |path: &str| files.iter().any(|file| file.path == path);
            if words[0].value == "timezone" && !lists("--ntpservers=").is_empty() && brings("/etc/chrony.conf") {
                out.push((
                    index,
                    Finding::warning("kickstart/overwritten", span, "--ntpservers and a chrony.conf in the overlay")
                        .does("anaconda adds the servers to the stock file, and the overlay replaces it")
                        .instead("write --nontp, and the servers into the overlay's file"),
                ));
            }
        }
    }
    out
}
