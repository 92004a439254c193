//! /etc/fstab: which options take effect where, on kernel 3.10 and systemd 219.

mod options;

use std::collections::BTreeMap;

use super::finding::Finding;
use super::text::Part;
use options::{GENERIC, SYSTEMD, XFS, is_allocsize, known_to_xfs, xfs_only};

pub(super) use options::only_at_first_mount;

/// One line of the table.
struct Entry<'a> {
    source: Part<'a>,
    target: Part<'a>,
    kind: Part<'a>,
    options: Part<'a>,
    pass: Option<Part<'a>>,
}

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for line in
        Part::whole(text).lines().map(Part::trim).filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
    {
        let fields: Vec<Part<'_>> = line.words().collect();
        let [source, target, kind, options, rest @ ..] = &fields[..] else {
            out.push(
                Finding::error("fstab/fields", line, "a line has device, mount point, type and options")
                    .does("ignored, and the volume is not mounted")
                    .instead("write four fields and 0 0; a space within one is \\040"),
            );
            continue;
        };
        if rest.len() > 2 && !rest[2].text.starts_with('#') {
            out.push(
                Finding::error("fstab/fields", rest[2], "more than six fields")
                    .does("ignored")
                    .instead("a space within a field is \\040"),
            );
        }
        let entry =
            Entry { source: *source, target: *target, kind: *kind, options: *options, pass: rest.get(1).copied() };
        if let Some(before) = seen.insert(target.text, source.text).filter(|_| target.text.starts_with('/')) {
            out.push(
                Finding::error("fstab/twice", *target, format!("{} has a line already, for {before}", target.text))
                    .does("219 takes the first and drops the other")
                    .instead("take one away"),
            );
        }
        check_entry(&entry, &mut out);
    }
    out
}

fn check_entry(entry: &Entry<'_>, out: &mut Vec<Finding>) {
    let (target, kind) = (entry.target, entry.kind.text);
    if !target.text.starts_with('/') && kind != "swap" && !["none", "swap"].contains(&target.text) {
        out.push(
            Finding::error("fstab/mount-point", target, "a mount point begins with /")
                .does("ignored")
                .instead(format!("write /{}", target.text)),
        );
    }
    if target.text.len() > 1 && target.text.ends_with('/') {
        out.push(
            Finding::warning("fstab/mount-point", target, "a / at the end of a mount point")
                .does("other programs compare the text and miss it")
                .instead("take it away"),
        );
    }
    let name = entry.source.text.strip_prefix("/dev/").unwrap_or_default();
    if ["sd", "vd", "hd", "xvd", "nvme"].iter().any(|kind| name.starts_with(kind)) {
        out.push(
            Finding::warning(
                "fstab/device-name",
                entry.source,
                format!("{} is another disk on another machine", entry.source.text),
            )
            .does("the boot waits for it for 90 s, then stops in emergency mode")
            .instead("write LABEL= or UUID="),
        );
    }
    if kind == "swap" {
        out.push(
            Finding::warning("fstab/swap", entry.kind, "swap on a node of etcd")
                .does("a member whose pages are on disk misses heartbeats")
                .instead("leave it out"),
        );
    }
    if kind == "xfs" && entry.pass.is_some_and(|pass| pass.text != "0") {
        let pass = entry.pass.unwrap_or(entry.kind);
        out.push(
            Finding::warning("fstab/fsck", pass, "XFS has nothing to check at boot")
                .does("fsck.xfs does nothing, and the boot waits for it")
                .instead("write 0"),
        );
    }
    for option in entry.options.split(',') {
        check_option(entry, option, out);
    }
}

fn check_option(entry: &Entry<'_>, option: Part<'_>, out: &mut Vec<Finding>) {
    let name = option.text.split('=').next().unwrap_or_default();
    let (root, xfs) = (entry.target.text == "/", entry.kind.text == "xfs");
    if option.text.is_empty() {
        out.push(
            Finding::warning("fstab/option", entry.options, "an empty option: two commas, or one at the end")
                .does("ignored")
                .instead("take the comma away"),
        );
    } else if name.starts_with("x-systemd.") && !SYSTEMD.contains(&name) {
        out.push(
            Finding::error("fstab/option", option, format!("219 does not know {name}"))
                .does("ignored")
                .instead("it came later: write a .mount unit, or x-systemd.requires= where that will do"),
        );
    } else if xfs && name == "nobarrier" {
        out.push(
            Finding::error("fstab/nobarrier", option, "nobarrier lets the disk hold back what fsync promised")
                .does("a power cut can lose writes that etcd acknowledged")
                .instead("take it away"),
        );
    } else if xfs && name == "allocsize" && !is_allocsize(option.text) {
        out.push(
            Finding::error("fstab/option", option, "allocsize is a power of two from 4k to 1g")
                .does("the volume is not mounted, and the boot stops in emergency mode")
                .instead("write allocsize=64m"),
        );
    } else if xfs && root && only_at_first_mount(option.text) {
        out.push(
            Finding::warning("fstab/only-at-first-mount", option, format!("{} has no effect on /", option.text))
                .does("the initramfs has mounted it already, and XFS ignores the option in the remount")
                .instead(format!(
                    "write rootflags={} on the kernel line, or give the data a volume of its own",
                    option.text
                )),
        );
    } else if name == "nodiratime" && entry.options.split(',').any(|other| other.text == "noatime") {
        // True, and harmless: noatime says it already.
    } else if (entry.kind.text == "ext4" || entry.kind.text == "ext3") && xfs_only(name) {
        out.push(
            Finding::error("fstab/option", option, format!("{} has no option {name}: XFS has it", entry.kind.text))
                .does("the volume is not mounted, and the boot stops in emergency mode")
                .instead("take it away"),
        );
    } else if xfs && !known_to_xfs(name) {
        let finding = Finding::error("fstab/option", option, format!("XFS on 3.10 has no option {name}"))
            .does("the volume is not mounted, and the boot stops in emergency mode");
        let near = recipes::diagnostic::nearest(name, GENERIC.iter().chain(XFS).copied());
        out.push(
            finding.instead(near.map_or_else(|| "take it away".to_owned(), |near| format!("did you mean {near}?"))),
        );
    }
}
