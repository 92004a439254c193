//! chrony.conf, as chrony 3.4 takes it (conf.c, cmdparse.c): one word that it does not know, and chronyd does not start.

use recipes::diagnostic::nearest;

use super::finding::Finding;
use super::known;
use super::text::Part;

const FATAL: &str = "chronyd does not start";

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut sources = 0;
    for line in Part::whole(text).lines().map(Part::trim) {
        if line.text.is_empty() || line.text.starts_with(['!', ';', '#', '%']) {
            continue;
        }
        let words: Vec<Part<'_>> = line.words().collect();
        let Some((first, rest)) = words.split_first() else { continue };
        let name = first.text.to_ascii_lowercase();
        let Some((least, most)) = known::CHRONY.get(name.as_str()) else {
            out.push(unknown(*first, &name));
            continue;
        };
        if rest.len() < *least {
            out.push(
                Finding::error(
                    "chrony/words",
                    *first,
                    format!("{name} needs {least} more words, here are {}", rest.len()),
                )
                .does(FATAL)
                .instead("give what is missing"),
            );
        } else if let Some(extra) = most.and_then(|most| rest.get(most)) {
            let finding = Finding::error("chrony/words", *extra, format!("too many words for {name}")).does(FATAL);
            out.push(if extra.text.starts_with(['#', '!', ';']) {
                finding.instead("3.4 has no comments behind a directive: move it to a line of its own")
            } else {
                finding.instead("take them away")
            });
        }
        match name.as_str() {
            "server" | "pool" | "peer" => {
                sources += 1;
                source(&name, rest, &mut out);
            }
            "refclock" | "manual" | "local" => sources += 1,
            "makestep" | "maxchange" | "port" | "cmdport" | "maxdistance" | "maxupdateskew" | "minsources"
            | "maxslewrate" | "stratumweight" => numbers(rest, &mut out),
            "commandkey" | "generatecommandkey" | "linux_freq_scale" | "linux_hz" => {
                out.push(
                    Finding::warning("chrony/dead", *first, format!("{name} has no meaning any more"))
                        .does("a warning at each start")
                        .instead("take it away"),
                );
            }
            _ => {}
        }
    }
    if sources == 0 {
        out.push(
            Finding::warning("chrony/no-source", 0..0, "nobody tells the time")
                .does("chronyd runs, and the clock drifts")
                .instead("write server HOST iburst"),
        );
    }
    out
}

fn unknown(word: Part<'_>, name: &str) -> Finding {
    let finding = Finding::error("chrony/directive", word, format!("chrony 3.4 has no directive {name}")).does(FATAL);
    match nearest(name, known::CHRONY.keys().copied()) {
        _ if ["sourcedir", "confdir"].contains(&name) => finding.instead("it came later: name the file by include"),
        _ if known::CHRONY_LATER.contains(name) => finding.instead("it came later: take it away"),
        Some(near) => finding.instead(format!("did you mean {near}?")),
        None => finding.instead("take it away"),
    }
}

fn numbers(words: &[Part<'_>], out: &mut Vec<Finding>) {
    for word in words.iter().filter(|word| word.text.parse::<f64>().is_err()) {
        out.push(
            Finding::error("chrony/words", *word, format!("`{}` is no number", word.text))
                .does(FATAL)
                .instead("write a number"),
        );
    }
}

fn source(kind: &str, rest: &[Part<'_>], out: &mut Vec<Finding>) {
    let Some((host, options)) = rest.split_first() else { return };
    let good = host.text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
    if !good {
        out.push(
            Finding::error("chrony/words", *host, format!("`{}` is no host", host.text))
                .does("chronyd asks for that name, for ever")
                .instead("write a name or an address, without http:// or a port"),
        );
    }
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let name = word.text.to_ascii_lowercase();
        match known::CHRONY_SOURCE.get(name.as_str()) {
            Some(_) if name == "maxsources" && kind != "pool" => {
                out.push(
                    Finding::error("chrony/option", *word, "maxsources is for pool alone")
                        .does(FATAL)
                        .instead("take it away"),
                );
                words.next();
            }
            Some(&"-") => {}
            Some(_) => match words.next() {
                Some(value) if value.text.parse::<f64>().is_ok() => {}
                Some(value) => out.push(
                    Finding::error("chrony/option", *value, format!("{name} takes a number, not `{}`", value.text))
                        .does(FATAL)
                        .instead("write a number"),
                ),
                None => out.push(
                    Finding::error("chrony/option", *word, format!("{name} without its number"))
                        .does(FATAL)
                        .instead("write a number behind it"),
                ),
            },
            None => {
                let finding =
                    Finding::error("chrony/option", *word, format!("chrony 3.4 has no option {name} for {kind}"))
                        .does(FATAL);
                out.push(match nearest(&name, known::CHRONY_SOURCE.keys().copied()) {
                    _ if name == "nts" => finding.instead("NTS came with chrony 4.0: take it away, or use a key"),
                    _ if known::CHRONY_LATER.contains(name.as_str()) => finding.instead("it came later: take it away"),
                    _ if name.starts_with(['#', '!', ';']) => {
                        finding.instead("3.4 has no comments behind a directive: move it to a line of its own")
                    }
                    Some(near) => finding.instead(format!("did you mean {near}?")),
                    None => finding.instead("take it away"),
                });
                if !name.starts_with(['#', '!', ';']) {
                    continue;
                }
                return;
            }
        }
    }
}
