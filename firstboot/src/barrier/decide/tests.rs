//! Every combination of what three members can remember and say, against what must hold for each answer.

use super::*;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn epoch(number: u64, lives: [u128; 3]) -> Epoch {
    let lives: Lives = ["a", "b", "c"].map(label).into_iter().zip(lives.map(Nonce::of)).collect();
    Epoch { id: Sha256::of(&number.to_be_bytes()), lives, token: format!("t{number}"), cluster_id: number }
}

/// What `a` may remember: nothing, one epoch, two, and with or without `c`.
fn memories() -> Vec<Memory> {
    let (one, two) = (epoch(1, [1, 1, 1]), epoch(2, [1, 2, 1]));
    let pasts = [vec![], vec![one.clone()], vec![two.clone()], vec![one.clone(), two.clone()], vec![two, one]];
    let mut memories = Vec::new();
    for epochs in pasts {
        for without in [BTreeSet::new(), BTreeSet::from([label("c")])] {
            let all = BTreeSet::from(["a", "b", "c"].map(label));
            let initial = &all - &without;
            memories.push(Memory { name: label("a"), initial, without, nonce: Nonce::of(1), epochs: epochs.clone() });
        }
    }
    memories
}

/// What one other member may be seen as. Epoch 3 and cluster 3 are those of strangers.
fn views() -> Vec<View> {
    let mut all = vec![None];
    let ready = [1, 2, 3].map(|number: u64| Phase::Ready { epoch: Sha256::of(&number.to_be_bytes()) });
    for nonce in [1, 2].map(Nonce::of) {
        for phase in [Phase::Empty].into_iter().chain(ready) {
            for without in [BTreeSet::new(), BTreeSet::from([label("c")])] {
                all.push(Some(Words::Firstboot { nonce, phase, without }));
            }
        }
    }
    all.extend([1, 2, 3].map(|cluster_id| Some(Words::Etcd { cluster_id })));
    all.into_iter().flat_map(|words| [true, false].map(|fresh| View { words: words.clone(), fresh })).collect()
}

fn clusters(views: &Views) -> BTreeSet<u64> {
    let id = |view: &View| if let Some(Words::Etcd { cluster_id }) = view.words { Some(cluster_id) } else { None };
    views.values().filter_map(id).collect()
}

/// What an initial member said, if firstboot said it and goes with the same members.
fn agreed<'a>(memory: &Memory, view: &'a View) -> Option<(&'a Nonce, &'a Phase)> {
    match &view.words {
        Some(Words::Firstboot { nonce, phase, without }) if *without == memory.without => Some((nonce, phase)),
        _ => None,
    }
}

fn check(memory: &Memory, views: &Views) {
    let step = decide(memory, views);
    let said = format!("{step:?} from {memory:?} and {views:?}");
    let strangers = clusters(views).iter().any(|id| !memory.epochs.iter().any(|epoch| epoch.cluster_id == *id));
    let others = || memory.others().map(|name| &views[name]);
    match step {
        Step::Start(id) => {
            let epoch = memory.epochs.iter().find(|epoch| epoch.id == id);
            let epoch = epoch.unwrap_or_else(|| panic!("never ready in it: {said}"));
            let follows = clusters(views) == BTreeSet::from([epoch.cluster_id]);
            let begins = clusters(views).is_empty()
                && memory.epochs.last() == Some(epoch)
                && others().all(|view| agreed(memory, view).is_some_and(|(_, p)| *p == Phase::Ready { epoch: id }));
            assert!(follows || begins, "{said}");
        }
        Step::BeReady(lives) => {
            assert!(clusters(views).is_empty() && !memory.epochs.iter().any(|epoch| epoch.lives == lives), "{said}");
            assert!(lives.keys().eq(&memory.initial) && lives[&memory.name] == memory.nonce, "{said}");
            for name in memory.others() {
                let seen = agreed(memory, &views[name]).map(|(nonce, _)| nonce);
                assert!(views[name].fresh && seen == Some(&lives[name]), "{said}");
            }
        }
        Step::Alive => assert!(strangers || clusters(views).len() > 1, "{said}"),
        Step::Wait => assert!(clusters(views).is_empty(), "{said}"),
    }
    assert!(!strangers || decide(memory, views) == Step::Alive, "a stranger's cluster: {said}");
}

#[test]
fn every_combination_keeps_to_the_rule() {
    let mut combinations = 0;
    for memory in memories() {
        for b in views() {
            for c in views() {
                check(&memory, &Views::from([(label("b"), b.clone()), (label("c"), c)]));
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, 10 * 40 * 40);
}

#[test]
fn a_lone_member_agrees_with_itself() {
    let mut memory = memories().remove(0);
    memory.initial = BTreeSet::from([label("a")]);
    let Step::BeReady(lives) = decide(&memory, &Views::new()) else { panic!("not ready") };
    assert_eq!(lives, Lives::from([(label("a"), Nonce::of(1))]));
    memory.epochs.push(Epoch { lives, ..epoch(1, [1, 1, 1]) });
    assert_eq!(decide(&memory, &Views::new()), Step::Start(memory.epochs[0].id));
}
