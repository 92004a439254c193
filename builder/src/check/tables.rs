//! The tables of the words that CentOS 7.9 supports. Each file in known/ names its source.
//! docs/centos7.md describes how the files were created.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Returns the lines of a table, without its comments.
pub(super) fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Returns every word of a table.
fn words(table: &'static str) -> BTreeSet<&'static str> {
    lines(table).flat_map(str::split_whitespace).collect()
}

/// Parses a table whose lines each consist of a word and a description.
fn pairs(table: &'static str) -> BTreeMap<&'static str, &'static str> {
    lines(table)
        .filter_map(|line| line.split_once(' '))
        .collect()
}

/// The directives of a section of a unit file, each with the type of its value.
pub(super) type Directives = BTreeMap<&'static str, &'static str>;

/// Parses a table of sections, each with its directives.
fn sections(table: &'static str) -> BTreeMap<&'static str, Directives> {
    let (mut sections, mut groups): (BTreeMap<_, Directives>, BTreeMap<_, Directives>) =
        Default::default();
    let mut current = &mut Directives::new();
    for line in lines(table) {
        if let Some(name) = line.strip_prefix('{') {
            current = groups.entry(name.trim_end_matches('}')).or_default();
        } else if let Some(name) = line.strip_prefix('[') {
            current = sections.entry(name.trim_end_matches(']')).or_default();
        } else if line.starts_with('+') {
            // The line names groups of directives. After the whole table has been read, the loop
            // below replaces the line with the directives of these groups.
            current.insert(line, "");
        } else if let Some((name, value_type)) = line.split_once(' ') {
            current.insert(name, value_type);
        }
    }
    for section in sections.values_mut() {
        let taken: Vec<_> = section
            .keys()
            .copied()
            .filter(|name| name.starts_with('+'))
            .collect();
        section.retain(|name, _| !name.starts_with('+'));
        for group in taken.into_iter().flat_map(str::split_whitespace) {
            section.extend(groups.get(&group[1..]).into_iter().flatten());
        }
    }
    sections
}

/// The sections of unit files.
pub(super) static UNITS: LazyLock<BTreeMap<&'static str, Directives>> =
    LazyLock::new(|| sections(include_str!("known/systemd-219-units.txt")));

/// The sections of the configuration files of systemd's daemons.
pub(super) static DAEMONS: LazyLock<BTreeMap<&'static str, Directives>> =
    LazyLock::new(|| sections(include_str!("known/systemd-219-daemons.txt")));

/// The directives that only later releases of the daemons support, each with advice on what to
/// write instead.
pub(super) static DAEMONS_LATER: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| pairs(include_str!("known/systemd-daemons-later.txt")));

/// A directive of a later systemd release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Later {
    /// The systemd release that introduced the directive, if known.
    pub(super) since: Option<&'static str>,
    /// The text to write instead.
    pub(super) instead: &'static str,
}

/// The directives of later systemd releases.
pub(super) static LATER: LazyLock<BTreeMap<&'static str, Later>> = LazyLock::new(|| {
    let later = |(name, rest): (_, &'static str)| {
        let (since, instead) = rest.split_once(' ')?;
        Some((
            name,
            Later {
                since: (since != "-").then_some(since),
                instead,
            },
        ))
    };
    pairs(include_str!("known/systemd-later.txt"))
        .into_iter()
        .filter_map(later)
        .collect()
});

/// The units that CentOS itself installs.
pub(super) static STOCK_UNITS: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/units-el7.txt")));

/// The kernel's sysctl keys.
pub(super) static SYSCTL_KEYS: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/sysctl-keys.txt")));

/// Keys that kernel 3.10.0-1160 does not have, each with advice on what to do instead.
pub(super) static SYSCTL_ABSENT: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| pairs(include_str!("known/sysctl-absent.txt")));

/// The keys that do not accept arbitrary whole numbers, each with the type of its value.
pub(super) static SYSCTL_TYPES: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| pairs(include_str!("known/sysctl-types.txt")));

/// Keys that tuned also writes.
pub(super) static SYSCTL_TUNED: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/sysctl-tuned.txt")));

/// The settings of the packages' own sysctl.d files, each as the file, the key and the value.
pub(super) static SYSCTL_STOCK: LazyLock<Vec<(&'static str, &'static str, &'static str)>> =
    LazyLock::new(|| {
        let mut file = "";
        let mut settings = Vec::new();
        for line in lines(include_str!("known/sysctl-stock.txt")) {
            match line.split_once(" = ") {
                Some((key, value)) => settings.push((file, key, value)),
                None => file = line,
            }
        }
        settings
    });

/// Commands that the installer does not have.
pub(super) static INSTALLER_ABSENT: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/installer-absent.txt")));

/// Words of later chrony releases: directives, and options of sources.
pub(super) static CHRONY_LATER: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/chrony-later.txt")));

/// The names of ports, each with the port's number.
pub(super) static PORT_NAMES: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| {
        let mut names = pairs(include_str!("known/names-el7.txt"));
        names.remove("protocols");
        names
    });

/// The services of firewalld.
pub(super) static FIREWALLD_SERVICES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/firewalld-services.txt")));

/// The services of firewalld that do not use only TCP.
pub(super) static FIREWALLD_NOT_TCP: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/firewalld-not-tcp.txt")));

/// The ICMP types of firewalld.
pub(super) static FIREWALLD_ICMP_TYPES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/firewalld-icmptypes.txt")));

/// Names of protocols.
pub(super) static PROTOCOLS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let rows = lines(include_str!("known/names-el7.txt"))
        .filter_map(|line| line.strip_prefix("protocols "));
    rows.flat_map(str::split_whitespace).collect()
});

/// The names or patterns of the units that the presets of CentOS enable.
pub(super) static PRESETS: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| words(include_str!("known/preset-stock.txt")));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hint_names_only_directives_that_centos_7_supports() {
        let works = |name: &str| {
            let types: Vec<_> = UNITS.values().filter_map(|keys| keys.get(name)).collect();
            let is_unit_key = !types.is_empty()
                && types
                    .iter()
                    .all(|value_type| **value_type != "compiled-out");
            is_unit_key || DAEMONS.values().any(|keys| keys.contains_key(name))
        };
        for (later, hint) in LATER.iter() {
            let named = hint
                .instead
                .split_whitespace()
                .filter_map(|word| word.trim_matches(['(', ')', ',', ';']).split_once('='));
            for (name, _) in named {
                assert!(
                    works(name) || !name.is_ascii() || name == "hidepid",
                    "{later}: {}",
                    hint.instead
                );
            }
        }
    }

    #[test]
    fn every_table_is_read_and_names_its_source() {
        assert_eq!(UNITS["Service"].len(), 127);
        assert_eq!(UNITS["Unit"].len(), 72);
        assert_eq!(UNITS["Service"]["ProtectSystem"], "bool|full");
        assert_eq!(LATER["StateDirectory"].since, Some("235"));
        assert_eq!(
            (
                DAEMONS.len(),
                DAEMONS["Journal"].len(),
                DAEMONS["Manager"].len()
            ),
            (2, 26, 45)
        );
        assert!(
            DAEMONS_LATER
                .keys()
                .all(|key| DAEMONS.values().all(|section| !section.contains_key(key)))
        );
        assert!(SYSCTL_KEYS.len() > 380 && SYSCTL_KEYS.contains("vm.swappiness"));
        assert!(SYSCTL_TYPES.keys().all(|key| SYSCTL_KEYS.contains(key)));
        assert!(SYSCTL_ABSENT.keys().all(|key| !SYSCTL_KEYS.contains(key)));
        assert!(SYSCTL_TUNED.iter().all(|key| SYSCTL_KEYS.contains(key)));
        assert!(CHRONY_LATER.contains("nts"));
        assert!(FIREWALLD_NOT_TCP.is_subset(&FIREWALLD_SERVICES));
        assert!(
            PORT_NAMES["https"] == "443" && PROTOCOLS.contains("esp") && PROTOCOLS.contains("GRE")
        );
        for table in include_dir::include_dir!("$CARGO_MANIFEST_DIR/src/check/known").files() {
            let text = table.contents_utf8().unwrap();
            assert!(
                text.starts_with("# ") && text.contains("Source"),
                "{:?}",
                table.path()
            );
        }
    }

    #[test]
    fn later_directives_are_not_in_the_tables() {
        let known = |name: &&&str| UNITS.values().any(|section| section.contains_key(*name));
        let both: Vec<_> = LATER.keys().filter(known).collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
