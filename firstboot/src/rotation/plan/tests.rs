//! Tests the plan of a rotation, and checks it in all reachable states of three nodes.

use super::*;

fn name(text: &str) -> CaSubject {
    CaSubject::new(text.as_bytes())
}

fn names(text: &str) -> BTreeSet<CaSubject> {
    text.chars().map(|one| name(&one.to_string())).collect()
}

fn port(trusts: &str, issuer: &str) -> ServedCertificate {
    ServedCertificate {
        trusts: names(trusts),
        issuer: name(issuer),
    }
}

/// Returns a member that trusts the CAs `trusts`, and presents a certificate of the CA `issuer`, on
/// both ports.
#[expect(clippy::unnecessary_wraps, reason = "other observations are errors")]
fn member(trusts: &str, issuer: &str) -> ServedCertificates {
    Ok(vec![port(trusts, issuer); 2])
}

/// Returns an observation in which `o` is the old CA and `n` is the new CA.
fn observed(
    wanted: &str,
    installed: &str,
    held: bool,
    own: ServedCertificates,
    others: [ServedCertificates; 2],
) -> Observed {
    let [two, three] = others;
    Observed {
        wanted: names(wanted),
        installed: names(installed),
        issuers: names("n"),
        deferred: held,
        own,
        others: BTreeMap::from([("etcd-2".to_owned(), two), ("etcd-3".to_owned(), three)]),
        unhealthy: Vec::new(),
    }
}

fn waits(observed: &Observed, words: &[&str]) {
    let RotationStep::Wait(why) = plan(observed) else {
        panic!("{observed:?}: {:?}", plan(observed))
    };
    let why = why.to_string();
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
}

#[test]
fn a_member_trusts_the_new_ca_then_presents_it_then_drops_the_old_ca() {
    let (old, both) = (member("o", "o"), member("no", "o"));
    // The document contains both CAs, or only the new CA.
    for wanted in ["no", "n"] {
        let step = observed(wanted, "no", true, old.clone(), [old.clone(), old.clone()]);
        assert_eq!(plan(&step), RotationStep::Restart);
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
        assert_eq!(plan(&step), RotationStep::SwitchCertificates);
    }
    let shown = member("no", "n");
    let step = observed(
        "no",
        "no",
        false,
        shown.clone(),
        [both.clone(), both.clone()],
    );
    assert_eq!(
        plan(&step),
        RotationStep::Done,
        "the document contains both CAs"
    );
    let step = observed(
        "n",
        "no",
        false,
        shown.clone(),
        [both.clone(), shown.clone()],
    );
    waits(&step, &["etcd-2 presents a certificate of", "[ca-in-use]"]);
    let step = observed(
        "n",
        "no",
        false,
        shown.clone(),
        [shown.clone(), member("n", "n")],
    );
    assert_eq!(plan(&step), RotationStep::DropOldCa);
    let step = observed(
        "n",
        "n",
        false,
        shown.clone(),
        [shown.clone(), shown.clone()],
    );
    assert_eq!(plan(&step), RotationStep::Restart);
    let step = observed("n", "n", false, member("n", "n"), [shown.clone(), both]);
    assert_eq!(plan(&step), RotationStep::Done);
}

#[test]
fn etcd_does_not_restart_while_another_voter_is_unhealthy() {
    let old = member("o", "o");
    let step = observed("no", "no", true, old.clone(), [old.clone(), old]);
    waits(
        &Observed {
            unhealthy: vec!["etcd-2".to_owned()],
            ..step
        },
        &[
            "until these members are healthy: etcd-2",
            "[members-unhealthy]",
        ],
    );
}

#[test]
fn the_node_waits_for_a_member_that_cannot_be_probed() {
    let (both, down) = (member("no", "o"), Err("connection refused".to_owned()));
    waits(
        &observed("no", "no", true, both.clone(), [both.clone(), down.clone()]),
        &["etcd-3", "refused"],
    );
    let shown = member("no", "n");
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
fn a_member_counts_only_if_both_of_its_ports_trust_the_new_ca() {
    let half = Ok(vec![port("no", "o"), port("o", "o")]);
    let both = member("no", "o");
    waits(
        &observed("no", "no", true, both.clone(), [both.clone(), half.clone()]),
        &["etcd-3"],
    );
    assert_eq!(
        plan(&observed("no", "no", true, half, [both.clone(), both])),
        RotationStep::Restart
    );
}

#[test]
fn a_node_catches_up_only_if_all_members_that_answer_trust_the_new_ca() {
    let is_behind = |others: &[&str]| {
        let others: Vec<_> = others.iter().map(|trusted| names(trusted)).collect();
        is_left_behind(&names("o"), &names("n"), &others)
    };
    assert!(is_behind(&["n"]) && is_behind(&["n", "n"]) && is_behind(&["n", "no"]));
    for others in [&[][..], &["no"], &["no", "no"], &["o", "n"], &["o"], &["x"]] {
        assert!(!is_behind(others), "{others:?}");
    }
}

/// Three nodes receive their documents in any order, and each node executes one step at a time
/// according to the rule. No member ever presents a certificate that another member does not trust,
/// and at most one member restarts at a time. At the end, all nodes use the CAs and certificates of
/// their documents.
#[test]
fn no_order_of_steps_lets_a_member_present_an_untrusted_certificate() {
    explore::all("no");
    explore::all("n");
}

mod explore {
    use std::collections::HashSet;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Node {
        has_new_document: bool,
        /// The CAs on the node's disk.
        installed: String,
        issuer: String,
        /// The CAs that etcd read when it started.
        loaded: String,
    }

    fn look(node: &Node) -> ServedCertificates {
        member(&node.loaded, &node.issuer)
    }

    fn sorted(text: &str) -> String {
        let mut all: Vec<char> = text.chars().collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().collect()
    }

    /// Returns the state of one node after the next step that the rule requires. The model does not
    /// kill nodes, because a kill would not change the state.
    fn next(nodes: &[Node; 3], at: usize, wanted: &str) -> Option<Node> {
        let mut node = nodes[at].clone();
        if !node.has_new_document {
            node.has_new_document = true;
            node.installed = sorted(&format!("{}{wanted}", node.installed));
            return Some(node);
        }
        let others = [1, 2].map(|step| look(&nodes[(at + step) % 3]));
        let held = node.issuer != "n";
        match plan(&observed(
            wanted,
            &node.installed,
            held,
            look(&node),
            others,
        )) {
            RotationStep::Done | RotationStep::Wait(_) => return None,
            RotationStep::Restart => node.loaded.clone_from(&node.installed),
            RotationStep::SwitchCertificates => node.issuer = "n".to_owned(),
            RotationStep::DropOldCa => node.installed = sorted(wanted),
        }
        Some(node)
    }

    pub(super) fn all(wanted: &str) {
        let first = Node {
            has_new_document: false,
            installed: "o".into(),
            issuer: "o".into(),
            loaded: "o".into(),
        };
        let mut open = vec![[first.clone(), first.clone(), first]];
        let mut known: HashSet<_> = open.iter().cloned().collect();
        while let Some(nodes) = open.pop() {
            for (one, other) in [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)] {
                let (one, other) = (&nodes[one], &nodes[other]);
                assert!(
                    other.loaded.contains(&one.issuer),
                    "a member refuses another member: {nodes:?}"
                );
                assert!(
                    other.installed.contains(&one.issuer),
                    "a member that restarts would refuse another member: {nodes:?}"
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
                        && node.loaded == sorted(wanted)
                        && node.installed == node.loaded
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
