//! How a CA is replaced under a running cluster, as a pure function: from what each member trusts
//! and presents to the next step of this one. etcd reads its CAs only when it starts, and its
//! certificates at each handshake (client/pkg/transport/listener.go). So a member restarts once to
//! trust the new CA, and once to stop trusting the old one. It never restarts while another member
//! is down, and no member presents a certificate that another does not trust.

use std::collections::{BTreeMap, BTreeSet};

use super::tls_probe::ServedCertificate;
use super::trust_bundle::list;
use crate::domain::CaSubject;
use crate::reason::{Reason, ReasonId};

/// What one member's ports trust and present, or why they cannot be probed.
pub(super) type Observation = Result<Vec<ServedCertificate>, String>;

/// What firstboot observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    /// The CAs in this node's document.
    pub(super) wanted: BTreeSet<CaSubject>,
    /// The CAs on its disk for etcd's next start: the document's, and those that are not dropped
    /// yet.
    pub(super) installed: BTreeSet<CaSubject>,
    /// The CAs that signed the document's certificates.
    pub(super) issuers: BTreeSet<CaSubject>,
    /// Whether those certificates are deferred.
    pub(super) held: bool,
    /// What etcd on this node trusts and presents.
    pub(super) own: Observation,
    /// The same of the other members, by name.
    pub(super) others: BTreeMap<String, Observation>,
    /// The other voters that are not healthy.
    pub(super) ill: Vec<String>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// The rotation is complete.
    Done,
    /// Wait, for this reason.
    Wait(Reason),
    /// Restart etcd, so that it trusts the installed CAs.
    Restart,
    /// Install the document's certificates.
    SwitchCertificates,
    /// Remove all CAs from the disk but the document's.
    DropOldCa,
}

/// The rule.
pub(super) fn plan(observed: &Observed) -> Plan {
    let Observed {
        wanted,
        installed,
        issuers,
        others,
        ..
    } = observed;
    let own = match &observed.own {
        Ok(own) => own,
        Err(why) => {
            return Plan::Wait(
                ReasonId::EtcdUnhealthy.because(format!("cannot probe etcd on this node: {why}")),
            );
        }
    };
    if own.iter().any(|port| port.trusts != *installed) {
        return match observed.ill.as_slice() {
            [] => Plan::Restart,
            ill => Plan::Wait(ReasonId::MembersUnhealthy.because(format!(
                "etcd must restart to trust {}, but does not restart while {} is not healthy",
                list(installed),
                ill.join(", ")
            ))),
        };
    }
    if observed.held {
        let lacks = |seen: &Observation| match seen {
            Ok(ports) if ports.iter().all(|port| port.trusts.is_superset(issuers)) => None,
            Ok(_) => Some(format!("does not trust {} yet", list(issuers))),
            Err(why) => Some(format!("cannot be probed ({why})")),
        };
        return match missing(others, lacks) {
            Some(who) => Plan::Wait(ReasonId::CaNotTrusted.because(format!(
                "waiting with the new certificates: {who}. Give each of these members its new node document"
            ))),
            None => Plan::SwitchCertificates,
        };
    }
    if installed == wanted {
        return Plan::Done;
    }
    let dropped = || list(installed.difference(wanted));
    let shows = |seen: &Observation| match seen {
        Ok(ports) => {
            let old = ports.iter().find(|port| !wanted.contains(&port.issuer))?;
            Some(format!("presents a certificate by {}", old.issuer))
        }
        Err(why) => Some(format!("cannot be probed ({why})")),
    };
    match missing(others, shows) {
        Some(who) => Plan::Wait(ReasonId::CaInUse.because(format!(
            "this node trusts {} until no member needs it: {who}. Give each of these members its new node document",
            dropped()
        ))),
        None => Plan::DropOldCa,
    }
}

/// Whether the other members completed the rotation without this node. At least one of those that
/// answer no longer trusts the CAs in `shown`, which signed the certificates that this node
/// presents, and all of them trust the CAs in `issuers`, which signed the certificates in its
/// document.
pub(super) fn is_left_behind(
    shown: &BTreeSet<CaSubject>,
    issuers: &BTreeSet<CaSubject>,
    others: &[BTreeSet<CaSubject>],
) -> bool {
    others.iter().any(|trusted| !trusted.is_superset(shown))
        && others.iter().all(|trusted| trusted.is_superset(issuers))
}

/// The members that are not ready, with the reason.
fn missing(
    others: &BTreeMap<String, Observation>,
    why: impl Fn(&Observation) -> Option<String>,
) -> Option<String> {
    let all: Vec<String> = others
        .iter()
        .filter_map(|(name, seen)| why(seen).map(|why| format!("{name} {why}")))
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CaSubject {
        CaSubject::new(text.as_bytes())
    }

    fn names(text: &str) -> BTreeSet<CaSubject> {
        text.chars().map(|one| name(&one.to_string())).collect()
    }

    fn port(trusts: &str, issuer: &str) -> ServedCertificate {
        let until = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        ServedCertificate {
            trusts: names(trusts),
            issuer: name(issuer),
            until,
        }
    }

    /// A member that trusts these CAs and presents a certificate of that one, on both ports.
    #[expect(clippy::unnecessary_wraps, reason = "other observations are errors")]
    fn seen(trusts: &str, issuer: &str) -> Observation {
        Ok(vec![port(trusts, issuer); 2])
    }

    /// `o` is the old CA, `n` the new one.
    fn observed(
        wanted: &str,
        installed: &str,
        held: bool,
        own: Observation,
        others: [Observation; 2],
    ) -> Observed {
        let [two, three] = others;
        Observed {
            wanted: names(wanted),
            installed: names(installed),
            issuers: names("n"),
            held,
            own,
            others: BTreeMap::from([("etcd-2".to_owned(), two), ("etcd-3".to_owned(), three)]),
            ill: Vec::new(),
        }
    }

    fn waits(observed: &Observed, words: &[&str]) {
        let Plan::Wait(why) = plan(observed) else {
            panic!("{observed:?}: {:?}", plan(observed))
        };
        let why = why.to_string();
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
    }

    #[test]
    fn it_trusts_then_shows_then_drops() {
        let (old, both) = (seen("o", "o"), seen("no", "o"));
        // With a document of both, or of the new one alone.
        for wanted in ["no", "n"] {
            let step = observed(wanted, "no", true, old.clone(), [old.clone(), old.clone()]);
            assert_eq!(plan(&step), Plan::Restart);
            let step = observed(
                wanted,
                "no",
                true,
                both.clone(),
                [both.clone(), old.clone()],
            );
            waits(&step, &["etcd-3 does not trust", "[ca-not-trusted]"]);
            let step = observed(
                wanted,
                "no",
                true,
                both.clone(),
                [both.clone(), both.clone()],
            );
            assert_eq!(plan(&step), Plan::SwitchCertificates);
        }
        let shown = seen("no", "n");
        let step = observed(
            "no",
            "no",
            false,
            shown.clone(),
            [both.clone(), both.clone()],
        );
        assert_eq!(plan(&step), Plan::Done, "the document has both");
        let step = observed(
            "n",
            "no",
            false,
            shown.clone(),
            [both.clone(), shown.clone()],
        );
        waits(&step, &["etcd-2 presents a certificate by", "[ca-in-use]"]);
        let step = observed(
            "n",
            "no",
            false,
            shown.clone(),
            [shown.clone(), seen("n", "n")],
        );
        assert_eq!(plan(&step), Plan::DropOldCa);
        let step = observed(
            "n",
            "n",
            false,
            shown.clone(),
            [shown.clone(), shown.clone()],
        );
        assert_eq!(plan(&step), Plan::Restart);
        let step = observed("n", "n", false, seen("n", "n"), [shown.clone(), both]);
        assert_eq!(plan(&step), Plan::Done);
    }

    #[test]
    fn etcd_does_not_restart_while_another_voter_is_unhealthy() {
        let old = seen("o", "o");
        let step = observed("no", "no", true, old.clone(), [old.clone(), old]);
        waits(
            &Observed {
                ill: vec!["etcd-2".to_owned()],
                ..step
            },
            &["etcd-2 is not healthy", "[members-unhealthy]"],
        );
    }

    #[test]
    fn a_member_that_cannot_be_probed_is_waited_for() {
        let (both, down) = (seen("no", "o"), Err("connection refused".to_owned()));
        waits(
            &observed("no", "no", true, both.clone(), [both.clone(), down.clone()]),
            &["etcd-3", "refused"],
        );
        let shown = seen("no", "n");
        waits(
            &observed("n", "no", false, shown.clone(), [down.clone(), shown]),
            &["etcd-2", "refused"],
        );
        waits(
            &observed("no", "no", true, down, [both.clone(), both]),
            &["on this node", "refused"],
        );
    }

    #[test]
    fn a_member_is_ready_only_when_both_ports_are() {
        let half = Ok(vec![port("no", "o"), port("o", "o")]);
        let both = seen("no", "o");
        waits(
            &observed("no", "no", true, both.clone(), [both.clone(), half.clone()]),
            &["etcd-3"],
        );
        assert_eq!(
            plan(&observed("no", "no", true, half, [both.clone(), both])),
            Plan::Restart
        );
    }

    #[test]
    fn node_catches_up_only_if_all_that_answer_trust_the_new_ca() {
        let is_behind = |others: &[&str]| {
            let others: Vec<_> = others.iter().map(|trusted| names(trusted)).collect();
            is_left_behind(&names("o"), &names("n"), &others)
        };
        assert!(is_behind(&["n"]) && is_behind(&["n", "n"]) && is_behind(&["n", "no"]));
        for others in [&[][..], &["no"], &["no", "no"], &["o", "n"], &["o"], &["x"]] {
            assert!(!is_behind(others), "{others:?}");
        }
    }

    /// Three nodes get their documents in any order and take one step at a time by this rule. No
    /// member ever presents a certificate that another does not trust, at most one restarts at a
    /// time, and in the end all follow the document.
    #[test]
    fn no_order_of_steps_locks_a_member_out() {
        explore::all("no");
        explore::all("n");
    }

    mod explore {
        use std::collections::HashSet;

        use super::*;

        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        struct Node {
            told: bool,
            /// On the disk.
            trusts: String,
            issuer: String,
            /// What etcd has read at its start.
            runs: String,
        }

        fn look(node: &Node) -> Observation {
            seen(&node.runs, &node.issuer)
        }

        fn sorted(text: &str) -> String {
            let mut all: Vec<char> = text.chars().collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter().collect()
        }

        /// What happens next to one node, by the rule; a kill at any time leaves it as it is.
        fn next(nodes: &[Node; 3], at: usize, wanted: &str) -> Option<Node> {
            let mut node = nodes[at].clone();
            if !node.told {
                node.told = true;
                node.trusts = sorted(&format!("{}{wanted}", node.trusts));
                return Some(node);
            }
            let others = [1, 2].map(|step| look(&nodes[(at + step) % 3]));
            let held = node.issuer != "n";
            match plan(&observed(wanted, &node.trusts, held, look(&node), others)) {
                Plan::Done | Plan::Wait(_) => return None,
                Plan::Restart => node.runs.clone_from(&node.trusts),
                Plan::SwitchCertificates => node.issuer = "n".to_owned(),
                Plan::DropOldCa => node.trusts = sorted(wanted),
            }
            Some(node)
        }

        pub(super) fn all(wanted: &str) {
            let first = Node {
                told: false,
                trusts: "o".into(),
                issuer: "o".into(),
                runs: "o".into(),
            };
            let mut open = vec![[first.clone(), first.clone(), first]];
            let mut known: HashSet<_> = open.iter().cloned().collect();
            while let Some(nodes) = open.pop() {
                for (one, other) in [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)] {
                    let (one, other) = (&nodes[one], &nodes[other]);
                    assert!(other.runs.contains(&one.issuer), "locked out: {nodes:?}");
                    assert!(
                        other.trusts.contains(&one.issuer),
                        "locked out after its next start: {nodes:?}"
                    );
                }
                let successors: Vec<_> = (0..3)
                    .filter_map(|at| {
                        let mut nodes = nodes.clone();
                        nodes[at] = next(&nodes, at, wanted)?;
                        Some(nodes)
                    })
                    .collect();
                if successors.is_empty() {
                    let done = |node: &Node| {
                        node.issuer == "n"
                            && node.runs == sorted(wanted)
                            && node.trusts == node.runs
                    };
                    assert!(
                        nodes.iter().all(done),
                        "no member makes progress: {nodes:?}"
                    );
                }
                open.extend(
                    successors
                        .into_iter()
                        .filter(|nodes| known.insert(nodes.clone())),
                );
            }
            assert!(known.len() > 30, "only {} states", known.len());
        }
    }
}
