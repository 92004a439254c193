//! What follows from histories.

use super::super::disk_id_file::Volume;
use super::super::disk_state::{Standing, standing};
use super::*;
use crate::data::{Contents, Verdict};

fn past(events: Vec<Event>) -> Past {
    Past::from(&events.into_iter().map(|event| Entry { at: 0, event }).collect::<Vec<_>>())
}

/// A member of the cluster 1 that was told to restore, and did: it is one of the cluster 2 now.
pub(crate) fn restored() -> Vec<Event> {
    let members = vec![("a".to_owned(), "https://a:2380".to_owned())];
    let snapshot = recipes::Sha256::of(b"s");
    let told = Told {
        nonce: Nonce::of(2),
        task: Task::Restore { snapshot, seen: Some(5) },
        without: BTreeSet::new(),
        source: None,
        until: 0,
    };
    let exchange = Exchange {
        from: "/new".into(),
        aside: Some("/aside/1".into()),
        token: "r".to_owned(),
        members: members.clone(),
        cluster: 2,
        member: Some(20),
        revision: 9,
        data: None,
    };
    let lives = Lives::from([("a".parse().unwrap(), Nonce::of(2))]);
    vec![
        Event::Life { nonce: Nonce::of(1) },
        Event::Bootstrap { token: "t".to_owned(), members },
        Event::Uses { etcd: "3.5.1".parse().unwrap() },
        Event::Healthy { cluster: 1, member: 10 },
        Event::Ready { lives: lives.clone(), task: Task::New },
        Event::Told(Box::new(told.clone())),
        Event::Ready { lives, task: told.task },
        Event::Exchange(Box::new(exchange)),
        Event::Exchanged,
    ]
}

#[test]
fn a_restored_node_is_a_member_of_the_new_cluster_and_can_return() {
    let past = past(restored());
    assert!(past.told.is_none() && past.exchange.is_none() && !past.healthy);
    assert_eq!((past.cluster, past.member, past.revision), (Some(2), Some(20), 9));
    let aside = past.set_aside.clone().unwrap();
    assert_eq!((aside.path, aside.cluster, aside.member), ("/aside/1".into(), 1, Some(10)));
    assert_eq!((aside.begun.state, aside.begun.token.as_str()), ("new", "t"));
    assert_eq!((past.etcd, aside.etcd.map(|etcd| etcd.patch)), (None, Some(1)));
    // Its data lost, it must not begin as an empty member whose log the others take for theirs.
    for (contents, verdict) in [(Contents::Empty, Verdict::Fresh), (Contents::NoLog, Verdict::CutShort)] {
        let standing = standing(&past, contents, verdict, Volume::Known);
        assert_eq!(standing, Standing::Empty { life: None, aside: contents == Contents::NoLog });
    }
}

#[test]
fn until_it_is_exchanged_it_is_what_it_was() {
    let events = restored();
    for (cut, told, ready, exchange) in [(6, true, 0, false), (7, true, 1, false), (8, true, 1, true)] {
        let mut events = events[..cut].to_vec();
        let now = past(events.clone());
        assert_eq!((now.told.is_some(), now.told_ready.len(), now.exchange.is_some()), (told, ready, exchange));
        assert_eq!((now.cluster, now.member, now.healthy), (Some(1), Some(10), true));
        events.push(Event::GivenUp);
        let after = past(events);
        assert!(after.told.is_none() && after.exchange.is_none());
        assert_eq!(after.begun, now.begun);
    }
}

#[test]
fn the_operators_word_holds_until_it_is_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path().join("journal")).unwrap();
    let mut after = |event| {
        journal.add(event).unwrap();
        Past::of(&journal)
    };
    after(Event::Life { nonce: Nonce::of(1) });
    after(Event::Join { token: "t".into(), members: vec![] });
    after(Event::Healthy { cluster: 1, member: 2 });
    assert_eq!(after(Event::Leave { member: 2 }).word, Word::Leave(2));
    assert_eq!(after(Event::Stay { member: 2 }).word, Word::None);
    after(Event::Leave { member: 2 });
    assert_eq!(after(Event::Left { member: 2 }).word, Word::Left(2));
    let again = after(Event::Rejoin { member: 2 });
    assert_eq!((again.word, again.nonce, again.begun), (Word::Rejoin, Some(Nonce::of(1)), None));
    let new = after(Event::Life { nonce: Nonce::of(3) });
    assert_eq!((new.word, new.member), (Word::None, None));
}
