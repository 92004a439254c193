//! Every combination of what three members can remember and say, against what must hold for each answer.

use super::*;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn epoch(number: u64, lives: [u128; 3]) -> Epoch {
    let lives: Lives = ["a", "b", "c"].map(label).into_iter().zip(lives.map(Nonce::of)).collect();
    let (id, token) = (Sha256::of(&number.to_be_bytes()), format!("t{number}"));
    Epoch { id, lives, task: Task::New, token, cluster_id: number }
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
            let (name, nonce, epochs) = (label("a"), Nonce::of(1), epochs.clone());
            memories.push(Memory { name, initial, without, nonce, epochs, task: Task::New });
        }
    }
    memories
}

/// What one other member may be seen as, that was told one of these. Epoch 3 and cluster 3 are those of strangers.
fn views(tasks: &[Task]) -> Vec<View> {
    let mut all = vec![None];
    let ready = [1, 2, 3].map(|number: u64| Phase::Ready { epoch: Sha256::of(&number.to_be_bytes()) });
    for nonce in [1, 2].map(Nonce::of) {
        for phase in [Phase::Empty].into_iter().chain(ready) {
            for without in [BTreeSet::new(), BTreeSet::from([label("c")])] {
                for task in tasks.iter().copied() {
                    all.push(Some(Words::Firstboot { nonce, phase, without: without.clone(), task }));
                }
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
        Some(Words::Firstboot { nonce, phase, without, task })
            if *without == memory.without && memory.task.with(*task).is_some() =>
        {
            Some((nonce, phase))
        }
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
        Step::GiveUp(_) => panic!("{said}"),
        Step::BeReady(lives, task) => {
            assert_eq!(task, Task::New);
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
        for b in views(&[Task::New]) {
            for c in views(&[Task::New]) {
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
    let Step::BeReady(lives, _) = decide(&memory, &Views::new()) else { panic!("not ready") };
    assert_eq!(lives, Lives::from([(label("a"), Nonce::of(1))]));
    memory.epochs.push(Epoch { lives, ..epoch(1, [1, 1, 1]) });
    assert_eq!(decide(&memory, &Views::new()), Step::Start(memory.epochs[0].id));
}

fn restore(number: u8) -> Task {
    Task::Restore { snapshot: Sha256::of(&[number]), seen: Some(1) }
}

/// As `check`, where `a` was told to restore or to return.
fn check_told(memory: &Memory, views: &Views) {
    let step = decide(memory, views);
    let said = format!("{step:?} from {memory:?} and {views:?}");
    let others = || memory.others().map(|name| &views[name]);
    let back = |view: &View| matches!((&view.words, memory.task), (Some(Words::Etcd { cluster_id }), Task::Rollback { cluster }) if *cluster_id == cluster);
    match step {
        Step::Start(id) => {
            let epoch = memory.epochs.iter().find(|epoch| epoch.id == id).unwrap_or_else(|| panic!("{said}"));
            let follows = matches!(memory.task, Task::Restore { .. }) && clusters(views).contains(&epoch.cluster_id);
            let ready = |view: &View| agreed(memory, view).is_some_and(|(_, p)| *p == Phase::Ready { epoch: id });
            let begins = memory.epochs.last() == Some(epoch) && others().all(|view| ready(view) || back(view));
            assert!(follows || begins, "{said}");
        }
        Step::BeReady(lives, task) => {
            assert!(memory.task.with(task) == Some(task) && lives[&memory.name] == memory.nonce, "{said}");
            for (name, view) in views {
                if memory.initial.contains(name) {
                    let seen = agreed(memory, view).map(|(nonce, _)| nonce);
                    assert!(view.fresh && (seen.is_some() && seen == lives.get(name) || back(view)), "{said}");
                } else {
                    let runs = matches!(view.words, Some(Words::Etcd { .. })) && view.fresh;
                    assert!(!runs || back(view), "one that was left out lives: {said}");
                }
            }
        }
        Step::GiveUp(name) => {
            let view = &views[&name];
            assert!(view.fresh && memory.initial.contains(&name) && agreed(memory, view).is_none(), "{said}");
            let etcd = matches!(view.words, Some(Words::Etcd { .. }));
            assert_eq!(etcd, !memory.epochs.is_empty(), "{said}");
        }
        Step::Alive => panic!("{said}"),
        Step::Wait => {}
    }
}

#[test]
fn whoever_is_told_acts_only_with_all_others_or_where_it_agreed() {
    for task in [restore(1), Task::Rollback { cluster: 3 }] {
        for mut memory in memories() {
            memory.task = task;
            for b in views(&[Task::New, task, restore(2)]) {
                for c in views(&[Task::New, task, restore(2)]) {
                    check_told(&memory, &Views::from([(label("b"), b.clone()), (label("c"), c)]));
                }
            }
        }
    }
}

#[test]
fn two_snapshots_are_told_apart_at_once() {
    let mut memory = memories().remove(0);
    memory.task = restore(1);
    let told = |task| {
        let words = Words::Firstboot { nonce: Nonce::of(1), phase: Phase::Empty, without: BTreeSet::new(), task };
        View { words: Some(words), fresh: true }
    };
    let views = |b, c| Views::from([(label("b"), told(b)), (label("c"), told(c))]);
    assert_eq!(decide(&memory, &views(restore(1), restore(2))), Step::GiveUp(label("c")));
    assert_eq!(decide(&memory, &views(restore(1), Task::New)), Step::Wait);
    assert!(matches!(decide(&memory, &views(restore(1), restore(1))), Step::BeReady(..)));
}

#[test]
fn one_that_stayed_behind_returns_alone_to_those_that_never_left() {
    let mut memory = memories().remove(0);
    memory.task = Task::Rollback { cluster: 3 };
    let there = || View { words: Some(Words::Etcd { cluster_id: 3 }), fresh: true };
    let views = Views::from([(label("b"), there()), (label("c"), there())]);
    let Step::BeReady(lives, task) = decide(&memory, &views) else { panic!("not ready") };
    memory.epochs.push(Epoch { lives, task, cluster_id: 3, ..epoch(1, [1, 1, 1]) });
    assert_eq!(decide(&memory, &views), Step::Start(memory.epochs[0].id));
}
