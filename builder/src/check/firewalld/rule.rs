//! Rich rules (firewalld 0.6.3, core/rich.py).

mod check;

use std::fmt;
use std::ops::Range;

use super::element::Element;

/// The levels of a log.
pub(super) const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug",
];

/// A rule as written in a zone.
#[derive(Debug)]
pub(super) struct Rule {
    family: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) destination: Option<(String, bool, Range<usize>)>,
    pub(super) element: Option<(Kind, Range<usize>)>,
    pub(super) log: Option<Log>,
    pub(super) audit: Option<Audit>,
    pub(super) action: Option<Action>,
    span: Range<usize>,
}

/// The source of a rule's packets.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) address: Option<String>,
    pub(super) mac: Option<String>,
    pub(super) ipset: Option<String>,
    pub(super) invert: bool,
    pub(super) span: Range<usize>,
}

/// The main element of a rule, such as a service or a port.
#[derive(Debug)]
pub(super) enum Kind {
    Service(String),
    Port(String, String),
    SourcePort(String, String),
    Protocol(String),
    IcmpBlock(String),
    IcmpType(String),
    Masquerade,
    ForwardPort {
        port: String,
        protocol: String,
        to_port: String,
        to: String,
    },
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) prefix: String,
    pub(super) level: Option<String>,
    pub(super) limit: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) limit: Option<String>,
}

#[derive(Debug)]
pub(super) struct Action {
    /// accept, reject, drop or mark.
    name: String,
    /// The type of a reject, or the mark.
    value: String,
    pub(super) limit: Option<String>,
}

impl Kind {
    pub(super) fn of(at: &Element<'_>) -> Self {
        let text = |name: &str| at.text(name).to_owned();
        match at.name() {
            "service" => Self::Service(text("name")),
            "port" => Self::Port(text("port"), text("protocol")),
            "source-port" => Self::SourcePort(text("port"), text("protocol")),
            "protocol" => Self::Protocol(text("value")),
            "icmp-block" => Self::IcmpBlock(text("name")),
            "icmp-type" => Self::IcmpType(text("name")),
            "forward-port" => Self::ForwardPort {
                port: text("port"),
                protocol: text("protocol"),
                to_port: text("to-port"),
                to: text("to-addr"),
            },
            _ => Self::Masquerade,
        }
    }
}

impl Action {
    pub(super) fn of(at: &Element<'_>) -> Self {
        let value = at
            .get("set")
            .or(at.get("type"))
            .unwrap_or_default()
            .to_owned();
        Self {
            name: at.name().to_owned(),
            value,
            limit: None,
        }
    }
}

/// Shortens the unit of a limit to one letter.
pub(super) fn limit(text: &str) -> String {
    match text.split_once('/') {
        Some((rate, unit @ ("second" | "minute" | "hour" | "day"))) => {
            format!("{rate}/{}", &unit[..1])
        }
        _ => text.to_owned(),
    }
}

impl Rule {
    pub(super) fn new(family: Option<&str>, span: Range<usize>) -> Self {
        Self {
            family: family.map(str::to_owned),
            source: None,
            destination: None,
            element: None,
            log: None,
            audit: None,
            action: None,
            span,
        }
    }
}

/// Formats the rule so that it can be compared with other rules.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rule")?;
        if let Some(family) = &self.family {
            write!(f, " {family}")?;
        }
        if let Some(source) = &self.source {
            let value = source
                .address
                .as_ref()
                .or(source.mac.as_ref())
                .or(source.ipset.as_ref());
            write!(
                f,
                " from {}{}",
                if source.invert { "not " } else { "" },
                value.map_or("", String::as_str)
            )?;
        }
        if let Some((address, invert, _)) = &self.destination {
            write!(f, " to {}{address}", if *invert { "not " } else { "" })?;
        }
        match self.element.as_ref().map(|(kind, _)| kind) {
            None => {}
            Some(Kind::Service(name)) => write!(f, " service {name}")?,
            Some(Kind::Port(port, protocol)) => write!(f, " port {port}/{protocol}")?,
            Some(Kind::SourcePort(port, protocol)) => write!(f, " source-port {port}/{protocol}")?,
            Some(Kind::Protocol(value)) => write!(f, " protocol {value}")?,
            Some(Kind::IcmpBlock(name)) => write!(f, " icmp-block {name}")?,
            Some(Kind::IcmpType(name)) => write!(f, " icmp-type {name}")?,
            Some(Kind::Masquerade) => write!(f, " masquerade")?,
            Some(Kind::ForwardPort {
                port,
                protocol,
                to_port,
                to,
            }) => {
                write!(f, " forward-port {port}/{protocol} to {to_port}@{to}")?;
            }
        }
        let limited = |limit: &Option<String>| {
            limit
                .as_ref()
                .map_or(String::new(), |limit| format!(" limit {limit}"))
        };
        if let Some(log) = &self.log {
            let level = log.level.as_deref().unwrap_or_default();
            write!(f, " log {} {level}{}", log.prefix, limited(&log.limit))?;
        }
        if let Some(audit) = &self.audit {
            write!(f, " audit{}", limited(&audit.limit))?;
        }
        if let Some(action) = &self.action {
            write!(
                f,
                " {} {}{}",
                action.name,
                action.value,
                limited(&action.limit)
            )?;
        }
        Ok(())
    }
}
