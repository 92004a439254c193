//! Reports the faults for which a command's own parse method refuses the line (pykickstart
//! rhel7-branch, commands/). The table of commands does not describe these faults.

use super::line::{EarlierLines, Line, stops_anaconda};
use super::realm;
use crate::check::finding::Finding;
use crate::check::python::decimal;

/// Checks a line as the command's own parse method does.
pub(super) fn check(line: &Line<'_>, earlier: &mut EarlierLines, out: &mut Vec<Finding>) {
    match line.command.name {
        "autopart" => autopart(line, earlier, out),
        "bootloader" => out.extend(bootloader(line)),
        "driverdisk" => driverdisk(line, earlier, out),
        "install" if line.value("--root-device") == Some("") => {
            out.push(value(
                line,
                "--root-device",
                "--root-device has no device",
                "remove it",
            ));
        }
        "keyboard" => out.extend(keyboard(line, earlier)),
        "method" => out.push(
            stops_anaconda(
                "kickstart/command",
                line,
                "kickstart in CentOS 7 has no command `method`",
                "write url, nfs, harddrive or cdrom",
            )
            .effect("anaconda crashes, because the command has a name but no parser"),
        ),
        "mount" => mount_point(line, out),
        "network" => network(line, out),
        "nvdimm" => nvdimm(line, earlier, out),
        "ostreesetup" => out.extend(ostreesetup(line)),
        "partition" => out.extend(tmpfs(line, earlier)),
        "raid" | "volgroup" => members(line, out),
        "realm" => out.extend(realm::check(line, earlier)),
        "rootpw" if line.words.len() != 1 && !line.has("--lock") => {
            let message = "rootpw needs one password, or --lock";
            out.push(stops_anaconda(
                "kickstart/words",
                line,
                message,
                "write rootpw --lock, or --iscrypted and a hash",
            ));
        }
        "snapshot" => snapshot(line, earlier, out),
        "sshkey" | "sshpw" => duplicate_user(line, earlier, out),
        "timezone" if line.words.is_empty() && line.given.is_empty() => {
            out.push(stops_anaconda(
                "kickstart/words",
                line,
                "timezone needs a time zone",
                "write timezone Etc/UTC --isUtc",
            ));
        }
        "vnc" => out.extend(vnc(line, earlier)),
        _ => {}
    }
}

fn bootloader(line: &Line<'_>) -> Option<Finding> {
    let has_two = line
        .value("--boot-drive")
        .is_some_and(|drives| drives.contains(','));
    has_two.then(|| {
        value(
            line,
            "--boot-drive",
            "--boot-drive accepts only one disk",
            "name one disk",
        )
    })
}

fn keyboard(line: &Line<'_>, earlier: &EarlierLines) -> Option<Finding> {
    let says = |name: &str| earlier.is_set(line, name);
    let is_empty = line.words.is_empty() && !says("--vckeymap") && !says("--xlayouts");
    is_empty.then(|| {
        stops_anaconda(
            "kickstart/words",
            line,
            "keyboard needs a keymap, --vckeymap= or --xlayouts=",
            "write keyboard --vckeymap=us",
        )
    })
}

fn ostreesetup(line: &Line<'_>) -> Option<Finding> {
    let url = line.value("--url").unwrap_or("http:");
    let is_known = ["file:", "http:", "https:"]
        .iter()
        .any(|kind| url.starts_with(kind));
    (!is_known).then(|| {
        value(
            line,
            "--url",
            "ostreesetup accepts only file:, http: and https: URLs",
            "write the complete URL",
        )
    })
}

fn tmpfs(line: &Line<'_>, earlier: &EarlierLines) -> Option<Finding> {
    let says = |name: &str| earlier.is_set(line, name);
    let grows = says("--grow") || says("--maxsize");
    (line.value("--fstype") == Some("tmpfs") && grows).then(|| {
        stops_anaconda(
            "kickstart/contradiction",
            line,
            "a tmpfs cannot have --grow or --maxsize=",
            "remove the option; --size= sets the size of a tmpfs",
        )
    })
}

fn vnc(line: &Line<'_>, earlier: &EarlierLines) -> Option<Finding> {
    let password = earlier.text(line, "--password").unwrap_or_default();
    let is_refused = !password.is_empty() && !(6..=8).contains(&password.len());
    is_refused.then(|| {
        value(
            line,
            "--password",
            "a VNC password must have 6 to 8 characters",
            "choose another password",
        )
    })
}

/// Returns an error that marks the option, or the command's name if the line does not have the
/// option.
fn value(line: &Line<'_>, option: &str, message: &str, instead: &str) -> Finding {
    let span = line
        .find(option)
        .map_or_else(|| line.span(), |given| given.span.clone());
    Finding::error("kickstart/option-value", span, message)
        .effect("anaconda stops")
        .fix(instead)
}

fn autopart(line: &Line<'_>, earlier: &EarlierLines, out: &mut Vec<Finding>) {
    // Like --type, the option --nolvm sets the type. If both --nolvm and --type are present, the
    // first of the two options applies.
    let first = line
        .given
        .iter()
        .find(|given| ["--nolvm", "--type"].contains(&given.option.names[0]));
    let plain = first.is_some_and(|given| given.option.names[0] == "--nolvm");
    let kind = earlier
        .text(line, "--type")
        .filter(|_| !plain)
        .unwrap_or_default();
    let fstype = earlier.text(line, "--fstype").unwrap_or_default();
    if fstype == "btrfs" {
        out.push(value(
            line,
            "--fstype",
            "autopart does not accept --fstype=btrfs",
            "write --type=btrfs",
        ));
    }
    if kind.eq_ignore_ascii_case("btrfs") && !fstype.is_empty() {
        let message = "--type=btrfs cannot be combined with --fstype=";
        out.push(stops_anaconda(
            "kickstart/contradiction",
            line,
            message,
            "remove one of them",
        ));
    }
}

fn driverdisk(line: &Line<'_>, earlier: &EarlierLines, out: &mut Vec<Finding>) {
    let options = ["--source", "--biospart"]
        .iter()
        .filter(|name| earlier.is_set(line, name))
        .count();
    match (line.words.len(), options) {
        (0, 0) => out.push(stops_anaconda(
            "kickstart/words",
            line,
            "driverdisk needs a partition, --source= or --biospart=",
            "write one of them",
        )),
        (0, 1) | (_, 0) => {}
        _ => out.push(stops_anaconda(
            "kickstart/contradiction",
            line,
            "driverdisk accepts only one of a partition, --source= and --biospart=",
            "keep only one of them",
        )),
    }
}

fn mount_point(line: &Line<'_>, out: &mut Vec<Finding>) {
    let Some(point) = line.words.get(1) else {
        return;
    };
    if point.value.to_lowercase() != "none" && !point.value.starts_with('/') {
        let message = format!("`{}` is not a mount point", point.value);
        let finding = Finding::error("kickstart/option-value", point.span.clone(), message)
            .effect("anaconda stops");
        out.push(finding.fix("write an absolute path, or the word none"));
    }
}

fn network(line: &Line<'_>, out: &mut Vec<Finding>) {
    let name = line.value("--interfacename").unwrap_or_default();
    let number = match name.split_once('.') {
        Some(("vlan", _)) => Some(None),
        Some((_, number)) => Some(decimal(number)),
        None => None,
    };
    // pykickstart applies its rule for names with the prefix `vlan` after its rule for names with a
    // dot. The number after the prefix therefore replaces a valid number after the dot.
    let number = name
        .strip_prefix("vlan")
        .map(decimal)
        .map_or(number, |second| match number {
            Some(None) => Some(None),
            _ => Some(second),
        });
    if number.is_some_and(|id| !id.is_some_and(|id| (0..=4095).contains(&id))) {
        let message = format!("`{name}` does not end with a VLAN number from 0 to 4095");
        out.push(value(
            line,
            "--interfacename",
            &message,
            "write a name such as ens7.171 or vlan171",
        ));
    }
    let wrong = |option: &str| {
        option
            .split_once('=')
            .is_none_or(|(_, value)| value.is_empty() || value.contains('='))
    };
    let options = line.value("--bridgeopts").unwrap_or_default();
    if !options.is_empty() && options.split(',').any(wrong) {
        let message = "--bridgeopts accepts only KEY=VALUE pairs, separated by commas";
        out.push(value(
            line,
            "--bridgeopts",
            message,
            "write pairs such as stp=no,forward-delay=2",
        ));
    }
    let set = |name: &str| line.value(name).is_some_and(|value| !value.is_empty());
    if line.value("--bindto") == Some("mac") && set("--vlanid") && !set("--bondopts") {
        let message = "--bindto=mac cannot be combined with --vlanid=";
        out.push(stops_anaconda(
            "kickstart/contradiction",
            line,
            message,
            "remove --bindto=mac",
        ));
    }
}

fn nvdimm(line: &Line<'_>, earlier: &EarlierLines, out: &mut Vec<Finding>) {
    let says = |name: &str| earlier.is_set(line, name);
    let missing = match line.words.first().map(|word| word.value.as_str()) {
        Some("reconfigure") if !says("--namespace") => "nvdimm reconfigure needs --namespace=",
        Some("reconfigure") if !says("--sectorsize") => "nvdimm reconfigure needs --sectorsize=",
        Some("use") if !says("--namespace") && !says("--blockdevs") => {
            "nvdimm use needs --namespace= or --blockdevs="
        }
        Some("reconfigure" | "use") | None => return,
        Some(_) => {
            out.push(stops_anaconda(
                "kickstart/words",
                line,
                "nvdimm accepts only reconfigure and use",
                "write one of them",
            ));
            return;
        }
    };
    out.push(stops_anaconda(
        "kickstart/needed-option",
        line,
        missing,
        "add it",
    ));
}

/// Checks `raid` and `volgroup`. A new array or group needs members. For an existing array or
/// group, the line must not list members. For an existing array, the line must name the array.
fn members(line: &Line<'_>, out: &mut Vec<Finding>) {
    let exists = line.has("--useexisting") || line.has("--noformat");
    let shown = &line.name.value;
    match line.words.len() {
        1 if !exists => out.push(stops_anaconda(
            "kickstart/words",
            line,
            format!("{shown} has no members"),
            "list the partitions after the name, or write --useexisting",
        )),
        0 | 1 => {}
        _ if exists => out.push(stops_anaconda(
            "kickstart/words",
            line,
            format!("{shown} lists the members of an existing array or group"),
            "remove the members",
        )),
        _ => {}
    }
    let device = line
        .given
        .iter()
        .find(|given| given.option.names[0] == "--device");
    let device = device
        .and_then(|given| given.value.as_deref())
        .unwrap_or("md0");
    if line.is(&["raid"]) && exists && ["", "md"].contains(&device) {
        out.push(value(
            line,
            "--device",
            "raid --useexisting needs the name of the array",
            "write --device=NAME",
        ));
    }
}

fn snapshot(line: &Line<'_>, earlier: &mut EarlierLines, out: &mut Vec<Finding>) {
    if let Some(origin) = line.words.first() {
        let parts: Vec<&str> = origin.value.split('/').collect();
        if parts.len() != 2 || parts.contains(&"") {
            let message = format!(
                "`{}` does not have the form VOLUME-GROUP/VOLUME",
                origin.value
            );
            let finding = Finding::error("kickstart/option-value", origin.span.clone(), message);
            out.push(
                finding
                    .effect("anaconda stops")
                    .fix("write a name such as cl/root"),
            );
        }
    }
    if !earlier.names.insert((
        "snapshot",
        line.value("--name").unwrap_or_default().to_owned(),
    )) {
        let finding = stops_anaconda(
            "kickstart/twice",
            line,
            "two snapshots have the same name",
            "choose another name",
        );
        out.push(finding);
    }
}

/// Reports a second key or password for the same user. pykickstart tries to print a warning, but
/// crashes because it reads an attribute that the command's data lacks (`ud.name` in
/// commands/sshkey.py and sshpw.py).
fn duplicate_user(line: &Line<'_>, earlier: &mut EarlierLines, out: &mut Vec<Finding>) {
    let user = line.value("--username").unwrap_or_default().to_owned();
    let message = format!(
        "the kickstart contains a second {} for the user {user}",
        line.command.name
    );
    if !earlier.names.insert((line.command.name, user)) {
        let finding = Finding::error("kickstart/twice", line.span(), message);
        out.push(
            finding
                .effect("anaconda crashes: AttributeError")
                .fix(match line.command.name {
                    "sshkey" => {
                        "keep one key, and let %post write the other keys into ~/.ssh/authorized_keys"
                    }
                    _ => "keep only one",
                }),
        );
    }
}
