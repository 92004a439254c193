//! Checks zones (firewalld 0.6.3, core/io/zone.py, zone_ContentHandler).

mod item;

use std::collections::BTreeSet;

use super::element::{Element, IGNORED, REFUSED, SeenElements, UNINSTALLABLE};
use super::reader::Reader;
use super::rule::{Action, Audit, Kind, LEVELS, Log, Rule, Source};
use super::value::is_interface;
use crate::check::finding::Finding;

const RULE: &str = "firewalld ignores the rule";
const REST: &str = "firewalld ignores this element and everything up to the end of the next rule";

/// The open element of a rule, to which a `<limit>` inside this element applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitTarget {
    Log,
    Audit,
    Action,
}

/// The part of a zone that has been read.
#[derive(Debug, Default)]
pub(super) struct Zone {
    rule: Option<Rule>,
    /// Whether a fault makes firewalld skip everything up to the next `</rule>`.
    broken: bool,
    limited: Option<LimitTarget>,
    seen: SeenElements,
    sets: BTreeSet<String>,
}

impl Reader for Zone {
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        match at.name() {
            "zone" => zone(at, out),
            "rule" => self.begin_rule(at, out),
            "service" | "port" | "protocol" | "icmp-block" | "icmp-type" | "masquerade"
            | "forward-port" | "source-port" => self.element(at, out),
            "interface" => self.interface(at, out),
            "source" => self.source(at, out),
            "destination" => self.destination(at, out),
            "accept" | "reject" | "drop" | "mark" => self.action(at, out),
            "log" => self.log(at, out),
            "audit" => self.audit(at, out),
            "limit" => self.limit(at, out),
            "icmp-block-inversion" => self.seen.add(at, "icmp-block-inversion".into(), out),
            _ => {}
        }
    }

    fn end(&mut self, at: &Element<'_>, _text: &str, out: &mut Vec<Finding>) {
        match at.name() {
            "rule" => {
                let rule = self.rule.take();
                if std::mem::take(&mut self.broken) {
                    return;
                }
                let Some(rule) = rule else {
                    out.push(at.misplaced(
                        "the rule is within another rule",
                        RULE,
                        "write the rules one after the other",
                    ));
                    return;
                };
                match rule.check() {
                    Some(finding) => out.push(finding),
                    None => self.seen.add(at, rule.to_string(), out),
                }
            }
            "accept" | "reject" | "drop" | "mark" | "log" | "audit" => self.limited = None,
            _ => {}
        }
    }

    fn ignores(&self) -> bool {
        self.broken
    }
}

fn zone(at: &Element<'_>, out: &mut Vec<Finding>) {
    const TARGETS: [&str; 5] = ["ACCEPT", "%%REJECT%%", "DROP", "{chain}_{zone}", "default"];
    if at.get("target").is_some() {
        at.expect(
            "target",
            |target| TARGETS.contains(&target),
            "ACCEPT, DROP, %%REJECT%% or default",
            out,
        );
    }
    for name in ["name", "immutable"]
        .into_iter()
        .filter(|name| at.get(name).is_some())
    {
        out.push(at.deprecated(
            name,
            "remove the attribute; firewalld ignores name and immutable, and uses the file name as the zone's name",
        ));
    }
}

impl Zone {
    /// Reports a fault that makes firewalld skip everything up to the next `</rule>`.
    fn break_off(&mut self, finding: Finding, out: &mut Vec<Finding>) {
        self.broken = true;
        out.push(finding);
    }

    fn begin_rule(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let family = at.get("family");
        if family.is_some_and(|family| !["ipv4", "ipv6"].contains(&family)) {
            let finding = at.invalid_value("family", "ipv4 or ipv6").effect(RULE);
            self.break_off(finding, out);
            return;
        }
        self.rule = Some(Rule::new(family, at.span.clone()));
    }

    /// Reads an element of a rule, or of the zone itself.
    fn element(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let name = at.name();
        if name == "masquerade"
            && ["no", "false"].contains(&at.text("enabled").to_lowercase().as_str())
        {
            let message = "masquerading is off without this element";
            let finding = Finding::warning("firewalld/deprecated", at.span_of("enabled"), message);
            out.push(finding.effect(IGNORED).fix("remove <masquerade>"));
            return;
        }
        if let Some(rule) = &mut self.rule {
            if rule.element.is_some() {
                let message = "the rule has more than one service, port or similar element";
                self.break_off(
                    at.misplaced(message, RULE, "write one rule for each element"),
                    out,
                );
            } else {
                rule.element = Some((Kind::of(at), at.span.clone()));
            }
            return;
        }
        if let Some(item) = item::of(at, out) {
            self.seen.add(at, item, out);
        }
    }

    fn interface(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        if self.rule.is_some() {
            let finding = at.misplaced(
                "<interface> is within a rule",
                RULE,
                "put this element into the zone",
            );
            self.break_off(finding, out);
            return;
        }
        if !is_interface(at.text("name")) {
            let expected = "the name of an interface, with at most 16 characters";
            out.push(at.invalid_value("name", expected).effect(UNINSTALLABLE));
        }
        self.seen
            .add(at, format!("interface {}", at.text("name")), out);
    }

    fn source(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let filled = |name: &str| {
            at.get(name)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        if let Some(rule) = &mut self.rule {
            if rule.source.is_some() {
                let message = "the rule has more than one source";
                self.break_off(
                    at.misplaced(
                        message,
                        RULE,
                        "write one rule for each source, or name an ipset",
                    ),
                    out,
                );
                return;
            }
            let source = Source {
                address: filled("address"),
                mac: filled("mac").map(|mac| mac.to_uppercase()),
                ipset: filled("ipset"),
                invert: at.inverts(),
                span: at.span_of("address"),
            };
            if source.address.is_none() && source.mac.is_none() && source.ipset.is_none() {
                let message = "the source has no address, mac or ipset";
                out.push(at.misplaced(message, REFUSED, "write address=\"10.0.0.0/24\""));
            }
            rule.source = Some(source);
            return;
        }
        match item::source(at, out) {
            // firewalld tries to log a warning about the duplicate ipset, and fails because the
            // source has no address.
            Some((true, ipset)) if !self.sets.insert(ipset.clone()) => {
                out.push(at.misplaced(
                    format!("the source ipset {ipset} is listed twice"),
                    REFUSED,
                    "remove one of them",
                ));
            }
            Some((false, address)) => self.seen.add(at, format!("source {address}"), out),
            _ => {}
        }
    }

    fn destination(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let Some(rule) = &mut self.rule else {
            let finding = at.misplaced(
                "<destination> is outside of a rule",
                REST,
                "put this element into a <rule>",
            );
            self.break_off(finding, out);
            return;
        };
        if rule.destination.is_some() {
            out.push(at.misplaced(
                "the rule has more than one destination",
                IGNORED,
                "write one rule for each destination",
            ));
            return;
        }
        rule.destination = Some((
            at.text("address").to_owned(),
            at.inverts(),
            at.span_of("address"),
        ));
    }

    fn action(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let Some(rule) = &mut self.rule else {
            let message = format!("<{}> is outside of a rule", at.name());
            self.break_off(
                at.misplaced(message, REST, "put this element into a <rule>"),
                out,
            );
            return;
        };
        if rule.action.is_some() {
            self.break_off(
                at.misplaced(
                    "the rule has more than one action",
                    RULE,
                    "write one rule for each action",
                ),
                out,
            );
            return;
        }
        rule.action = Some(Action::of(at));
        self.limited = Some(LimitTarget::Action);
    }

    fn log(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let Some(rule) = &mut self.rule else {
            out.push(at.misplaced(
                "<log> is outside of a rule",
                IGNORED,
                "put this element into a <rule>",
            ));
            return;
        };
        if rule.log.is_some() {
            out.push(at.misplaced(
                "the rule has more than one <log>",
                IGNORED,
                "remove one of them",
            ));
            return;
        }
        let level = at.get("level").map(str::to_owned);
        if level
            .as_deref()
            .is_some_and(|level| !LEVELS.contains(&level))
        {
            let expected = LEVELS.join(", ");
            let finding = at.invalid_value("level", &expected).effect(RULE);
            self.break_off(finding, out);
            return;
        }
        rule.log = Some(Log {
            prefix: at.text("prefix").to_owned(),
            level,
            limit: None,
        });
        self.limited = Some(LimitTarget::Log);
    }

    fn audit(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let Some(rule) = &mut self.rule else {
            out.push(at.misplaced(
                "<audit> is outside of a rule",
                IGNORED,
                "put this element into a <rule>",
            ));
            return;
        };
        if rule.audit.is_some() {
            self.break_off(
                at.misplaced(
                    "the rule has more than one <audit>",
                    RULE,
                    "remove one of them",
                ),
                out,
            );
            return;
        }
        rule.audit = Some(Audit::default());
        self.limited = Some(LimitTarget::Audit);
    }

    fn limit(&mut self, at: &Element<'_>, out: &mut Vec<Finding>) {
        let inside = self.rule.is_some();
        let slot = self.rule.as_mut().and_then(|rule| match self.limited? {
            LimitTarget::Log => rule.log.as_mut().map(|log| &mut log.limit),
            LimitTarget::Audit => rule.audit.as_mut().map(|audit| &mut audit.limit),
            LimitTarget::Action => rule.action.as_mut().map(|action| &mut action.limit),
        });
        match slot {
            None => {
                let message = "<limit> is not inside an action, a <log> or an <audit>";
                self.break_off(
                    at.misplaced(
                        message,
                        if inside { RULE } else { REST },
                        "put <limit> into an action, a <log> or an <audit>",
                    ),
                    out,
                );
            }
            Some(Some(_)) => {
                self.break_off(
                    at.misplaced(
                        "the element has more than one <limit>",
                        RULE,
                        "remove one of them",
                    ),
                    out,
                );
            }
            Some(slot) => *slot = Some(super::rule::limit(at.text("value"))),
        }
    }
}
