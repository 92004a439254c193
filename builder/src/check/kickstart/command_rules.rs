//! Checks the commands that pykickstart accepts. Reports secrets, and settings that have no effect
//! or do harm (anaconda 21.48.22.159, pyanaconda/kickstart.py, users.py, bootloader.py; blivet
//! 0.61, formats/, platform.py).

use super::line::Line;
use super::options::GivenOption;
use super::{disk, network, split::Token};
use crate::check::finding::Finding;

/// Reports a command's secrets, and its ignored, unsupported and harmful settings.
pub(super) fn check(line: &Line<'_>, out: &mut Vec<Finding>) {
    match line.command.name {
        "rootpw" | "user" | "sshpw" => password(line, out),
        "bootloader" => bootloader(line, out),
        "clearpart" => label(line, out),
        "dmraid" | "multipath" | "upgrade" => out.push(
            Finding::error(
                "kickstart/gone",
                line.span(),
                format!("anaconda 21 no longer executes {}", line.name.value),
            )
            .effect("anaconda stops, because it does not support this command of pykickstart")
            .fix("remove it"),
        ),
        "firewall" => firewall(line, out),
        "selinux" if line.has("--disabled") => out.push(
            Finding::warning("kickstart/selinux", line.span(), "SELinux is off")
                .effect("files receive no labels, and enabling SELinux later requires a boot that relabels them")
                .fix("write selinux --enforcing"),
        ),
        "network" => network::check(line, out),
        "url" | "repo" | "liveimg" => source(line, out),
        "cmdline" if ["text", "graphical"].contains(&line.name.value.as_str()) => waits(line, out),
        "vnc" => waits(line, out),
        "partition" | "logvol" | "raid" | "btrfs" | "autopart" => partition(line, out),
        "services" => services(line, out),
        _ => {}
    }
    disk::names(&line.given, out);
    for name in ["--wepkey", "--wpakey", "--reverse-password"] {
        out.extend(
            line.find(name)
                .map(|secret| clear(secret, "pass the secret in another way")),
        );
    }
    if line.is(&["iscsi", "vnc"]) {
        out.extend(
            line.find("--password")
                .map(|secret| clear(secret, "pass the secret in another way")),
        );
    }
}

fn waits(line: &Line<'_>, out: &mut Vec<Finding>) {
    let message = format!(
        "after an error, {} mode waits at a prompt indefinitely",
        line.name.value
    );
    let finding = Finding::warning("kickstart/waits", line.span(), message);
    out.push(
        finding
            .effect("the error goes unnoticed")
            .fix("write cmdline"),
    );
}

fn firewall(line: &Line<'_>, out: &mut Vec<Finding>) {
    const ZONE: &str = "write firewall --use-system-defaults, and add a zone file";
    if line.has("--use-system-defaults") {
        return;
    }
    let off = line.given.iter().rfind(|given| {
        ["--disable", "--disabled", "--enable", "--enabled"].contains(&given.option.names[0])
    });
    if off.is_some_and(|given| given.option.names[0].starts_with("--disable")) {
        let finding = Finding::warning("kickstart/firewall", line.span(), "the firewall is off");
        out.push(
            finding
                .effect("every host can reach the etcd ports")
                .fix(ZONE),
        );
    } else if !line.list("--remove-service").any(|name| name == "ssh") {
        let finding = Finding::warning(
            "kickstart/firewall",
            line.span(),
            "this line opens ssh to every host",
        );
        let itself = line.has("--ssh")
            || line.list("--service").any(|name| name == "ssh")
            || line.list("--port").any(|port| port == "22:tcp");
        let effect = if itself {
            "the line names ssh, and the zone does not restrict the sources"
        } else {
            "anaconda adds ssh to the services of this line"
        };
        out.push(finding.effect(effect).fix(ZONE));
    }
}

fn services(line: &Line<'_>, out: &mut Vec<Finding>) {
    for name in line.list("--enabled") {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        if ["timer", "socket", "path", "target", "mount"].contains(&kind) {
            out.push(
                Finding::warning(
                    "kickstart/services",
                    line.span(),
                    format!("the `services` command cannot enable a .{kind} unit"),
                )
                .effect(format!(
                    "anaconda tries to enable {name}.service, and ignores the failure"
                ))
                .fix("write a preset file"),
            );
        }
    }
}

fn bootloader(line: &Line<'_>, out: &mut Vec<Finding>) {
    if let Some(span) = line
        .find("--location")
        .filter(|given| given.value.as_deref() == Some("partition"))
    {
        out.push(
            Finding::error(
                "kickstart/bootloader",
                span.span.clone(),
                "--location=partition",
            )
            .effect("anaconda stops, because it cannot install GRUB 2 into a partition")
            .fix("write --location=mbr"),
        );
    }
    // --md5pass implies a password and --iscrypted.
    let secret = line
        .given
        .iter()
        .rfind(|given| ["--password", "--md5pass"].contains(&given.option.names[0]));
    let crypted = line.find("--iscrypted").or_else(|| line.find("--md5pass"));
    let hashed = |given: &GivenOption| {
        given
            .value
            .as_deref()
            .is_some_and(|value| value.starts_with("grub.pbkdf2."))
    };
    match (secret, crypted) {
        (Some(secret), _) if hashed(secret) => {}
        (secret, Some(crypted)) => {
            let span = secret.unwrap_or(crypted).span.clone();
            out.push(
                Finding::error(
                    "kickstart/bootloader",
                    span,
                    "GRUB 2 does not accept this password",
                )
                .effect("anaconda stops: not in grub.pbkdf2 format")
                .fix("write the output of grub2-mkpasswd-pbkdf2, which begins with grub.pbkdf2."),
            );
        }
        (Some(secret), None) => out.push(clear(
            secret,
            "write --iscrypted and the output of grub2-mkpasswd-pbkdf2",
        )),
        (None, None) => {}
    }
}

fn label(line: &Line<'_>, out: &mut Vec<Finding>) {
    let Some(given) = line.find("--disklabel") else {
        return;
    };
    let label = given.value.as_deref().unwrap_or_default();
    if !["", "msdos", "gpt"].contains(&label) {
        out.push(
            Finding::warning(
                "kickstart/filesystem",
                given.span.clone(),
                format!("anaconda does not create the disk label `{label}` on x86"),
            )
            .effect("anaconda stops")
            .fix("write gpt, or msdos on a BIOS machine"),
        );
    }
}

fn clear(given: &GivenOption, instead: &str) -> Finding {
    Finding::error(
        "kickstart/secret",
        given.span.clone(),
        "the secret is in plain text",
    )
    .effect("any client can read the secret, and a copy stays in /root/anaconda-ks.cfg")
    .fix(instead)
}

fn password(line: &Line<'_>, out: &mut Vec<Finding>) {
    let option = line.find("--password");
    let (text, span) = match (line.command.name, option, line.words.last()) {
        ("user", Some(given), _) => (given.value.clone().unwrap_or_default(), given.span.clone()),
        ("rootpw" | "sshpw", _, Some(Token { value, span })) => (value.clone(), span.clone()),
        _ => return,
    };
    if line.is(&["sshpw"]) && line.has("--sshkey") {
        return;
    }
    let hashed = ["$1$", "$5$", "$6$", "!", "*"]
        .iter()
        .any(|kind| text.starts_with(kind));
    let locked = line.has("--lock") && text.is_empty();
    if !line.has("--iscrypted") && !locked {
        let finding = Finding::error("kickstart/secret", span, "the password is in plain text");
        out.push(
            finding
                .effect("any client can read the secret, and a copy stays in /root/anaconda-ks.cfg")
                .fix("write --iscrypted and a hash from openssl passwd -6"),
        );
    } else if line.has("--iscrypted") && text.starts_with("$y$") {
        let finding = Finding::error(
            "kickstart/hash-kind",
            span,
            "glibc 2.17 does not support yescrypt ($y$)",
        );
        out.push(
            finding
                .effect("no one can log in with this hash")
                .fix("create the hash with openssl passwd -6"),
        );
    } else if line.has("--iscrypted") && !hashed && !line.has("--lock") {
        let finding = Finding::error("kickstart/hash-kind", span, "--iscrypted requires a hash");
        out.push(
            finding
                .effect("no one can log in with this value; if the value is the password itself, any client can read it")
                .fix("create a hash with openssl passwd -6"),
        );
    }
}

fn source(line: &Line<'_>, out: &mut Vec<Finding>) {
    if let Some(open) = line.find("--noverifyssl") {
        out.push(
            Finding::warning(
                "kickstart/unverified",
                open.span.clone(),
                "anaconda does not check the server's certificate",
            )
            .effect(
                "anaconda does not check package signatures either, so an attacker on the network path can become root",
            )
            .fix("pass the server's CA with --sslcacert="),
        );
    }
    if line.is(&["liveimg"]) && !line.has("--checksum") {
        out.push(
            Finding::warning(
                "kickstart/unverified",
                line.span(),
                "liveimg has no --checksum=",
            )
            .effect("anaconda unpacks the downloaded file without verifying it")
            .fix("write --checksum= and the SHA-256 of the image"),
        );
    }
    let old = |given: &&GivenOption| {
        given
            .value
            .as_deref()
            .is_some_and(|value| value.contains("mirrorlist.centos.org"))
    };
    for given in line.given.iter().filter(old) {
        out.push(
            Finding::error(
                "kickstart/gone",
                given.span.clone(),
                "the CentOS 7 mirrors were shut down in July 2024",
            )
            .effect("the server no longer exists")
            .fix("write --url= (for repo: --baseurl=) with https://vault.centos.org/7.9.2009/os/x86_64/ or your own mirror"),
        );
    }
}

/// The file systems and other formats that blivet can create on CentOS 7.
const FILE_SYSTEMS: [&str; 15] = [
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "vfat",
    "btrfs",
    "swap",
    "efi",
    "biosboot",
    "prepboot",
    "appleboot",
    "lvmpv",
    "mdmember",
    "tmpfs",
    "EFI System Partition",
];

fn partition(line: &Line<'_>, out: &mut Vec<Finding>) {
    if let Some(secret) = line.find("--passphrase") {
        out.push(clear(
            secret,
            "use --escrowcert, or encrypt the volume after the installation",
        ));
    }
    if let Some(given) = line.find("--fstype") {
        let kind = given.value.as_deref().unwrap_or_default();
        if !kind.is_empty() && !FILE_SYSTEMS.contains(&kind) {
            let message = format!("anaconda 21 cannot create file systems of type `{kind}`");
            let finding = Finding::warning("kickstart/filesystem", given.span.clone(), message);
            out.push(
                finding
                    .effect("anaconda stops")
                    .fix("write xfs, ext4, vfat or swap"),
            );
        }
    }
    let point = line.words.first().map_or("", |word| word.value.as_str());
    if line.is(&["partition"]) && line.has("--grow") && !line.has("--size") && !line.has("--onpart")
    {
        out.push(
            Finding::warning(
                "kickstart/mount-options",
                line.span(),
                "--grow is used without --size=",
            )
            .effect("anaconda requires 500 MiB, and fails only if the disk has less free space")
            .fix("write --size= in MiB; with --grow, the size is the minimum"),
        );
    }
    mount_options(line, point, out);
}

fn mount_options(line: &Line<'_>, point: &str, out: &mut Vec<Finding>) {
    let Some(given) = line.find("--fsoptions") else {
        return;
    };
    let options = given.value.as_deref().unwrap_or_default();
    if options.split(',').any(|option| option == "nobarrier") {
        let message = "nobarrier lets the disk delay writes that fsync reports as stable";
        out.push(
            Finding::error("kickstart/mount-options", given.span.clone(), message)
                .effect("a power cut can lose writes that etcd acknowledged")
                .fix("remove it"),
        );
    }
    // Without a type, the file system is XFS (installclasses/rhel.py, defaultFS).
    let is_xfs = line.value("--fstype").unwrap_or("xfs") == "xfs";
    let late =
        |option: &&str| point == "/" && is_xfs && crate::check::fstab::only_at_first_mount(option);
    if let Some(option) = options.split(',').find(late) {
        out.push(
            Finding::warning(
                "kickstart/mount-options",
                given.span.clone(),
                format!("{option} has no effect on /"),
            )
            .effect("the initramfs mounts / first, and XFS ignores the option in the later remount")
            .fix(format!("write bootloader --append=\"rootflags={option}\"")),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::check::kickstart;

    #[test]
    fn only_xfs_ignores_an_option_in_the_remount_of_the_root() {
        let late = |part: &str| {
            let found = kickstart::check(part);
            let mut rules = found.iter().map(|finding| finding.rule);
            rules.any(|rule| rule == "kickstart/mount-options")
        };
        assert!(late("part / --size=1 --fsoptions=discard\n"));
        assert!(late("part / --size=1 --fstype=xfs --fsoptions=discard\n"));
        assert!(!late("part / --size=1 --fstype=ext4 --fsoptions=discard\n"));
    }
}
