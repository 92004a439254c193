//! What may stand in the files of firewalld 0.6.3 (src/firewall/core/io/zone.py, service.py, ipset.py).

/// Element, attributes that it needs, attributes that it may have.
pub(super) type Schema = &'static [(&'static str, &'static [&'static str], &'static [&'static str])];

/// PARSER_REQUIRED_ELEMENT_ATTRS and PARSER_OPTIONAL_ELEMENT_ATTRS of zone.py.
pub(super) const ZONE: Schema = &[
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
    ("forward-port", &["port", "protocol"], &["to-port", "to-addr"]),
    ("interface", &["name"], &[]),
    ("source", &[], &["address", "mac", "invert", "family", "ipset"]),
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

/// The same of service.py.
pub(super) const SERVICE: Schema = &[
    ("service", &[], &["name", "version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("port", &["port", "protocol"], &[]),
    ("protocol", &["value"], &[]),
    ("source-port", &["port", "protocol"], &[]),
    ("module", &["name"], &[]),
    ("destination", &[], &["ipv4", "ipv6"]),
];

/// The same of ipset.py.
pub(super) const IPSET: Schema = &[
    ("ipset", &["type"], &["version"]),
    ("short", &[], &[]),
    ("description", &[], &[]),
    ("option", &["name"], &["value"]),
    ("entry", &[], &[]),
];
