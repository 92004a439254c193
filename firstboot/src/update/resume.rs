//! Decides how an order continues after its unit was interrupted, as a pure function of the state
//! on the disk.

use super::state::Phase;

/// The number of boots without a proof after which the new image has failed.
const BOOTS: u32 = 2;

/// How the updater continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resumption {
    /// Continue with the phase on the disk.
    Continue,
    /// Continue with this phase. With `counts` the boot counts as one in which the image did not
    /// prove itself.
    Enter { phase: Phase, counts: bool },
    /// Restore the previous image, for this reason. With `blame` the release is at fault.
    PutBack { why: String, blame: bool },
    /// Repeat the restoration of the previous image.
    PutBackAgain,
}

/// Decides how the order continues. `boots` is the number of boots that have counted so far.
/// `same_boot` is set if the node is still in the boot in which the phase began. `proved` is set if
/// the new image has proved itself, so that only the turn must still be released.
pub(super) fn resumption(phase: Phase, boots: u32, same_boot: bool, proved: bool) -> Resumption {
    let enter = |phase, counts| Resumption::Enter { phase, counts };
    match phase {
        Phase::Waiting | Phase::Recovering | Phase::Withdrawing => Resumption::Continue,
        Phase::Replacing => Resumption::PutBack {
            why: "the node stopped while it replaced files, for example because of a power cut. Run `firstboot update` again".to_owned(),
            blame: false,
        },
        Phase::TakingBack => Resumption::PutBackAgain,
        Phase::Rebooting | Phase::RebootingBack | Phase::Proving | Phase::Installing
            if same_boot =>
        {
            Resumption::Continue
        }
        // The installation would have erased the order, so this is the old system.
        Phase::Installing => enter(Phase::Withdrawing, false),
        // This is the boot that the update ordered.
        Phase::Rebooting => enter(Phase::Proving, false),
        Phase::RebootingBack => enter(Phase::Recovering, false),
        // The node may no longer have the turn, and other members may have the same image.
        Phase::Proving if proved => enter(Phase::Proving, false),
        Phase::Proving if boots + 1 < BOOTS => enter(Phase::Proving, true),
        Phase::Proving => Resumption::PutBack {
            why: format!("the node booted {BOOTS} times and did not become healthy"),
            blame: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_has_proved_itself_stays_however_often_power_fails() {
        for boots in 0..=BOOTS {
            assert_eq!(
                resumption(Phase::Proving, boots, false, true),
                Resumption::Enter {
                    phase: Phase::Proving,
                    counts: false
                }
            );
        }
    }

    #[test]
    fn an_image_that_does_not_prove_itself_in_two_boots_is_to_blame() {
        assert_eq!(
            resumption(Phase::Proving, 0, false, false),
            Resumption::Enter {
                phase: Phase::Proving,
                counts: true
            }
        );
        let last = resumption(Phase::Proving, 1, false, false);
        assert!(
            matches!(&last, Resumption::PutBack { blame: true, .. }),
            "{last:?}"
        );
        assert_eq!(
            resumption(Phase::Proving, 1, true, false),
            Resumption::Continue,
            "the updater was started again in the same boot"
        );
    }

    #[test]
    fn a_node_that_boots_its_old_system_withdraws_its_request() {
        assert_eq!(
            resumption(Phase::Installing, 0, false, false),
            Resumption::Enter {
                phase: Phase::Withdrawing,
                counts: false
            }
        );
        assert_eq!(
            resumption(Phase::Installing, 0, true, false),
            Resumption::Continue,
            "the updater was started again before the node restarted"
        );
        for same_boot in [true, false] {
            let next = resumption(Phase::Withdrawing, 0, same_boot, false);
            assert_eq!(next, Resumption::Continue);
        }
    }

    #[test]
    fn an_interrupted_replacement_is_undone_and_the_release_is_not_to_blame() {
        for same_boot in [true, false] {
            let next = resumption(Phase::Replacing, 0, same_boot, false);
            assert!(
                matches!(&next, Resumption::PutBack { blame: false, .. }),
                "{next:?}"
            );
        }
    }
}
