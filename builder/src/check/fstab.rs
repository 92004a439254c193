//! Checks /etc/fstab as kernel 3.10, systemd 219 and mount(8) read it.

mod options;

use std::collections::BTreeMap;

use super::finding::Finding;
use super::systemd::time;
use super::systemd::words::{bare, clean_path, strip};
use super::text::TextSpan;
use options::{GENERIC, SYSTEMD, XFS, XfsValue, known_to_xfs, xfs_only, xfs_value};

pub(super) use options::only_at_first_mount;

/// systemd options whose value is a time.
const TIMES: [&str; 2] = ["x-systemd.device-timeout", "x-systemd.idle-timeout"];

/// One line of fstab.
struct Entry<'a> {
    source: TextSpan<'a>,
    target: TextSpan<'a>,
    kind: TextSpan<'a>,
    options: TextSpan<'a>,
    pass: Option<TextSpan<'a>>,
}

impl Entry<'_> {
    fn is_root(&self) -> bool {
        self.target.text == "/"
    }

    /// Returns whether the boot continues without the volume.
    fn is_optional(&self) -> bool {
        let words = ["noauto", "nofail", "x-systemd.automount"];
        self.options
            .split(',')
            .any(|option| words.contains(&option.text))
    }

    /// Returns the effect of options that the kernel refuses. The initramfs mounts / with the
    /// options of the kernel command line, and systemd-remount-fs then remounts / with the options
    /// in fstab.
    fn refusal(&self) -> &'static str {
        if self.is_root() {
            "the remount fails, and / keeps the options with which the initramfs mounted it"
        } else if self.is_optional() {
            "the volume is not mounted"
        } else {
            "the volume is not mounted, and the boot stops in emergency mode"
        }
    }
}

/// Checks an fstab. At boot, systemd reads the file with getmntent(3), which fills in missing
/// fields (src/fstab-generator/fstab-generator.c). mount(8) reads the file with libmount
/// (util-linux 2.23.2, libmount/src/tab_parse.c).
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for line in TextSpan::whole(text).split('\n').map(strip) {
        if line.text.is_empty() || line.text.starts_with('#') {
            continue;
        }
        let fields: Vec<TextSpan<'_>> = bare(line).collect();
        let [source, target, rest @ ..] = &fields[..] else {
            let finding = Finding::error(
                "fstab/fields",
                line,
                "a line needs a device, a mount point, a type and options",
            );
            out.push(
                finding
                    .effect("systemd 219 ignores the line, so the volume is not mounted")
                    .fix("write these four fields, followed by 0 0; write a space within a field as \\040"),
            );
            continue;
        };
        let field = |index: usize| {
            rest.get(index)
                .copied()
                .unwrap_or(line.from(line.text.len()))
        };
        let entry = Entry {
            source: *source,
            target: *target,
            kind: field(0),
            options: field(1),
            pass: rest.get(3).copied(),
        };
        out.extend(count(line, rest));
        // systemd generates one unit for all lines with the same path. A swap line has no mount
        // point, so its source counts as its path.
        let path = if entry.kind.text == "swap" {
            source.text
        } else {
            target.text
        };
        let before = path
            .starts_with('/')
            .then(|| seen.insert(clean_path(path), source.text))
            .flatten();
        if let Some(before) = before {
            out.push(
                Finding::error(
                    "fstab/twice",
                    *target,
                    format!("the mount point {path} already has a line, which mounts {before}"),
                )
                .effect("systemd 219 keeps the first line and ignores this line")
                .fix("remove one of them"),
            );
        }
        check_entry(&entry, &mut out);
    }
    out
}

/// Checks that a line has three to six fields, and that the fifth and the sixth are numbers.
/// systemd accepts some lines that mount(8) cannot read.
fn count(line: TextSpan<'_>, rest: &[TextSpan<'_>]) -> Option<Finding> {
    let unreadable = |span: TextSpan<'_>, message: &str, instead: &str| {
        let finding = Finding::warning("fstab/fields", span, message);
        Some(
            finding
                .effect("systemd 219 mounts the volume at boot, but mount(8) ignores the line")
                .fix(instead.to_owned()),
        )
    };
    // mount(8) accepts a line without options, but not a line without a type.
    if rest.is_empty() {
        return unreadable(line, "the line has no type", "write a type, or auto");
    }
    let numbers = rest.iter().skip(2).take(2);
    if let Some(word) = numbers
        .clone()
        .find(|word| !word.text.chars().all(|c| c.is_ascii_digit()))
    {
        return unreadable(
            *word,
            "the fifth and sixth fields must be numbers",
            "write 0 0; write a space within a field as \\040",
        );
    }
    let more = rest.get(4).filter(|more| !more.text.starts_with('#'))?;
    let finding = Finding::warning("fstab/fields", *more, "the line has more than six fields");
    Some(
        finding
            .effect("the rest of the line has no effect")
            .fix("write a space within a field as \\040"),
    )
}

fn check_entry(entry: &Entry<'_>, out: &mut Vec<Finding>) {
    let (target, kind) = (entry.target, entry.kind.text);
    check_mount_point(target, kind, out);
    let name = entry.source.text.strip_prefix("/dev/").unwrap_or_default();
    if ["sd", "vd", "hd", "xvd", "nvme"]
        .iter()
        .any(|kind| name.starts_with(kind))
    {
        out.push(
            Finding::warning(
                "fstab/device-name",
                entry.source,
                format!(
                    "{} can be a different disk on another machine",
                    entry.source.text
                ),
            )
            .effect(if entry.is_root() {
                "the kernel command line selects the disk of /, so this line can name a different disk"
            } else if entry.is_optional() {
                "the volume is not mounted on a machine that names the disk differently"
            } else {
                "the boot waits 90 s for the disk, then stops in emergency mode"
            })
            .fix("write LABEL= or UUID="),
        );
    }
    if kind == "swap" {
        out.push(
            Finding::warning("fstab/swap", entry.kind, "swap is enabled on an etcd node")
                .effect("a member whose pages are swapped out can miss heartbeats")
                .fix("remove the line"),
        );
    }
    if kind == "xfs" && entry.pass.is_some_and(|pass| pass.text != "0") {
        let pass = entry.pass.unwrap_or(entry.kind);
        out.push(
            Finding::warning("fstab/fsck", pass, "XFS has nothing to check at boot")
                .effect("the boot waits for fsck.xfs, which does nothing")
                .fix("write 0"),
        );
    }
    for option in entry.options.split(',') {
        check_option(entry, option, out);
    }
}

fn check_mount_point(target: TextSpan<'_>, kind: &str, out: &mut Vec<Finding>) {
    if !target.text.contains('/') && kind != "swap" {
        out.push(
            Finding::error(
                "fstab/mount-point",
                target,
                format!("`{}` is not a mount point", target.text),
            )
            .effect("systemd 219 ignores the line, so the volume is not mounted")
            .fix(format!("write /{}", target.text)),
        );
    } else if !target.text.starts_with('/') && kind != "swap" {
        out.push(
            Finding::warning(
                "fstab/mount-point",
                target,
                "a mount point must begin with /",
            )
            .effect("systemd 219 mounts the volume below /, but mount(8) mounts the volume below the current directory")
            .fix(format!("write /{}", target.text)),
        );
    }
    if target.text.len() > 1 && target.text.ends_with('/') {
        out.push(
            Finding::warning("fstab/mount-point", target, "the mount point ends with a /")
                .effect("programs that compare mount points as text do not find this mount point")
                .fix("remove it"),
        );
    }
}

fn check_option(entry: &Entry<'_>, option: TextSpan<'_>, out: &mut Vec<Finding>) {
    let name = option.text.split('=').next().unwrap_or_default();
    if entry.is_root() && ["noauto", "nofail", "x-systemd.automount"].contains(&name) {
        let finding =
            Finding::warning("fstab/option", option, format!("{name} has no effect on /"));
        out.push(
            finding
                .effect("systemd 219 ignores the option and warns")
                .fix("remove it"),
        );
    }
    if TIMES.contains(&name) {
        out.extend(timeout(entry, option, name));
    }
    if entry.options.text.is_empty() {
        return;
    }
    if option.text.is_empty() {
        out.push(
            Finding::warning(
                "fstab/option",
                entry.options,
                "an option is empty, because the list has a superfluous comma",
            )
            .effect("the empty option has no effect")
            .fix("remove the comma"),
        );
    } else if name.starts_with("x-systemd.") && !SYSTEMD.contains(&name) {
        out.push(
            Finding::error(
                "fstab/option",
                option,
                format!("systemd 219 does not support {name}"),
            )
            .effect("systemd ignores the option")
            .fix(
                "a later release added this option; write a .mount unit, or x-systemd.requires= if \
                     that is enough",
            ),
        );
    } else {
        out.extend(file_system_option(entry, option, name));
    }
}

/// Checks an option with a time (src/shared/generator.c, generator_write_timeouts;
/// fstab-generator.c, write_idle_timeout).
fn timeout(entry: &Entry<'_>, option: TextSpan<'_>, name: &str) -> Option<Finding> {
    let Some((_, value)) = option.split_once('=') else {
        // systemd reads x-systemd.idle-timeout only for an automount.
        let is_automount = |other: TextSpan<'_>| other.text == "x-systemd.automount";
        if name == TIMES[1] && !entry.options.split(',').any(is_automount) {
            return None;
        }
        let finding = Finding::error("fstab/option", option, format!("{name} has no time"));
        return Some(
            finding
                .effect("systemd 219's generator crashes, so this volume and all later volumes are not mounted")
                .fix(format!("write {name}=30s")),
        );
    };
    time::sec(value.text).is_none().then(|| {
        let message = format!("`{}` is not a time", value.text);
        Finding::error("fstab/option", value, message)
            .effect("systemd 219 ignores the option")
            .fix("write a time such as 30s")
    })
}

/// Checks an option of the volume's file system.
fn file_system_option(entry: &Entry<'_>, option: TextSpan<'_>, name: &str) -> Option<Finding> {
    let (root, xfs) = (entry.is_root(), entry.kind.text == "xfs");
    if xfs && name == "nobarrier" {
        Some(
            Finding::error(
                "fstab/nobarrier",
                option,
                "nobarrier lets the disk delay writes that fsync reports as stable",
            )
            .effect("a power cut can lose writes that etcd acknowledged")
            .fix("remove it"),
        )
    } else if let (true, XfsValue::Refused(expected)) = (xfs, xfs_value(option.text)) {
        let message = format!("XFS refuses `{}`: {name} must be {expected}", option.text);
        Some(
            Finding::error("fstab/option", option, message)
                .effect(entry.refusal())
                .fix(format!("write {expected}")),
        )
    } else if xfs && root && only_at_first_mount(option.text) {
        Some(
            Finding::warning(
                "fstab/only-at-first-mount",
                option,
                format!("{} has no effect on /", option.text),
            )
            .effect("the initramfs mounts / first, and XFS ignores the option in the later remount")
            .fix(format!(
                "write rootflags={} on the kernel command line, or put the data on its own volume",
                option.text
            )),
        )
    } else if let (true, XfsValue::Instead(bytes)) = (xfs, xfs_value(option.text)) {
        let effect = if bytes == 0 {
            "XFS ignores the option".to_owned()
        } else {
            format!("XFS uses {name}={}", options::shown(bytes))
        };
        let message = format!("`{}` is not a power of two", option.text);
        let finding = Finding::warning("fstab/option", option, message);
        Some(
            finding
                .effect(effect)
                .fix("write a power of two from 4k to 1g"),
        )
    } else if name == "nodiratime"
        && entry
            .options
            .split(',')
            .any(|other| other.text == "noatime")
    {
        // nodiratime is harmless if noatime is also present, because noatime has the same effect on
        // folders.
        None
    } else {
        unknown_option(entry, option, name)
    }
}

/// Returns a finding for an option that XFS on CentOS 7 does not accept, or for an XFS option on an
/// ext3 or ext4 volume.
fn unknown_option(entry: &Entry<'_>, option: TextSpan<'_>, name: &str) -> Option<Finding> {
    let xfs = entry.kind.text == "xfs";
    if (entry.kind.text == "ext4" || entry.kind.text == "ext3") && xfs_only(name) {
        Some(
            Finding::error(
                "fstab/option",
                option,
                format!(
                    "{} does not have the option {name}; only XFS does",
                    entry.kind.text
                ),
            )
            .effect(entry.refusal())
            .fix("remove it"),
        )
    } else if xfs && !known_to_xfs(option.text) {
        let finding = Finding::error(
            "fstab/option",
            option,
            format!(
                "XFS on kernel 3.10 does not accept the option {}",
                option.text
            ),
        )
        .effect(entry.refusal());
        let near = recipes::diagnostic::nearest(name, GENERIC.iter().chain(XFS).copied());
        Some(finding.fix(near.filter(|near| *near != name).map_or_else(
            || "remove it".to_owned(),
            |near| format!("did you mean {near}?"),
        )))
    } else {
        None
    }
}
