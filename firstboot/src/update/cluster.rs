//! What the members agree on in etcd: who may update itself, whether nobody may, and which releases failed.
//!
//! The turn is a key without a lease. A member that updates itself may be away for long, and no other may begin meanwhile.

use anyhow::{Context as _, Result};
use recipes::Label;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::etcd::Client;
use crate::reason::{Reason, ReasonId};

const TURN: &str = "/etcd-image/update/turn";
const HALT: &str = "/etcd-image/update/halt";
const NEWEST: &str = "/etcd-image/update/newest";
const PROOF: &str = "/etcd-image/update/proof";

/// Where it stands that a release failed.
fn failed_key(serial: u64) -> String {
    format!("/etcd-image/update/failed/{serial}")
}

/// The member that may update itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) node: Label,
    pub(super) serial: u64,
    /// In seconds since 1970.
    pub(super) since: u64,
}

/// The operator's order that no member begins an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Halt {
    pub(super) why: String,
    pub(super) node: String,
    pub(super) since: u64,
}

/// Why a release is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) node: Label,
    pub(super) why: String,
    pub(super) at: u64,
}

/// The newest release that a member began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    serial: u64,
}

/// A key: its value, and the revision of its last change. 0: it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key<T> {
    pub(super) value: Option<T>,
    revision: i64,
}

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self { value: None, revision: 0 }
    }
}

impl<T: DeserializeOwned> Key<T> {
    async fn read(client: &Client, key: &str) -> Result<Self> {
        let Some(found) = client.get(key).await? else { return Ok(Self::default()) };
        let value = serde_json::from_slice(&found.value);
        let value = value.with_context(|| {
            format!("the key {key} in etcd is not firstboot's. Who wrote it? `etcdctl del {key}` removes it")
        })?;
        Ok(Self { value: Some(value), revision: found.mod_revision })
    }
}

/// All that decides about a turn.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) turn: Key<Turn>,
    pub(super) halt: Key<Halt>,
    pub(super) failed: Key<Failed>,
    newest: Key<Newest>,
}

/// Whether a member may update itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nobody has the turn.
    Take,
    /// The member has it already, as after a power cut.
    Mine,
    /// Not yet.
    Wait(Reason),
    /// Never to this release.
    Refuse(Reason),
}

impl Agreed {
    /// As a quorum knows it.
    pub(super) async fn read(client: &Client, serial: u64) -> Result<Self> {
        Ok(Self {
            turn: Key::read(client, TURN).await?,
            halt: Key::read(client, HALT).await?,
            failed: Key::read(client, &failed_key(serial)).await?,
            newest: Key::read(client, NEWEST).await?,
        })
    }

    /// The rule for an update to this serial; `back`: for the way back from it, which a failure or a newer release does not hinder.
    pub(super) fn decide(&self, node: &Label, serial: u64, back: bool) -> Decision {
        let mine = self.turn.value.as_ref().is_some_and(|turn| turn.node == *node);
        if let (Some(failed), false) = (&self.failed.value, back) {
            return Decision::Refuse(ReasonId::UpdateFailedBefore.because(format!(
                "the image {serial} failed on {}: {}. Correct the cause and build a new image. If the image was not the cause, run \
                 `firstboot update --retry`",
                failed.node, failed.why
            )));
        }
        if let (Some(newest), false) = (self.newest.value.filter(|newest| newest.serial > serial), back) {
            return Decision::Refuse(ReasonId::UpdateOlder.because(format!(
                "the cluster has seen the image {}, and this one is {serial}: an older image is never installed",
                newest.serial
            )));
        }
        if let Some(halt) = &self.halt.value {
            return Decision::Wait(ReasonId::UpdateHalted.because(format!(
                "{} halted all updates: {}. `firstboot update --resume` ends the halt",
                halt.node, halt.why
            )));
        }
        match &self.turn.value {
            None => Decision::Take,
            Some(_) if mine => Decision::Mine,
            Some(turn) => Decision::Wait(ReasonId::UpdateTurn.because(format!(
                "{} has the turn, with the image {}, since {}",
                turn.node,
                turn.serial,
                date(turn.since)
            ))),
        }
    }

    /// Takes the turn; `false` if something has changed since this was read.
    pub(super) async fn take(&self, client: &Client, turn: &Turn) -> Result<bool> {
        let failed = failed_key(turn.serial);
        let seen = [
            (TURN, self.turn.revision),
            (HALT, self.halt.revision),
            (failed.as_str(), self.failed.revision),
            (NEWEST, self.newest.revision),
        ];
        let newest = Newest { serial: turn.serial.max(self.newest.value.map_or(0, |newest| newest.serial)) };
        let changes = [(TURN, Some(serde_json::to_vec(turn)?)), (NEWEST, Some(serde_json::to_vec(&newest)?))];
        client.transact(&seen, &changes).await
    }

    /// Gives the turn on, if this node `has` it; where the release failed, no member tries it again. `false` if the turn has changed
    /// since this was read.
    pub(super) async fn give_on(
        &self,
        client: &Client,
        serial: u64,
        failed: Option<&Failed>,
        has: bool,
    ) -> Result<bool> {
        let key = failed_key(serial);
        let mut changes = if has { vec![(TURN, None)] } else { Vec::new() };
        if let Some(failed) = failed {
            changes.push((key.as_str(), Some(serde_json::to_vec(failed)?)));
        }
        client.transact(&[(TURN, self.turn.revision)], &changes).await
    }
}

/// Says that no member may begin an update.
pub(super) async fn halt(client: &Client, halt: &Halt) -> Result<()> {
    client.transact(&[], &[(HALT, Some(serde_json::to_vec(halt)?))]).await.map(drop)
}

/// Takes that back.
pub(super) async fn resume(client: &Client) -> Result<()> {
    client.transact(&[], &[(HALT, None)]).await.map(drop)
}

/// Lets members try a release again.
pub(super) async fn forgive(client: &Client, serial: u64) -> Result<()> {
    client.transact(&[], &[(failed_key(serial).as_str(), None)]).await.map(drop)
}

/// Writes through this member. When this returns a quorum has acknowledged it.
pub(super) async fn prove(client: &Client, node: &Label, serial: u64) -> Result<()> {
    client.transact(&[], &[(PROOF, Some(format!("{node} {serial}").into_bytes()))]).await.map(drop)
}

/// A time for people.
pub(super) fn date(seconds: u64) -> String {
    crate::snapshot::manifest::stamp(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    fn key<T>(value: T) -> Key<T> {
        Key { value: Some(value), revision: 1 }
    }

    fn turn(node: &str) -> Key<Turn> {
        key(Turn { node: label(node), serial: 7, since: 0 })
    }

    fn halt() -> Key<Halt> {
        key(Halt { why: "release freeze".into(), node: "etcd-3".into(), since: 0 })
    }

    fn failed() -> Key<Failed> {
        key(Failed { node: label("etcd-2"), why: "etcd died".into(), at: 0 })
    }

    fn decide(agreed: &Agreed) -> Decision {
        agreed.decide(&label("etcd-1"), 7, false)
    }

    #[test]
    fn one_member_at_a_time_has_the_turn() {
        assert_eq!(decide(&Agreed::default()), Decision::Take);
        assert_eq!(decide(&Agreed { turn: turn("etcd-1"), ..Agreed::default() }), Decision::Mine);
        let other = decide(&Agreed { turn: turn("etcd-2"), ..Agreed::default() });
        assert!(
            matches!(&other, Decision::Wait(why) if why.text.contains("etcd-2 has the turn, with the image 7")),
            "{other:?}"
        );
    }

    #[test]
    fn a_halt_holds_back_also_a_member_that_has_the_turn() {
        for turn in [Key::default(), turn("etcd-1"), turn("etcd-2")] {
            let agreed = Agreed { turn, halt: halt(), ..Agreed::default() };
            let said = decide(&agreed);
            assert!(matches!(&said, Decision::Wait(why) if why.text.contains("release freeze")), "{said:?}");
        }
    }

    #[test]
    fn a_release_that_failed_or_is_older_is_refused_and_the_way_back_is_not() {
        for agreed in [
            Agreed { failed: failed(), ..Agreed::default() },
            Agreed { newest: key(Newest { serial: 8 }), ..Agreed::default() },
        ] {
            assert!(matches!(decide(&agreed), Decision::Refuse(_)), "{agreed:?}");
            assert_eq!(agreed.decide(&label("etcd-1"), 7, true), Decision::Take);
        }
        assert_eq!(decide(&Agreed { newest: key(Newest { serial: 7 }), ..Agreed::default() }), Decision::Take);
    }
}
