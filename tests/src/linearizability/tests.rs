//! Tests the check on possible and impossible histories of one key.

use fastrand::Rng;

use super::*;

fn operation(client: usize, begun: u64, ended: impl Into<Option<u64>>, deed: Action) -> Operation {
    Operation {
        client,
        begun,
        ended: ended.into(),
        action: deed,
    }
}

#[test]
fn sequential_operations_each_observe_the_previous_one() {
    let history = [
        operation(1, 0, 1, Action::Read(None)),
        operation(1, 2, 3, Action::Write(1)),
        operation(2, 4, 5, Action::Read(Some(1))),
        operation(2, 6, 7, Action::CompareAndSwap(Some(1), 2)),
        operation(1, 8, 9, Action::Refused(Some(1), Some(2))),
    ];
    assert_eq!(check(&history), Ok(()));
    for (at, deed) in [
        (2, Action::Read(None)),
        (2, Action::Read(Some(2))),
        (3, Action::CompareAndSwap(None, 2)),
        (4, Action::Refused(Some(1), Some(1))),
        (4, Action::CompareAndSwap(Some(1), 3)),
    ] {
        let mut wrong = history;
        wrong[at].action = deed;
        assert!(check(&wrong).is_err(), "{deed:?}");
    }
}

#[test]
fn an_unfinished_write_may_be_visible_but_is_never_reverted() {
    let write = operation(1, 0, 10, Action::Write(1));
    let (seen, unseen) = (Action::Read(Some(1)), Action::Read(None));
    assert!(check(&[write, operation(2, 1, 2, unseen), operation(2, 3, 4, seen)]).is_ok());
    assert!(
        check(&[write, operation(2, 1, 2, seen), operation(2, 3, 4, unseen)]).is_err(),
        "a read returned an older value"
    );
    assert!(
        check(&[write, operation(2, 1, 2, seen), operation(3, 3, 4, unseen)]).is_err(),
        "another client's read returned an older value"
    );
    assert!(
        check(&[write, operation(2, 1, 4, seen), operation(3, 3, 5, unseen)]).is_ok(),
        "the two reads overlap"
    );
    assert!(
        check(&[write, operation(2, 11, 12, unseen)]).is_err(),
        "an acknowledged write is lost"
    );
}

#[test]
fn an_unanswered_write_takes_effect_once_or_never() {
    let lost = operation(1, 0, None, Action::Write(1));
    let write = operation(2, 5, 6, Action::Write(2));
    let read = |at, value| operation(3, at, at + 1, Action::Read(value));
    assert!(check(&[lost, write, read(7, Some(2))]).is_ok(), "never");
    assert!(
        check(&[lost, write, read(7, Some(2)), read(9, Some(1))]).is_ok(),
        "late"
    );
    assert!(
        check(&[
            lost,
            write,
            read(7, Some(1)),
            read(9, Some(2)),
            read(11, Some(1))
        ])
        .is_err(),
        "twice"
    );
    assert!(
        check(&[
            write,
            operation(1, 9, None, Action::Write(1)),
            read(7, Some(1))
        ])
        .is_err(),
        "a value was read before its write was sent"
    );
    let exchange = operation(1, 0, None, Action::CompareAndSwap(Some(2), 3));
    assert!(check(&[exchange, write, read(9, Some(3))]).is_ok());
    assert!(
        check(&[exchange, read(9, Some(3))]).is_err(),
        "there was nothing to exchange"
    );
    let more = operation(1, 1, None, Action::CompareAndSwap(Some(3), 4));
    assert!(
        check(&[exchange, more, write, read(9, Some(4))]).is_ok(),
        "the second exchange follows the first"
    );
}

#[test]
fn two_compare_and_swaps_of_one_value_cannot_both_succeed() {
    let both = |second| {
        [
            operation(1, 0, 1, Action::Write(1)),
            operation(1, 2, 9, Action::CompareAndSwap(Some(1), 2)),
            operation(2, 3, 8, second),
        ]
    };
    assert!(check(&both(Action::CompareAndSwap(Some(1), 3))).is_err());
    assert!(check(&both(Action::Refused(Some(1), Some(2)))).is_ok());
}

/// Makes a valid history of a register, with random times. Some operations get no answer.
fn real(random: &mut Rng, clients: usize, count: usize) -> Vec<Operation> {
    let (mut state, mut now, mut history) = (None, 0, Vec::new());
    let mut free = vec![0; clients];
    for number in 1..=count as u64 {
        let client = random.usize(..clients);
        // The operation takes effect at the time `now`. The operation starts at a random time
        // before `now`, and ends at a random time after `now`.
        now += random.u64(1..10);
        let begun = (now - random.u64(1..10).min(now)).max(free[client]);
        let ended = now + random.u64(0..30);
        free[client] = ended + 1;
        let answered = random.u8(..10) > 0;
        let expected = if random.bool() {
            state
        } else {
            Some(random.u64(1..=number))
        };
        let (deed, new) = match random.u8(..3) {
            0 => (Action::Read(state), state),
            1 => (Action::Write(number), Some(number)),
            _ if expected == state => (Action::CompareAndSwap(state, number), Some(number)),
            _ if answered => (Action::Refused(expected, state), state),
            _ => (Action::CompareAndSwap(expected, number), state),
        };
        now = now.max(begun);
        state = new;
        history.push(operation(
            client,
            begun,
            answered.then_some(ended.max(now)),
            deed,
        ));
    }
    history
}

#[test]
fn a_correct_history_is_always_accepted_and_quickly() {
    let mut random = Rng::with_seed(7);
    for clients in [1, 2, 3, 6, 10] {
        for _ in 0..50 {
            check(&real(&mut random, clients, 120)).unwrap();
        }
    }
}

/// Checks a history by trying every order, without any optimization.
fn by_force(history: &[Operation], state: Option<u64>, left: &[usize]) -> bool {
    let answered = || left.iter().filter_map(|at| history[*at].ended);
    let Some(first_end) = answered().min() else {
        return true;
    };
    left.iter()
        .filter(|at| history[**at].begun <= first_end)
        .any(|at| {
            let rest: Vec<usize> = left.iter().copied().filter(|other| other != at).collect();
            apply(history[*at].action, state).is_ok_and(|state| by_force(history, state, &rest))
        })
}

#[test]
fn the_search_agrees_with_brute_force() {
    let mut random = Rng::with_seed(11);
    let mut wrong = 0;
    for _ in 0..3000 {
        let clients = random.usize(1..4);
        let mut history = real(&mut random, clients, 7);
        if random.bool() {
            let at = random.usize(..history.len());
            let other = Some(random.u64(1..8));
            match &mut history[at].action {
                Action::Read(value) | Action::Refused(_, value) => *value = other,
                Action::CompareAndSwap(expected, _) => *expected = other,
                Action::Write(_) => {}
            }
        }
        let all: Vec<usize> = (0..history.len()).collect();
        let expected = by_force(&history, None, &all);
        wrong += usize::from(!expected);
        assert_eq!(check(&history).is_ok(), expected, "{history:#?}");
    }
    assert!(wrong > 300, "only {wrong} of the histories were wrong");
}
