//! The commands of a kickstart, their options, and what anaconda makes of them.

use recipes::diagnostic::nearest;

use super::super::finding::Finding;
use super::super::known::{self, KsOption};
use super::Kickstart;
use super::split::Word;

/// A command's option as it is written.
struct Given<'a> {
    word: &'a Word,
    /// The option it is short for, or is.
    option: &'static KsOption,
    /// Its value, behind the = or in the next word.
    value: Option<&'a str>,
}

pub(super) fn check(words: &[Word], out: &mut Vec<Finding>) {
    let Some((command, rest)) = words.split_first() else { return };
    let Some(options) = known::KICKSTART.get(command.value.as_str()) else {
        out.push(unknown_command(command));
        return;
    };
    let given = read(command, options, rest, out);
    for option in options.iter().filter(|option| option.needed) {
        if !given.iter().any(|given| std::ptr::eq(given.option, option)) {
            let message = format!("{} needs {}=", command.value, option.names[0]);
            out.push(
                Finding::error("kickstart/needed-option", command.span.clone(), message)
                    .does("anaconda stops")
                    .instead("add it"),
            );
        }
    }
    special(command, rest, &given, out);
}

fn unknown_command(command: &Word) -> Finding {
    let finding =
        Finding::error("kickstart/command", command.span.clone(), format!("7 has no command {}", command.value));
    let finding = finding.does("anaconda stops: unknown command");
    let instead = match command.value.as_str() {
        "authselect" => "authselect came with 8: write authconfig",
        "timesource" => "timesource came with 8.4: bring a chrony.conf, or write timezone --ntpservers=",
        "module" => "modules came with 8: name the packages",
        "syspurpose" | "rhsm" => "take it away",
        "ostreecontainer" | "bootc" => "it came with later releases; there is ostreesetup",
        "interactive" | "langsupport" | "mouse" | "monitor" | "lilo" | "lilocheck" => {
            "take it away: it is gone since 6 or before"
        }
        "key" => "take it away: installation numbers are gone",
        name => {
            return match nearest(name, known::KICKSTART.keys().copied()) {
                Some(near) => finding.instead(format!("did you mean {near}?")),
                None => finding.instead("take it away, or do it in %post"),
            };
        }
    };
    finding.instead(instead)
}

/// Pairs each option with what it means and its value.
fn read<'a>(command: &Word, options: &'static [KsOption], rest: &'a [Word], out: &mut Vec<Finding>) -> Vec<Given<'a>> {
    let mut given = Vec::new();
    let mut words = rest.iter().peekable();
    while let Some(word) = words.next() {
        if !word.value.starts_with("--") {
            continue;
        }
        let (name, inline) =
            word.value.split_once('=').map_or((word.value.as_str(), None), |(name, value)| (name, Some(value)));
        let begins = |option: &&KsOption| option.names.iter().any(|known| known.starts_with(name));
        let exact = options.iter().find(|option| option.names.contains(&name));
        let short: Vec<_> = options.iter().filter(begins).collect();
        let option = match (exact, &short[..]) {
            (Some(option), _) => option,
            (None, [option]) => {
                let full = option.names.iter().find(|known| known.starts_with(name)).copied().unwrap_or_default();
                out.push(
                    Finding::warning(
                        "kickstart/abbreviation",
                        word.span.clone(),
                        format!("{name} is short for {full}"),
                    )
                    .does("7 takes it, later releases do not")
                    .instead(format!("write {full}")),
                );
                option
            }
            (None, _) => {
                let finding = Finding::error(
                    "kickstart/option",
                    word.span.clone(),
                    format!("{} has no option {name}", command.value),
                )
                .does("anaconda stops: no such option");
                let names = options.iter().flat_map(|option| option.names.iter().copied());
                out.push(match nearest(name, names.clone()) {
                    Some(near) => finding.instead(format!("did you mean {near}?")),
                    None if options.is_empty() => finding.instead(format!("{} has no options", command.value)),
                    None => finding.instead(format!("it has: {}", names.collect::<Vec<_>>().join(", "))),
                });
                continue;
            }
        };
        let value = match (option.form, inline) {
            ("flag", Some(_)) => {
                out.push(
                    Finding::error("kickstart/option-value", word.span.clone(), format!("{name} takes no value"))
                        .does("anaconda stops")
                        .instead(format!("write {name} alone")),
                );
                None
            }
            ("flag", None) => None,
            (_, Some(value)) => Some(value),
            // optparse takes the next word whatever it is.
            (_, None) => words.next().map(|next| next.value.as_str()),
        };
        if option.form != "flag" {
            out.extend(bad_value(word, name, option, value));
        }
        given.push(Given { word, option, value });
    }
    given
}

fn bad_value(word: &Word, name: &str, option: &KsOption, value: Option<&str>) -> Option<Finding> {
    let wrong = |message: String, expected: String| {
        Some(
            Finding::error("kickstart/option-value", word.span.clone(), message)
                .does("anaconda stops")
                .instead(expected),
        )
    };
    let Some(value) = value else { return wrong(format!("{name} has no value"), format!("write {name}=VALUE")) };
    match option.form {
        "int" if value.parse::<i64>().is_err() => {
            wrong(format!("{name} takes a whole number, not `{value}`"), "sizes are in MiB, without a unit".into())
        }
        "boolean"
            if !["true", "1", "on", "yes", "y", "false", "0", "off", "no", "n"]
                .contains(&value.to_lowercase().as_str()) =>
        {
            wrong(format!("{name} takes yes or no, not `{value}`"), "write yes or no".into())
        }
        form if form.contains('|') && !form.split('|').any(|known| known == value) => {
            let expected = nearest(value, form.split('|')).map_or_else(
                || format!("expected one of: {}", form.replace('|', ", ")),
                |near| format!("did you mean {near}?"),
            );
            wrong(format!("{name} knows no `{value}`"), expected)
        }
        _ => None,
    }
}

/// What anaconda does not do as it reads, command by command.
fn special(command: &Word, rest: &[Word], given: &[Given<'_>], out: &mut Vec<Finding>) {
    let find = |name: &str| given.iter().find(|given| given.option.names.contains(&name));
    let has = |name: &str| find(name).is_some();
    let value = |name: &str| find(name).and_then(|given| given.value);
    let span = command.span.clone();
    match command.value.as_str() {
        "rootpw" | "user" | "sshpw" => password(command, rest, given, out),
        "bootloader" => {
            if let Some(place) = find("--location").filter(|given| given.value == Some("partition")) {
                out.push(
                    Finding::error("kickstart/bootloader", place.word.span.clone(), "--location=partition")
                        .does("anaconda refuses it with GRUB 2")
                        .instead("write --location=mbr"),
                );
            }
            if let Some(secret) = find("--password") {
                let hashed = secret.value.is_some_and(|value| value.starts_with("grub.pbkdf2."));
                if has("--iscrypted") && !hashed {
                    out.push(
                        Finding::error(
                            "kickstart/bootloader",
                            secret.word.span.clone(),
                            "this is no password that GRUB 2 takes",
                        )
                        .does("anaconda stops")
                        .instead("it must begin with grub.pbkdf2: grub2-mkpasswd-pbkdf2 makes it"),
                    );
                } else if !hashed {
                    out.push(clear(secret, "write --iscrypted and what grub2-mkpasswd-pbkdf2 says"));
                }
            }
        }
        "firewall" if !has("--use-system-defaults") => {
            if has("--disabled") {
                out.push(
                    Finding::warning("kickstart/firewall", span, "the firewall is off")
                        .does("etcd's ports are open to everyone")
                        .instead("write firewall --use-system-defaults, and bring a zone file"),
                );
            } else if !value("--remove-service").is_some_and(|list| list.split(',').any(|name| name == "ssh")) {
                out.push(
                    Finding::warning("kickstart/firewall", span, "this opens ssh to everyone")
                        .does("anaconda adds ssh to whatever stands here")
                        .instead("write firewall --use-system-defaults, and bring a zone file"),
                );
            }
        }
        "selinux" if has("--disabled") => {
            out.push(
                Finding::warning("kickstart/selinux", span, "SELinux is off")
                    .does("files get no labels; switching it on later needs a relabelling boot")
                    .instead("write selinux --enforcing"),
            );
        }
        "network" => {
            if value("--bootproto") == Some("static") {
                for missing in ["--ip", "--netmask", "--device"].into_iter().filter(|name| !has(name)) {
                    out.push(
                        Finding::error(
                            "kickstart/static-network",
                            span.clone(),
                            format!("a static address without {missing}="),
                        )
                        .does(if missing == "--device" {
                            "it goes to whatever card the installer came by"
                        } else {
                            "anaconda stops"
                        })
                        .instead(format!("add {missing}=")),
                    );
                }
            }
        }
        "url" | "repo" | "liveimg" | "method" => source(command, given, out),
        "text" | "graphical" | "vnc" => {
            out.push(
                Finding::warning(
                    "kickstart/waits",
                    span,
                    format!("after an error {} mode waits at a prompt, for ever", command.value),
                )
                .does("nobody is told")
                .instead("write cmdline"),
            );
        }
        "part" | "partition" | "logvol" | "raid" | "volgroup" | "btrfs" => {
            if let Some(secret) = find("--passphrase") {
                out.push(clear(secret, "use --escrowcert, or encrypt after the installation"));
            }
            partition(command, rest, given, out);
        }
        "timezone" if value("--ntpservers").is_some() && has("--nontp") => {
            out.push(
                Finding::error("kickstart/contradiction", span, "--ntpservers with --nontp")
                    .does("the servers are ignored")
                    .instead("take one of them away"),
            );
        }
        "services" => {
            for name in value("--enabled").into_iter().flat_map(|list| list.split(',')).map(str::trim) {
                if let Some((_, kind)) = name
                    .rsplit_once('.')
                    .filter(|(_, kind)| ["timer", "socket", "path", "target", "mount"].contains(kind))
                {
                    out.push(
                        Finding::error("kickstart/services", span.clone(), format!("services cannot enable a .{kind}"))
                            .does(format!("anaconda looks for {name}.service; that it fails nobody sees"))
                            .instead("write a preset file"),
                    );
                }
            }
        }
        _ => {}
    }
    for secret in ["--wepkey", "--wpakey", "--reverse-password"]
        .iter()
        .filter_map(|name| find(name))
        .chain(find("--password").filter(|_| ["iscsi", "vnc"].contains(&command.value.as_str())))
    {
        out.push(clear(secret, "hand it over another way"));
    }
}

fn clear(given: &Given<'_>, instead: &str) -> Finding {
    Finding::error("kickstart/secret", given.word.span.clone(), "a secret in clear")
        .does("the kickstart is served to anybody, and stays in /root/anaconda-ks.cfg")
        .instead(instead)
}

fn password(command: &Word, rest: &[Word], given: &[Given<'_>], out: &mut Vec<Finding>) {
    let has = |name: &str| given.iter().any(|given| given.option.names.contains(&name));
    let option = given.iter().find(|given| given.option.names.contains(&"--password"));
    let behind = rest.iter().rfind(|word| !word.value.starts_with("--"));
    let (text, span) = match (command.value.as_str(), option, behind) {
        ("user", Some(given), _) => (given.value.unwrap_or_default(), given.word.span.clone()),
        ("rootpw" | "sshpw", _, Some(word)) => (word.value.as_str(), word.span.clone()),
        ("rootpw", _, None) if !has("--lock") => {
            out.push(
                Finding::error("kickstart/rootpw", command.span.clone(), "rootpw with neither a password nor --lock")
                    .does("anaconda stops")
                    .instead("write rootpw --lock, or --iscrypted and a hash"),
            );
            return;
        }
        _ => return,
    };
    if command.value == "sshpw" && has("--sshkey") {
        return;
    }
    let hashed = ["$1$", "$5$", "$6$", "!", "*"].iter().any(|kind| text.starts_with(kind));
    if !has("--iscrypted") && !(has("--lock") && text.is_empty()) {
        let finding = Finding::error("kickstart/secret", span, "a password in clear");
        out.push(
            finding
                .does("the kickstart is served to anybody, and stays in /root/anaconda-ks.cfg")
                .instead("write --iscrypted and a hash from openssl passwd -6"),
        );
    } else if has("--iscrypted") && text.starts_with("$y$") {
        let finding = Finding::error("kickstart/hash-kind", span, "glibc 2.17 does not know yescrypt ($y$)");
        out.push(finding.does("nobody can log in with it").instead("make the hash with openssl passwd -6"));
    } else if has("--iscrypted") && !hashed {
        let finding = Finding::error("kickstart/hash-kind", span, "--iscrypted with what is no hash");
        out.push(
            finding
                .does("nobody can log in with it, and if it is the password all can read it")
                .instead("make a hash with openssl passwd -6"),
        );
    }
}

fn source(command: &Word, given: &[Given<'_>], out: &mut Vec<Finding>) {
    let has = |name: &str| given.iter().any(|given| given.option.names.contains(&name));
    if let Some(open) = given.iter().find(|given| given.option.names.contains(&"--noverifyssl")) {
        out.push(
            Finding::warning("kickstart/unverified", open.word.span.clone(), "the server's certificate is not checked")
                .does("7 checks no signature of a package either: who is on the way is root on the node")
                .instead("give its CA by --sslcacert="),
        );
    }
    if command.value == "liveimg" && !has("--checksum") {
        out.push(
            Finding::warning("kickstart/unverified", command.span.clone(), "liveimg without --checksum=")
                .does("whatever is fetched is unpacked as the system")
                .instead("write --checksum= and its sha256"),
        );
    }
    if ["url", "method"].contains(&command.value.as_str()) && !has("--url") && !has("--mirrorlist") {
        out.push(
            Finding::error(
                "kickstart/needed-option",
                command.span.clone(),
                format!("{} needs --url= or --mirrorlist=", command.value),
            )
            .does("anaconda stops")
            .instead("add it"),
        );
    }
    for given in given.iter().filter(|given| given.value.is_some_and(|value| value.contains("mirrorlist.centos.org"))) {
        out.push(
            Finding::error("kickstart/gone", given.word.span.clone(), "CentOS 7's mirrors are gone since July 2024")
                .does("nothing is to be fetched from there")
                .instead("write https://vault.centos.org/7.9.2009/os/x86_64/ or a mirror of your own"),
        );
    }
}

fn partition(command: &Word, rest: &[Word], given: &[Given<'_>], out: &mut Vec<Finding>) {
    let has = |name: &str| given.iter().any(|given| given.option.names.contains(&name));
    if rest.iter().all(|word| word.value.starts_with("--")) {
        out.push(
            Finding::error("kickstart/partition", command.span.clone(), format!("{} of what?", command.value))
                .does("anaconda stops")
                .instead("name the mount point first, as in part /boot --size=1024"),
        );
        return;
    }
    if ["part", "partition"].contains(&command.value.as_str())
        && !["--size", "--onpart", "--recommended", "--hibernation", "--resize"].iter().any(|name| has(name))
    {
        out.push(
            Finding::error("kickstart/partition", command.span.clone(), "a partition without --size=")
                .does("anaconda stops")
                .instead("write --size= in MiB; with --grow it is the least"),
        );
    }
    for given in given.iter().filter(|given| given.option.names.contains(&"--fsoptions")) {
        let root = rest.iter().any(|word| word.value == "/");
        let options = given.value.unwrap_or_default();
        if options.split(',').any(|option| option == "nobarrier") {
            out.push(
                Finding::error(
                    "kickstart/mount-options",
                    given.word.span.clone(),
                    "nobarrier lets the disk hold back what fsync promised",
                )
                .does("a power cut can lose writes that etcd acknowledged")
                .instead("take it away"),
            );
        }
        if let Some(option) = options.split(',').find(|option| root && super::super::fstab::only_at_first_mount(option))
        {
            out.push(
                Finding::warning(
                    "kickstart/mount-options",
                    given.word.span.clone(),
                    format!("{option} has no effect on /"),
                )
                .does("the initramfs has mounted it already, and XFS ignores the option in the remount")
                .instead(format!("write bootloader --append=\"rootflags={option}\"")),
            );
        }
    }
}

/// What the commands say together.
pub(super) fn check_all(kickstart: &Kickstart<'_>, out: &mut Vec<Finding>) {
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
