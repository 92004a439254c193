//! Parses unit names (src/shared/unit-name.c).

use super::words::clean_path;

/// The unit types.
pub(in crate::check) const TYPES: [&str; 13] = [
    "service",
    "socket",
    "busname",
    "target",
    "snapshot",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];

/// The unit types that have no instances in systemd 219 (`no_instances` in src/core/*.c).
const WITHOUT_INSTANCES: [&str; 7] = [
    "automount",
    "device",
    "mount",
    "scope",
    "slice",
    "snapshot",
    "swap",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum NameKind {
    /// A name without an @.
    Plain,
    /// `NAME@INSTANCE.TYPE`.
    Instance,
    /// `NAME@.TYPE`.
    Template,
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\".contains(c)
}

/// Returns the type at the end of a name.
pub(in crate::check) fn type_of(name: &str) -> Option<&'static str> {
    let (_, suffix) = name.rsplit_once('.')?;
    TYPES.into_iter().find(|known| *known == suffix)
}

/// Returns the kind of a valid name (`unit_name_is_valid`).
pub(in crate::check) fn kind_of(name: &str) -> Option<NameKind> {
    type_of(name)?;
    let (stem, _) = name.rsplit_once('.')?;
    if stem.is_empty()
        || name.len() >= 256
        || !stem.chars().all(|c| c == '@' || is_name_character(c))
    {
        return None;
    }
    match stem.split_once('@') {
        None => Some(NameKind::Plain),
        Some(("", _)) => None,
        Some((_, "")) => Some(NameKind::Template),
        Some(_) => Some(NameKind::Instance),
    }
}

/// Returns whether systemd 219 loads a unit of this name (`manager_load_unit_prepare`,
/// `unit_add_name`).
pub(in crate::check) fn is_loadable(name: &str) -> bool {
    match kind_of(name) {
        Some(NameKind::Plain) => true,
        Some(NameKind::Instance) => {
            type_of(name).is_some_and(|own| !WITHOUT_INSTANCES.contains(&own))
        }
        Some(NameKind::Template) | None => false,
    }
}

/// Returns whether a string can follow the @ in a name.
pub(in crate::check) fn is_instance(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '@' || is_name_character(c))
}

/// Returns the name without its type.
pub(in crate::check) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Returns the part of a name before the @. If the name has no @, returns the name without its
/// type.
pub(in crate::check) fn prefix(name: &str) -> &str {
    name.split_once('@')
        .map_or_else(|| stem(name), |(prefix, _)| prefix)
}

/// Returns the text between the @ and the type.
pub(in crate::check) fn instance(name: &str) -> Option<&str> {
    stem(name)
        .split_once('@')
        .map(|(_, instance)| instance)
        .filter(|instance| !instance.is_empty())
}

/// Returns whether a name is the name of a template (`unit_name_is_template`).
pub(in crate::check) fn is_template(name: &str) -> bool {
    name.split_once('@')
        .and_then(|(_, rest)| rest.rsplit_once('.'))
        .is_some_and(|(instance, _)| instance.is_empty())
}

/// Returns the template of an instance.
pub(in crate::check) fn template(name: &str) -> Option<String> {
    instance(name)?;
    Some(format!("{}@.{}", prefix(name), name.rsplit_once('.')?.1))
}

/// Inserts an instance into the name of a template (`unit_name_replace_instance`).
pub(in crate::check) fn with_instance(template: &str, instance: &str) -> String {
    let (prefix, rest) = template.split_once('@').unwrap_or((template, ""));
    let suffix = rest.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    format!("{prefix}@{instance}.{suffix}")
}

/// Unescapes a part of a name (`unit_name_unescape`). `-` means `/`, and `\xNN` means the byte with
/// the hexadecimal code NN.
pub(in crate::check) fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = text
            .get(at + 2..at + 4)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match (bytes[at], code.map(|code| u8::from_str_radix(code, 16))) {
            (b'-', _) => out.push(b'/'),
            (b'\\', Some(Ok(code))) if bytes[at + 1] == b'x' => {
                out.push(code);
                at += 3;
            }
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns the path that a part of a name encodes (`unit_name_path_unescape`).
pub(in crate::check) fn to_path(text: &str) -> String {
    let path = unescape(text);
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// Returns the name of the unit for a path (`unit_name_from_path`).
pub(in crate::check) fn from_path(path: &str, kind: &str) -> String {
    let path = clean_path(path);
    let path = path.strip_prefix('/').unwrap_or(&path);
    if path.is_empty() {
        return format!("-.{kind}");
    }
    let mut out = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match char::from(byte) {
            '/' => out.push('-'),
            c if c != '-' && c != '\\' && is_name_character(c) && (at, c) != (0, '.') => {
                out.push(c);
            }
            _ => out.extend(['\\', 'x', hex(byte >> 4), hex(byte & 0xf)]),
        }
    }
    format!("{out}.{kind}")
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_systemd_219_reads_them() {
        assert_eq!(kind_of("a.service"), Some(NameKind::Plain));
        assert_eq!(kind_of("a@b@c.service"), Some(NameKind::Instance));
        assert_eq!(kind_of("a@.service"), Some(NameKind::Template));
        assert!(
            [
                "a",
                ".service",
                "@b.service",
                "a b.service",
                "a.svc",
                "a/b.mount",
                "%n.service"
            ]
            .map(kind_of)
                == [None; 7]
        );
        assert!(
            is_loadable("a@b.service") && !is_loadable("a@b.mount") && !is_loadable("a@.service")
        );
        assert_eq!(with_instance("a@.service", "x"), "a@x.service");
        assert_eq!(
            (
                prefix("a@b.service"),
                instance("a@b.service"),
                prefix("c.d.timer")
            ),
            ("a", Some("b"), "c.d")
        );
        assert_eq!(
            from_path("/var/lib//etcd-1/", "mount"),
            "var-lib-etcd\\x2d1.mount"
        );
        assert_eq!(
            (from_path("/", "mount"), from_path("/.x", "swap")),
            ("-.mount".into(), "\\x2ex.swap".into())
        );
        assert_eq!(to_path("var-lib-etcd\\x2d1"), "/var/lib/etcd-1");
    }

    proptest! {
        #[test]
        fn the_name_for_a_path_is_converted_back_to_the_path(path in "/[a-z.é/-]{1,20}") {
            let clean = clean_path(&path);
            prop_assert_eq!(to_path(stem(&from_path(&path, "mount"))), clean);
        }
    }
}
