//! The elements and attributes that firewalld 0.6.3 accepts in its files
//! (src/firewall/core/io/*.py, PARSER_REQUIRED_ELEMENT_ATTRS and PARSER_OPTIONAL_ELEMENT_ATTRS).

/// Each element, its required attributes, and its optional attributes.
pub(super) type Schema = &'static [(
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
)];

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Zone,
    Service,
    IpSet,
    IcmpType,
    Helper,
    Direct,
    Whitelist,
}

impl Kind {
    /// Determines the kind of a file from its path, or from its root element if the path does not
    /// show the kind.
    pub(super) fn of(path: &str, root: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let has = |part: &str| folder.split('/').any(|folder| folder == part);
        let by_folder = [
            ("zones", Self::Zone),
            ("services", Self::Service),
            ("ipsets", Self::IpSet),
            ("icmptypes", Self::IcmpType),
            ("helpers", Self::Helper),
        ];
        if let Some((_, kind)) = by_folder.into_iter().find(|(folder, _)| has(folder)) {
            return Some(kind);
        }
        Some(match (name, root) {
            ("direct.xml", _) | (_, "direct") => Self::Direct,
            ("lockdown-whitelist.xml", _) | (_, "whitelist") => Self::Whitelist,
            (_, "zone") => Self::Zone,
            (_, "service") => Self::Service,
            (_, "ipset") => Self::IpSet,
            (_, "icmptype") => Self::IcmpType,
            (_, "helper") => Self::Helper,
            _ => return None,
        })
    }

    /// Returns the elements and attributes of this kind. If firewalld's reader needs an attribute,
    /// the schema lists the attribute as required, even if firewalld's own table does not.
    pub(super) fn schema(self) -> Schema {
        match self {
            Self::Zone => ZONE,
            Self::Service => SERVICE,
            Self::IpSet => IPSET,
            Self::IcmpType => ICMP_TYPE,
            Self::Helper => HELPER,
            Self::Direct => DIRECT,
            Self::Whitelist => WHITELIST,
        }
    }

    /// Returns the characters, besides letters and digits, that the name of a file of this kind may
    /// contain. Returns `None` if the name is not checked.
    pub(super) fn name_punctuation(self) -> Option<&'static str> {
        match self {
            Self::Zone | Self::Service | Self::IcmpType => Some("_-"),
            Self::IpSet => Some("_-:."),
            Self::Helper => Some("-."),
            Self::Direct | Self::Whitelist => None,
        }
    }
}

const ZONE: Schema = &[
    ("zone", &[], &["name", "immutable", "target", "version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("service", &["name"], &[]),
    ("port", &["port", "protocol"], &[]),
    ("protocol", &["value"], &[]),
    ("source-port", &["port", "protocol"], &[]),
    ("icmp-block", &["name"], &[]),
    ("icmp-type", &["name"], &[]),
    ("icmp-block-inversion", &[], &[]),
    ("masquerade", &[], &["enabled"]),
    (
        "forward-port",
        &["port", "protocol"],
        &["to-port", "to-addr"],
    ),
    ("interface", &["name"], &[]),
    (
        "source",
        &[],
        &["address", "mac", "invert", "family", "ipset"],
    ),
    ("rule", &[], &["family"]),
    ("destination", &["address"], &["invert"]),
    ("log", &[], &["prefix", "level"]),
    ("audit", &[], &[]),
    ("accept", &[], &[]),
    ("reject", &[], &["type"]),
    ("drop", &[], &[]),
    ("mark", &["set"], &[]),
    ("limit", &["value"], &[]),
];

const SERVICE: Schema = &[
    ("service", &[], &["name", "version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("port", &["port", "protocol"], &[]),
    ("protocol", &["value"], &[]),
    ("source-port", &["port", "protocol"], &[]),
    ("module", &["name"], &[]),
    ("destination", &[], &["ipv4", "ipv6"]),
];

const IPSET: Schema = &[
    ("ipset", &["type"], &["version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("option", &["name"], &["value"]),
    ("entry", &[], &[]),
];

const ICMP_TYPE: Schema = &[
    ("icmptype", &[], &["name", "version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("destination", &[], &["ipv4", "ipv6"]),
];

const HELPER: Schema = &[
    ("helper", &["module"], &["name", "version", "family"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("port", &["port", "protocol"], &[]),
];

const DIRECT: Schema = &[
    ("direct", &[], &[]),
    ("chain", &["ipv", "table", "chain"], &[]),
    ("rule", &["ipv", "table", "chain", "priority"], &[]),
    ("passthrough", &["ipv"], &[]),
];

const WHITELIST: Schema = &[
    ("whitelist", &[], &[]),
    ("command", &["name"], &[]),
    ("user", &[], &["id", "name"]),
    ("selinux", &["context"], &[]),
];
