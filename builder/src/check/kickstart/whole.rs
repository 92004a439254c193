//! What the commands of a kickstart say together.

use super::super::finding::Finding;
use super::Kickstart;
use super::split::Word;

/// What the commands say together.
pub(super) fn check(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
    let first = |names: &[&str]| kickstart.commands.iter().find(|words| names.contains(&words[0].value.as_str()));
    // A part that is included holds no more than its own commands.
    let is_whole = !kickstart.sections.is_empty();
    if is_whole {
        for (name, why) in [
            ("lang", "asks for the language"),
            ("keyboard", "asks for the keyboard"),
            ("timezone", "asks for the time zone"),
            ("rootpw", "asks for root's password"),
        ] {
            if first(&[name]).is_none() {
                out.push(
                    Finding::error("kickstart/needed", 0..0, format!("the command {name} is missing"))
                        .does(format!("anaconda {why}, and nobody answers"))
                        .instead(format!("add {name}")),
                );
            }
        }
    }
    if is_whole && !kickstart.includes {
        for (names, shown) in [
            (&["part", "partition", "autopart", "logvol", "btrfs", "raid"][..], "part or autopart"),
            (&["bootloader"], "bootloader"),
        ] {
            if first(names).is_none() {
                out.push(
                    Finding::error("kickstart/needed", 0..0, format!("no {shown}"))
                        .does("anaconda waits for somebody at the console")
                        .instead(format!("add {shown}")),
                );
            }
        }
    }
    if let (Some(auto), Some(_)) =
        (first(&["autopart"]), first(&["part", "partition", "logvol", "volgroup", "raid", "btrfs"]))
    {
        out.push(
            Finding::error("kickstart/contradiction", auto[0].span.clone(), "autopart beside partitions of one's own")
                .does("anaconda stops")
                .instead("take one of them away"),
        );
    }
    let named = |words: &[Word]| words.iter().find_map(|word| word.value.strip_prefix("--name=").map(str::to_owned));
    let before = |at: usize, name: &str, test: &dyn Fn(&[Word]) -> bool| {
        kickstart.commands[..at].iter().any(|words| words[0].value == name && test(words))
    };
    for (at, words) in kickstart.commands.iter().enumerate() {
        match words[0].value.as_str() {
            "user" => {
                if let Some(name) =
                    named(words).filter(|name| before(at, "group", &|group| named(group).as_deref() == Some(name)))
                {
                    out.push(
                        Finding::warning(
                            "kickstart/group-twice",
                            words[0].span.clone(),
                            format!("the group {name} is made twice"),
                        )
                        .does("anaconda stops half way with \"the group exists\", and the account is not locked")
                        .instead("leave group out: user makes the group, with --gid="),
                    );
                }
            }
            "logvol" if !kickstart.includes => {
                let group = words.iter().find_map(|word| word.value.strip_prefix("--vgname="));
                if let Some(group) = group.filter(|group| {
                    !before(at, "volgroup", &|words| words.iter().skip(1).any(|word| word.value == *group))
                }) {
                    out.push(
                        Finding::error(
                            "kickstart/order",
                            words[0].span.clone(),
                            format!("no volgroup {group} before this logvol"),
                        )
                        .does("anaconda stops")
                        .instead("write the volgroup above it"),
                    );
                }
            }
            "volgroup" if !kickstart.includes => {
                for part in words.iter().skip(2).filter(|word| word.value.starts_with("pv.")) {
                    let made = |words: &[Word]| words.iter().any(|word| word.value == part.value);
                    if !before(at, "part", &made) && !before(at, "partition", &made) && !before(at, "raid", &made) {
                        out.push(
                            Finding::error(
                                "kickstart/order",
                                part.span.clone(),
                                format!("no part {} before this volgroup", part.value),
                            )
                            .does("anaconda stops")
                            .instead("write the part above it"),
                        );
                    }
                }
            }
            _ => {}
        }
    }
}
