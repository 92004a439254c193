//! Reads and changes the state of updates that the members share in etcd, such as the turn, an
//! operator's halt of updates, and the releases that failed. `members::keys` defines most of the
//! keys.

use anyhow::Result;
use members::keys::{
    FailedRelease, HALT, KeyState, NEWEST_RELEASE, NewestRelease, RESTART, TURN, UPDATE_SNAPSHOT,
    UpdateHalt, UpdateTurn, WRITE_CHECK, failed_key,
};
use recipes::Label;

use crate::etcd::Client;
use crate::reason::{Reason, ReasonId};

/// All keys that determine which member may take the turn.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct UpdateKeys {
    pub(super) turn: KeyState<UpdateTurn>,
    pub(super) halt: KeyState<UpdateHalt>,
    pub(super) failed: KeyState<FailedRelease>,
    pub(super) newest: KeyState<NewestRelease>,
    /// The member that is restarting its etcd to trust a different CA.
    pub(super) restart: Option<String>,
}

/// The decision on whether a member may update itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TurnDecision {
    /// The member may update itself, because the turn is free.
    Take,
    /// The member already has the turn, for example after a power cut.
    Held,
    /// The member must wait.
    Wait(Reason),
    /// The member must not install this release.
    Refuse(Reason),
}

impl UpdateKeys {
    /// Returns the keys, in the order in which [`UpdateKeys::parse`] expects their values.
    pub(super) fn keys(serial: u64) -> [String; 5] {
        [
            TURN.to_owned(),
            HALT.to_owned(),
            failed_key(serial),
            NEWEST_RELEASE.to_owned(),
            RESTART.to_owned(),
        ]
    }

    /// Reads the keys with linearizable reads.
    pub(super) async fn read(client: &Client, serial: u64) -> Result<Self> {
        let keys = Self::keys(serial);
        let [one, two, three, four, five] = keys.each_ref().map(|key| client.get(key));
        let found = tokio::try_join!(one, two, three, four, five)?;
        let found =
            <[_; 5]>::from(found).map(|found| found.map(|found| (found.value, found.mod_revision)));
        Self::parse(&keys, &found)
    }

    /// Parses the values of the keys, each with the revision of its last change.
    pub(super) fn parse(keys: &[String; 5], found: &[Option<(Vec<u8>, i64)>; 5]) -> Result<Self> {
        let of = |at: usize| {
            found[at]
                .as_ref()
                .map(|(value, revision)| (&**value, *revision))
        };
        Ok(Self {
            turn: KeyState::parse(&keys[0], of(0))?,
            halt: KeyState::parse(&keys[1], of(1))?,
            failed: KeyState::parse(&keys[2], of(2))?,
            newest: KeyState::parse(&keys[3], of(3))?,
            restart: of(4).map(|(value, _)| String::from_utf8_lossy(value).into_owned()),
        })
    }

    /// Finds the newest release that any member has started to install, and reads the keys for this
    /// release.
    pub(super) async fn latest(client: &Client) -> Result<Self> {
        let newest: KeyState<NewestRelease> = KeyState::read(client, NEWEST_RELEASE).await?;
        Self::read(client, newest.value.map_or(0, |newest| newest.serial)).await
    }

    /// Returns the decision on an update to the image with this serial. If `back` is set, the
    /// decision is about a rollback from that image. A failed or newer release does not prevent a
    /// rollback.
    pub(super) fn decide(&self, node: &Label, serial: u64, back: bool) -> TurnDecision {
        if let (Some(failed), false) = (&self.failed.value, back) {
            return TurnDecision::Refuse(failed.reason(serial));
        }
        if let (Some(newest), false) = (
            self.newest.value.filter(|newest| newest.serial > serial),
            back,
        ) {
            return TurnDecision::Refuse(ReasonId::UpdateOlder.because(format!(
                "a member has already started to install image {}, which is newer than \
                 image {serial}: an older image is never installed",
                newest.serial
            )));
        }
        if let Some(halt) = &self.halt.value {
            return TurnDecision::Wait(halt.reason());
        }
        if let Some(member) = &self.restart {
            return TurnDecision::Wait(ReasonId::UpdateTurn.because(format!(
                "{member} is restarting its etcd to trust a different CA"
            )));
        }
        self.decide_turn(node)
    }

    /// Returns the decision on whether a member may have the turn, regardless of any image.
    pub(super) fn decide_turn(&self, node: &Label) -> TurnDecision {
        match &self.turn.value {
            None => TurnDecision::Take,
            Some(turn) if turn.node == *node => TurnDecision::Held,
            Some(turn) => TurnDecision::Wait(turn.reason()),
        }
    }
}

pub(super) async fn halt(client: &Client, halt: &UpdateHalt) -> Result<()> {
    client
        .transact(&[], &[(HALT, Some(serde_json::to_vec(halt)?))])
        .await
        .map(drop)
}

pub(super) async fn resume(client: &Client) -> Result<()> {
    client.transact(&[], &[(HALT, None)]).await.map(drop)
}

pub(super) async fn clear_failed(client: &Client, serial: u64) -> Result<()> {
    client
        .transact(&[], &[(failed_key(serial).as_str(), None)])
        .await
        .map(drop)
}

/// Returns the time of the last snapshot that a member took for an update, in seconds since 1970.
pub(super) async fn snapshot_time(client: &Client) -> Result<Option<u64>> {
    Ok(KeyState::read(client, UPDATE_SNAPSHOT).await?.value)
}

/// Records the time of a snapshot, so that a member that starts its update within the next hour
/// does not take another snapshot.
pub(super) async fn record_snapshot(client: &Client, time: u64) -> Result<()> {
    client
        .transact(&[], &[(UPDATE_SNAPSHOT, Some(serde_json::to_vec(&time)?))])
        .await
        .map(drop)
}

/// Writes a key through this member. When this function returns `Ok`, a quorum has acknowledged the
/// write.
pub(super) async fn write_through(client: &Client, node: &Label, serial: u64) -> Result<()> {
    client
        .transact(
            &[],
            &[(WRITE_CHECK, Some(format!("{node} {serial}").into_bytes()))],
        )
        .await
        .map(drop)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn key<T>(value: T) -> KeyState<T> {
        KeyState {
            value: Some(value),
            revision: 1,
        }
    }

    pub(in super::super) fn turn(node: &str) -> KeyState<UpdateTurn> {
        key(UpdateTurn {
            node: label(node),
            serial: 7,
            since: 0,
        })
    }

    pub(in super::super) fn halt() -> KeyState<UpdateHalt> {
        key(UpdateHalt {
            why: "release freeze".into(),
            node: "etcd-3".into(),
            since: 0,
        })
    }

    pub(in super::super) fn failed() -> KeyState<FailedRelease> {
        key(FailedRelease {
            node: label("etcd-2"),
            why: "etcd died".into(),
            at: 0,
        })
    }

    /// Returns the keys after a member has started to install this release.
    pub(in super::super) fn of_newest(serial: u64) -> UpdateKeys {
        UpdateKeys {
            newest: key(NewestRelease { serial }),
            ..UpdateKeys::default()
        }
    }

    fn decide(update_keys: &UpdateKeys) -> TurnDecision {
        update_keys.decide(&label("etcd-1"), 7, false)
    }

    #[test]
    fn one_member_at_a_time_has_the_turn() {
        assert_eq!(decide(&UpdateKeys::default()), TurnDecision::Take);
        assert_eq!(
            decide(&UpdateKeys {
                turn: turn("etcd-1"),
                ..UpdateKeys::default()
            }),
            TurnDecision::Held
        );
        let other = decide(&UpdateKeys {
            turn: turn("etcd-2"),
            ..UpdateKeys::default()
        });
        assert!(
            matches!(&other, TurnDecision::Wait(why) if why.text.contains("etcd-2 has held the turn, for image 7")),
            "{other:?}"
        );
    }

    #[test]
    fn a_halt_also_stops_a_member_that_has_the_turn() {
        for turn in [KeyState::default(), turn("etcd-1"), turn("etcd-2")] {
            let update_keys = UpdateKeys {
                turn,
                halt: halt(),
                ..UpdateKeys::default()
            };
            let said = decide(&update_keys);
            assert!(
                matches!(&said, TurnDecision::Wait(why) if why.text.contains("release freeze")),
                "{said:?}"
            );
        }
    }

    #[test]
    fn the_update_waits_for_a_member_that_restarts_for_its_ca() {
        for turn in [KeyState::default(), turn("etcd-1")] {
            let said = decide(&UpdateKeys {
                turn,
                restart: Some("etcd-3".into()),
                ..UpdateKeys::default()
            });
            assert!(
                matches!(&said, TurnDecision::Wait(why) if why.text.starts_with("etcd-3 is restarting")),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_failed_or_older_release_is_refused_and_a_rollback_is_not() {
        for update_keys in [
            UpdateKeys {
                failed: failed(),
                ..UpdateKeys::default()
            },
            UpdateKeys {
                newest: key(NewestRelease { serial: 8 }),
                ..UpdateKeys::default()
            },
        ] {
            assert!(
                matches!(decide(&update_keys), TurnDecision::Refuse(_)),
                "{update_keys:?}"
            );
            assert_eq!(
                update_keys.decide(&label("etcd-1"), 7, true),
                TurnDecision::Take
            );
        }
        assert_eq!(
            decide(&UpdateKeys {
                newest: key(NewestRelease { serial: 7 }),
                ..UpdateKeys::default()
            }),
            TurnDecision::Take
        );
    }
}
