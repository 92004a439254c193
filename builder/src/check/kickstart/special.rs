//! What anaconda makes of a command that pykickstart takes: secrets, what is ignored, what does harm (anaconda
//! 21.48.22.159, pyanaconda/kickstart.py, users.py, bootloader.py).

use super::super::finding::Finding;
use super::command::Given;
use super::disk;
use super::split::Word;

/// What anaconda does not do as it reads, command by command.
pub(super) fn special(command: &Word, rest: &[Word], given: &[Given<'_>], out: &mut Vec<Finding>) {
    let find = |name: &str| given.iter().find(|given| given.option.names.contains(&name));
    let has = |name: &str| find(name).is_some();
    let value = |name: &str| find(name).and_then(|given| given.value);
    let span = command.span.clone();
    match command.value.as_str() {
        "rootpw" | "user" | "sshpw" => password(command, rest, given, out),
        "bootloader" => bootloader(given, out),
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
        "network" if value("--bootproto") == Some("static") => static_network(command, given, out),
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
                    .does("anaconda stops")
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
    disk::names(given, out);
    for secret in ["--wepkey", "--wpakey", "--reverse-password"]
        .iter()
        .filter_map(|name| find(name))
        .chain(find("--password").filter(|_| ["iscsi", "vnc"].contains(&command.value.as_str())))
    {
        out.push(clear(secret, "hand it over another way"));
    }
}

fn bootloader(given: &[Given<'_>], out: &mut Vec<Finding>) {
    let find = |name: &str| given.iter().find(|given| given.option.names.contains(&name));
    let has = |name: &str| find(name).is_some();

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

fn static_network(command: &Word, given: &[Given<'_>], out: &mut Vec<Finding>) {
    let has = |name: &str| given.iter().any(|given| given.option.names.contains(&name));
    for (missing, does) in [
        ("--ip", "anaconda stops"),
        ("--netmask", "anaconda stops"),
        ("--device", "it goes to whatever card the installer came by"),
    ] {
        if !has(missing) {
            let message = format!("a static address without {missing}=");
            let finding = Finding::error("kickstart/static-network", command.span.clone(), message);
            out.push(finding.does(does).instead(format!("add {missing}=")));
        }
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
    let locked = has("--lock") && text.is_empty();
    if !has("--iscrypted") && !locked {
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
