//! Determines why firewalld ignores a rule (firewalld 0.6.3, core/rich.py, Rich_Rule.check;
//! base.py, REJECT_TYPES).

use std::ops::Range;

use super::super::value::{
    TRANSPORTS, is_ipv4, is_ipv6, is_mac, is_network, is_protocol, is_uint32, ports,
};
use super::{Kind, Rule};
use crate::check::finding::Finding;
use crate::check::python::decimal;

const PORT: &str = "write a port or a range, such as 2379 or 2379-2380";
const LIMIT: &str = "write a rate such as 3/m: at most 10000 per second, and more than one per day";
const REJECTS4: &str = "icmp-host-prohibited host-prohib icmp-net-unreachable net-unreach icmp-host-unreachable \
    host-unreach icmp-port-unreachable port-unreach icmp-proto-unreachable proto-unreach icmp-net-prohibited net-prohib \
    tcp-reset tcp-rst icmp-admin-prohibited admin-prohib";
const REJECTS6: &str = "icmp6-adm-prohibited adm-prohibited icmp6-no-route no-route icmp6-addr-unreachable addr-unreach \
    icmp6-port-unreachable port-unreach tcp-reset";

const RULE: &str = "firewalld ignores the rule";

impl Rule {
    /// Returns the reason why firewalld ignores the rule, or `None` if firewalld accepts it.
    pub(in super::super) fn check(&self) -> Option<Finding> {
        self.check_shape()
            .or_else(|| self.check_source())
            .or_else(|| self.check_destination())
            .or_else(|| self.check_element())
            .or_else(|| self.check_actions())
            .or_else(|| self.check_prefix())
    }

    /// Checks the prefix of the log. firewalld writes each rule as a string and reads it again with
    /// shlex (core/rich.py, `_lexer`).
    fn check_prefix(&self) -> Option<Finding> {
        let prefix = &self.log.as_ref()?.prefix;
        let is_quoted = prefix.contains('"') || prefix.ends_with('\\');
        (is_quoted || prefix.contains('=')).then(|| {
            self.fault(
                "the prefix of the log contains a character that firewalld cannot read again",
                "write the prefix without =, \" and \\",
            )
        })
    }

    fn fault(&self, message: &str, instead: &str) -> Finding {
        Finding::error("firewalld/rule", self.span.clone(), message)
            .effect(RULE)
            .fix(instead)
    }

    /// Returns an error for an invalid value.
    fn bad(span: &Range<usize>, what: &str, value: &str, instead: &str) -> Finding {
        let message = format!("bad value for {what}: `{value}`");
        Finding::error("firewalld/value", span.clone(), message)
            .effect(RULE)
            .fix(instead)
    }

    /// Returns an error for a family that is missing or does not match the address.
    fn family(span: &Range<usize>, message: &str, address: &str) -> Finding {
        let family = if address.contains(':') {
            "ipv6"
        } else {
            "ipv4"
        };
        let finding = Finding::error("firewalld/family", span.clone(), message).effect(RULE);
        finding.fix(format!("write <rule family=\"{family}\">"))
    }

    fn check_shape(&self) -> Option<Finding> {
        if self.family.is_none() {
            let source = self
                .source
                .as_ref()
                .and_then(|source| Some((source.address.as_deref()?, &source.span)));
            let destination = self
                .destination
                .as_ref()
                .map(|(address, _, span)| (address.as_str(), span));
            if let Some((address, span)) = source.or(destination) {
                return Some(Self::family(
                    span,
                    "a rule with an address needs a family",
                    address,
                ));
            }
            if let Some((Kind::ForwardPort { .. }, span)) = &self.element {
                return Some(Self::family(
                    span,
                    "a rule with a forward-port needs a family",
                    "",
                ));
            }
        }
        let own = matches!(
            self.element,
            Some((
                Kind::IcmpBlock(_) | Kind::ForwardPort { .. } | Kind::Masquerade,
                _
            ))
        );
        if self.element.is_none() && self.action.is_none() {
            return Some(self.fault("the rule has no action", "add accept, reject, drop or mark"));
        }
        if self.element.is_none() && self.source.is_none() && self.destination.is_none() {
            return Some(self.fault(
                "the rule has no condition",
                "add a service, a port, a source or a destination",
            ));
        }
        if !own && self.log.is_none() && self.audit.is_none() && self.action.is_none() {
            return Some(self.fault(
                "the rule has no accept, reject, drop, mark, log or audit",
                "add one of them",
            ));
        }
        None
    }

    fn check_source(&self) -> Option<Finding> {
        let source = self.source.as_ref()?;
        let family = self.family.as_deref().unwrap_or_default();
        match (&source.address, &source.mac, &source.ipset) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => {
                Some(self.fault(
                    "the source has more than one of address, mac and ipset",
                    "write one of them",
                ))
            }
            (Some(address), None, None) if !is_network(family, address) => {
                let other = if family == "ipv4" { "ipv6" } else { "ipv4" };
                if is_network(other, address) {
                    return Some(Self::family(
                        &source.span,
                        "the rule's family does not match this address",
                        address,
                    ));
                }
                Some(Self::bad(
                    &source.span,
                    "address",
                    address,
                    "write an address or network such as 10.0.0.0/24",
                ))
            }
            (None, Some(mac), None) if !is_mac(mac) => Some(Self::bad(
                &source.span,
                "mac",
                mac,
                "write an address such as 52:54:00:00:00:11",
            )),
            (None, None, Some(ipset)) if ipset.chars().count() > 32 => Some(Self::bad(
                &source.span,
                "ipset",
                ipset,
                "write a name of at most 32 characters",
            )),
            _ => None,
        }
    }

    fn check_destination(&self) -> Option<Finding> {
        let (address, _, span) = self.destination.as_ref()?;
        let family = self.family.as_deref().unwrap_or_default();
        if is_network(family, address) {
            return None;
        }
        if is_network("ipv4", address) || is_network("ipv6", address) {
            return Some(Self::family(
                span,
                "the rule's family does not match this address",
                address,
            ));
        }
        Some(Self::bad(
            span,
            "address",
            address,
            "write an address or network such as 10.0.0.0/24",
        ))
    }

    fn check_element(&self) -> Option<Finding> {
        let (kind, span) = self.element.as_ref()?;
        let acts = self.action.is_some();
        match kind {
            Kind::Service(name) if name.is_empty() => {
                Some(Self::bad(span, "name", name, "name the service"))
            }
            Kind::IcmpBlock(name) | Kind::IcmpType(name) if name.is_empty() => Some(Self::bad(
                span,
                "name",
                name,
                "name an ICMP type such as echo-request",
            )),
            Kind::Port(port, _) | Kind::SourcePort(port, _) | Kind::ForwardPort { port, .. }
                if ports(port).is_none() =>
            {
                Some(Self::bad(span, "port", port, PORT))
            }
            Kind::Port(_, protocol) | Kind::SourcePort(_, protocol) => {
                Self::not_a_transport(span, protocol)
            }
            Kind::Protocol(value) if !is_protocol(value) => Some(Self::bad(
                span,
                "value",
                value,
                "write a name from /etc/protocols, or a number up to 255",
            )),
            Kind::Masquerade if acts => Some(self.fault(
                "a rule with masquerade must not have an action",
                "remove the action",
            )),
            Kind::Masquerade
                if self
                    .source
                    .as_ref()
                    .is_some_and(|source| source.mac.is_some()) =>
            {
                Some(self.fault(
                    "a rule with masquerade must not have a source MAC address",
                    "write an IP address",
                ))
            }
            Kind::IcmpBlock(_) if acts => Some(self.fault(
                "a rule with icmp-block must not have an action",
                "remove the action, or write <icmp-type>",
            )),
            Kind::ForwardPort {
                protocol,
                to_port,
                to,
                ..
            } => Self::not_a_transport(span, protocol)
                .or_else(|| self.check_forward_port(span, to_port, to)),
            _ => None,
        }
    }

    fn not_a_transport(span: &Range<usize>, protocol: &str) -> Option<Finding> {
        (!TRANSPORTS.contains(&protocol))
            .then(|| Self::bad(span, "protocol", protocol, "write tcp, udp, sctp or dccp"))
    }

    fn check_forward_port(&self, span: &Range<usize>, to_port: &str, to: &str) -> Option<Finding> {
        let family = self.family.as_deref().unwrap_or_default();
        let address = if family == "ipv4" {
            is_ipv4(to)
        } else {
            is_ipv6(to)
        };
        match (to_port, to) {
            ("", "") => {
                Some(self.fault("the forward-port has no target", "add to-port or to-addr"))
            }
            (port, _) if !port.is_empty() && ports(port).is_none() => {
                Some(Self::bad(span, "to-port", port, PORT))
            }
            (_, to) if !to.is_empty() && !address => Some(Self::bad(
                span,
                "to-addr",
                to,
                "write an address of the rule's family",
            )),
            _ if self.action.is_some() => Some(self.fault(
                "a rule with forward-port must not have an action",
                "remove the action",
            )),
            _ => None,
        }
    }

    fn check_actions(&self) -> Option<Finding> {
        let too = |value: &Option<String>| {
            value
                .as_deref()
                .filter(|value| !is_limit(value))
                .map(str::to_owned)
        };
        if let Some(value) = self.log.as_ref().and_then(|log| too(&log.limit)) {
            return Some(Self::bad(&self.span, "limit", &value, LIMIT));
        }
        if let Some(audit) = &self.audit {
            if self
                .action
                .as_ref()
                .is_none_or(|action| action.name == "mark")
            {
                return Some(self.fault(
                    "a rule with <audit> needs <accept>, <reject> or <drop>",
                    "add one of them",
                ));
            }
            if let Some(value) = too(&audit.limit) {
                return Some(Self::bad(&self.span, "limit", &value, LIMIT));
            }
        }
        let action = self.action.as_ref()?;
        if action.name == "reject" && !action.value.is_empty() {
            let Some(family) = &self.family else {
                return Some(Self::family(
                    &self.span,
                    "the rule needs a family, because its <reject> has a type",
                    "",
                ));
            };
            let known = if family == "ipv4" { REJECTS4 } else { REJECTS6 };
            if !known.split_whitespace().any(|kind| kind == action.value) {
                return Some(Self::bad(&self.span, "type", &action.value, known));
            }
        }
        if action.name == "mark" {
            let parts: Vec<&str> = action.value.split('/').collect();
            if parts.len() > 2 || !parts.into_iter().all(is_uint32) {
                return Some(Self::bad(
                    &self.span,
                    "set",
                    &action.value,
                    "write a 32-bit number, optionally followed by a / and a mask",
                ));
            }
        }
        too(&action.limit).map(|value| Self::bad(&self.span, "limit", &value, LIMIT))
    }
}

/// Returns whether firewalld accepts a rate.
fn is_limit(text: &str) -> bool {
    let Some((rate, unit)) = text.split_once('/') else {
        return false;
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return false,
    };
    decimal(rate)
        .is_some_and(|rate| rate >= 1 && 10_000 * seconds / rate > 0 && (rate, unit) != (1, "d"))
}
