//! `[files]`: files that the user adds.

use std::ops::Range;

use crate::ETCD_ID;
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, PairValue, Table};

/// The files that the user adds to the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Files to add to the overlay.
    pub overlay: Vec<OverlayFile>,
    /// Scripts that the installer runs in the new system, in order.
    pub post: Vec<LocalFile>,
}

/// A file on the build machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// The file's path, relative to the recipe's folder.
    pub source: String,
    /// The position of the file's name in the recipe.
    pub span: Range<usize>,
}

/// A file that the user adds to the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayFile {
    /// The file's path on the node, without a leading slash.
    pub path: String,
    /// The source file.
    pub file: LocalFile,
    /// The file's permissions.
    pub mode: u32,
    /// The numeric id of both the file's user and its group.
    pub owner: u32,
    /// The position of the file's path in the recipe.
    pub span: Range<usize>,
}

/// The beginnings of the paths that belong to the image itself. The user cannot add a file whose
/// path begins with one of these strings.
const OWN: [&str; 3] = [
    "etc/firstboot/",
    "usr/local/bin/etcd",
    "usr/local/bin/firstboot",
];

/// Files that the installer, firstboot or a service writes, and folders of such files, each with
/// advice. firstboot refuses a node on which a file of the overlay was changed.
const WRITTEN: [(&str, &str); 19] = [
    ("boot/efi/EFI/centos/grub.cfg", MENU),
    ("boot/efi/EFI/redhat/grub.cfg", MENU),
    ("boot/grub2/grub.cfg", MENU),
    // anaconda 21.48.22.159, pyanaconda/timezone.py, write_timezone_config; hwclock(8).
    ("etc/adjtime", "the installer and hwclock write this file"),
    // audit 2.8.5, auditd.service: ExecStartPost=-/sbin/augenrules --load.
    (
        "etc/audit/audit.rules",
        "augenrules generates this file at each boot; write a file /etc/audit/rules.d/NAME.rules",
    ),
    (
        "etc/etcd",
        "firstboot writes the files in this folder; set etcd's options in [etcd]",
    ),
    ("etc/group", ACCOUNTS),
    ("etc/gshadow", ACCOUNTS),
    ("etc/hostname", "firstboot writes the name of each node"),
    ("etc/machine-id", "each machine has its own id"),
    ("etc/passwd", ACCOUNTS),
    ("etc/shadow", ACCOUNTS),
    // systemd 219, systemd-hwdb-update.service: ConditionNeedsUpdate=/etc.
    (
        "etc/udev/hwdb.bin",
        "systemd-hwdb generates this file; write a file /etc/udev/hwdb.d/NAME.hwdb",
    ),
    (
        "root/.ssh/authorized_keys",
        "the installer writes this file; list the keys in `ssh-keys` under [install]",
    ),
    // anaconda writes these files and logs after the overlay is unpacked (install.py;
    // 99-copy-logs.ks).
    ("root/anaconda-ks.cfg", "the installer writes this file"),
    ("root/original-ks.cfg", "the installer writes this file"),
    ("var/lib/etcd", "this is the volume of etcd"),
    ("var/lib/firstboot", "firstboot keeps its journal here"),
    ("var/log/anaconda", "the installer writes its logs here"),
];

/// The advice for the files with the users and groups.
const ACCOUNTS: &str = "the installer writes the users and groups; create others with useradd and \
                        groupadd in a script in `post` under [files]";

/// The advice for the menu of the boot loader.
const MENU: &str = "the installer generates the menu of the boot loader; change the menu in a \
                    script in `post` under [files]";

/// Links of CentOS 7, each with its target. The installer unpacks the overlay with the option
/// --no-overwrite-dir. With this option, GNU tar replaces a link with a folder that contains only
/// the overlay's files (src/extract.c, extract_dir and maybe_recoverable).
const LINKS: [(&str, &str); 18] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("etc/init.d", "etc/rc.d/init.d"),
    ("etc/rc0.d", "etc/rc.d/rc0.d"),
    ("etc/rc1.d", "etc/rc.d/rc1.d"),
    ("etc/rc2.d", "etc/rc.d/rc2.d"),
    ("etc/rc3.d", "etc/rc.d/rc3.d"),
    ("etc/rc4.d", "etc/rc.d/rc4.d"),
    ("etc/rc5.d", "etc/rc.d/rc5.d"),
    ("etc/rc6.d", "etc/rc.d/rc6.d"),
    ("etc/rc.local", "etc/rc.d/rc.local"),
    ("etc/ssl/certs", "etc/pki/tls/certs"),
    ("etc/sysconfig/grub", "etc/default/grub"),
    ("etc/sysconfig/selinux", "etc/selinux/config"),
    ("usr/tmp", "var/tmp"),
    ("var/mail", "var/spool/mail"),
];

/// Folders of a node. The folders above these folders are not in the table.
const FOLDERS: &str = include_str!("known/folders.txt");

pub(super) fn read(root: &Table<'_>) -> Files {
    let Some(table) = root.table("files") else {
        return Files::default();
    };
    let post = table
        .texts("post")
        .into_iter()
        .filter_map(|text| local(&table, text))
        .collect();
    let entries = table.entries("overlay");
    let overlay = entries
        .iter()
        .filter_map(|(path, entry)| overlay_file(&table, path, entry))
        .collect();
    table.finish();
    Files { overlay, post }
}

/// Checks that a path stays inside the recipe's folder. The builder checks symbolic links later,
/// when it reads the file.
pub(super) fn local(table: &Table<'_>, text: Located<String>) -> Option<LocalFile> {
    let Located { value, span } = text;
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !value.split('/').all(plain) || value.contains(char::is_control) {
        let finding = Diagnostic::error(
            span,
            format!(
                "`{}` is not a path inside the recipe's folder",
                value.escape_debug()
            ),
        );
        table.report(
            finding.label("expected a path inside that folder, without `..`, as in files/own.conf"),
        );
        return None;
    }
    Some(LocalFile {
        source: value,
        span,
    })
}

fn overlay_file(
    table: &Table<'_>,
    path: &Located<String>,
    entry: &PairValue<'_>,
) -> Option<OverlayFile> {
    let (source, mode, owner) = match entry {
        PairValue::Text(text) => (Some(text.clone()), None, None),
        PairValue::Table(entry) => {
            let source =
                entry.required::<String>("source", "`source` names a file in the recipe's folder");
            let mode = entry.value::<Mode>("mode").map(|mode| mode.value.0);
            let owner = entry
                .choice("owner", &[("root", 0), ("etcd", ETCD_ID)])
                .map(|owner| owner.value);
            entry.finish();
            (source, mode, owner)
        }
    };
    let place = node_path(table, path);
    let default = if path.value.starts_with("/usr/local/bin/") {
        0o755
    } else {
        0o644
    };
    Some(OverlayFile {
        path: place?,
        file: local(table, source?)?,
        mode: mode.unwrap_or(default),
        owner: owner.unwrap_or(0),
        span: path.span.clone(),
    })
}

fn node_path(table: &Table<'_>, path: &Located<String>) -> Option<String> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let inner = path
        .value
        .strip_prefix('/')
        .filter(|inner| inner.split('/').all(plain));
    let Some(inner) = inner.filter(|inner| !inner.contains(char::is_control)) else {
        let message = format!("`{}` is not a path on the node", path.value.escape_debug());
        table.report(
            Diagnostic::error(path.span.clone(), message)
                .label("expected an absolute path, as in \"/etc/motd\""),
        );
        return None;
    };
    if let Some((message, label)) = refusal(inner) {
        table.report(Diagnostic::error(path.span.clone(), message).label(label));
        return None;
    }
    if inner == "etc/resolv.conf" {
        let message = "NetworkManager can rewrite /etc/resolv.conf";
        let finding = Diagnostic::warning(path.span.clone(), message)
            .label("firstboot refuses a node on which a file of the image was changed")
            .help("list the name servers in `dns` under [network], or add a file with `dns=none` below /etc/NetworkManager/conf.d");
        table.report(finding);
    }
    Some(inner.to_owned())
}

/// Returns the reason why the user cannot add a file with this path, and advice.
fn refusal(inner: &str) -> Option<(String, String)> {
    if OWN.iter().any(|own| inner.starts_with(own)) {
        return Some((
            format!("/{inner} belongs to the image itself"),
            "expected a different path".to_owned(),
        ));
    }
    if let Some((_, advice)) = WRITTEN
        .iter()
        .find(|(path, _)| within(inner, path).is_some())
    {
        return Some((
            format!("/{inner} cannot be a file of the image"),
            (*advice).to_owned(),
        ));
    }
    let link = LINKS
        .iter()
        .find_map(|(link, target)| Some((link, target, within(inner, link)?)));
    if let Some((link, target, below)) = link {
        return Some((
            format!("/{link} is a link to /{target} on CentOS 7"),
            format!(
                "the installer would replace the link, which other programs follow; write \"/{target}{below}\""
            ),
        ));
    }
    is_folder(inner).then(|| {
        (
            format!("/{inner} is a folder on the node"),
            "expected the path of a file, because a file cannot replace this folder".to_owned(),
        )
    })
}

/// Returns the rest of a path if the path is `folder` or is below `folder`.
fn within<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)
        .filter(|below| below.is_empty() || below.starts_with('/'))
}

/// Returns whether a path is a known folder, or is above a known path.
fn is_folder(inner: &str) -> bool {
    FOLDERS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .chain(OWN)
        .chain(WRITTEN.map(|(path, _)| path))
        .chain(LINKS.map(|(link, _)| link))
        .any(|known| within(known, inner).is_some())
}

/// Permissions in octal.
#[derive(Debug, Clone, Copy)]
struct Mode(u32);

impl std::str::FromStr for Mode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mode = u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777 && text.len() >= 3);
        mode.map(Self)
            .ok_or("expected permissions in octal, as in \"0644\"")
    }
}
