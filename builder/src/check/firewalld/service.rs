//! Checks services, helpers and ICMP types (firewalld 0.6.3, core/io/service.py, helper.py,
//! icmptype.py).

use super::element::{Element, SeenElements, UNINSTALLABLE};
use super::reader::Reader;
use super::schema::Kind;
use super::value::{TRANSPORTS, is_network4, is_network6, is_protocol};
use crate::check::finding::Finding;

/// The part of the file that has been read.
#[derive(Debug)]
pub(super) struct Service {
    kind: Kind,
    seen: SeenElements,
}

impl Service {
    pub(super) fn of(kind: Kind) -> Self {
        Self {
            kind,
            seen: SeenElements::default(),
        }
    }

    fn port(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let (port, protocol) = (at.text("port"), at.text("protocol"));
        // In a service, a port without a number is a protocol.
        if self.kind == Kind::Service && at.name() == "port" && port.is_empty() {
            at.expect("protocol", is_protocol, PROTOCOL, out);
            self.seen.add(at, format!("protocol {protocol}"), out);
            return;
        }
        at.expect_port("port", out);
        at.expect(
            "protocol",
            |text| TRANSPORTS.contains(&text),
            "tcp, udp, sctp or dccp",
            out,
        );
        self.seen
            .add(at, format!("{} {port}/{protocol}", at.name()), out);
    }

    fn module(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let name = at.text("name");
        let short = if name.starts_with("nf_conntrack_") {
            name.replace("nf_conntrack_", "").replace('_', "-")
        } else {
            name.to_owned()
        };
        if short.chars().count() < 2 {
            let expected = "the name of a helper module, such as nf_conntrack_ftp";
            out.push(at.invalid_value("name", expected).effect(UNINSTALLABLE));
        }
        self.seen.add(at, format!("module {short}"), out);
    }
}

const PROTOCOL: &str = "a name from /etc/protocols, or a number up to 255";

impl Reader for Service {
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        match (self.kind, at.name()) {
            (Kind::Service, "service") | (Kind::IcmpType, "icmptype")
                if at.get("name").is_some() =>
            {
                out.push(at.deprecated(
                    "name",
                    "remove the attribute; firewalld uses the name of the file instead",
                ));
            }
            (Kind::Service | Kind::Helper, "port" | "source-port") => self.port(at, out),
            (Kind::Service, "protocol") => {
                at.expect("value", is_protocol, PROTOCOL, out);
                self.seen
                    .add(at, format!("protocol {}", at.text("value")), out);
            }
            (Kind::Service, "destination") => {
                for (family, good) in [
                    ("ipv4", is_network4 as fn(&str) -> bool),
                    ("ipv6", is_network6),
                ] {
                    if at.get(family).is_some() {
                        at.expect(family, good, "an address or network of this family", out);
                        self.seen.add(at, format!("destination {family}"), out);
                    }
                }
            }
            (Kind::Service, "module") => self.module(at, out),
            (Kind::Helper, "helper") => {
                if at.get("family").is_some() {
                    at.expect(
                        "family",
                        |family| ["ipv4", "ipv6"].contains(&family),
                        "ipv4 or ipv6",
                        out,
                    );
                }
                let named = |name: &str| {
                    name.starts_with("nf_conntrack_")
                        && !name.replace("nf_conntrack_", "").is_empty()
                };
                at.expect(
                    "module",
                    named,
                    "a name that begins with nf_conntrack_",
                    out,
                );
            }
            _ => {}
        }
    }

    fn end(&mut self, _at: &Element<'_>, _text: &str, _out: &mut Vec<Finding>) {}
}
