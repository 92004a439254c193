//! Decides how an order continues after firstboot-update.service was interrupted. The decision is a
//! pure function of the state on the disk.

use super::state::UpdatePhase;

/// A new image has failed if it has not passed its health check after this number of boots.
const BOOTS: u32 = 2;

/// The way in which the updater continues after an interruption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resumption {
    /// Continue with the phase that is stored on the disk.
    Continue,
    /// Continue with this phase. If `counts` is set, this boot counts as a boot in which the image
    /// did not pass its health check.
    Enter { phase: UpdatePhase, counts: bool },
    /// Restore the previous image, for this reason. If `failed` is set, the release is at fault.
    Revert { why: String, failed: bool },
    /// Repeat the restoration of the previous image.
    RevertAgain,
}

/// Decides how the order continues. `boots` is the number of boots that have counted so far.
/// `same_boot` is set if the node is still in the boot in which the phase began. `passed` is set if
/// the new image has passed its health check, so that only the release of the turn remains.
pub(super) fn resumption(
    phase: UpdatePhase,
    boots: u32,
    same_boot: bool,
    passed: bool,
) -> Resumption {
    let enter = |phase, counts| Resumption::Enter { phase, counts };
    match phase {
        UpdatePhase::Waiting | UpdatePhase::Recovering | UpdatePhase::Withdrawing => Resumption::Continue,
        UpdatePhase::Replacing => Resumption::Revert {
            why: "the node stopped while it replaced files, for example because of a power cut. Run `firstboot update` again".to_owned(),
            failed: false,
        },
        UpdatePhase::Reverting => Resumption::RevertAgain,
        UpdatePhase::Rebooting | UpdatePhase::RebootingReverted | UpdatePhase::CheckingHealth | UpdatePhase::Installing
            if same_boot =>
        {
            Resumption::Continue
        }
        // An installation erases the order, so a node that still has the order has booted its old
        // system.
        UpdatePhase::Installing => enter(UpdatePhase::Withdrawing, false),
        // The update ordered this boot, so the boot does not count.
        UpdatePhase::Rebooting => enter(UpdatePhase::CheckingHealth, false),
        UpdatePhase::RebootingReverted => enter(UpdatePhase::Recovering, false),
        // Do not revert an image that has passed its health check: the node may no longer have the
        // turn, and other members may already run this image.
        UpdatePhase::CheckingHealth if passed => enter(UpdatePhase::CheckingHealth, false),
        UpdatePhase::CheckingHealth if boots + 1 < BOOTS => enter(UpdatePhase::CheckingHealth, true),
        UpdatePhase::CheckingHealth => Resumption::Revert {
            why: format!("the node booted {BOOTS} times and did not become healthy"),
            failed: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_has_passed_its_health_check_stays_after_any_number_of_power_cuts() {
        for boots in 0..=BOOTS {
            assert_eq!(
                resumption(UpdatePhase::CheckingHealth, boots, false, true),
                Resumption::Enter {
                    phase: UpdatePhase::CheckingHealth,
                    counts: false
                }
            );
        }
    }

    #[test]
    fn an_image_that_fails_its_health_check_in_two_boots_is_to_blame() {
        assert_eq!(
            resumption(UpdatePhase::CheckingHealth, 0, false, false),
            Resumption::Enter {
                phase: UpdatePhase::CheckingHealth,
                counts: true
            }
        );
        let last = resumption(UpdatePhase::CheckingHealth, 1, false, false);
        assert!(
            matches!(&last, Resumption::Revert { failed: true, .. }),
            "{last:?}"
        );
        assert_eq!(
            resumption(UpdatePhase::CheckingHealth, 1, true, false),
            Resumption::Continue,
            "the updater was started again in the same boot"
        );
    }

    #[test]
    fn a_node_that_boots_its_old_system_withdraws_its_request() {
        assert_eq!(
            resumption(UpdatePhase::Installing, 0, false, false),
            Resumption::Enter {
                phase: UpdatePhase::Withdrawing,
                counts: false
            }
        );
        assert_eq!(
            resumption(UpdatePhase::Installing, 0, true, false),
            Resumption::Continue,
            "the updater was started again before the node restarted"
        );
        for same_boot in [true, false] {
            let next = resumption(UpdatePhase::Withdrawing, 0, same_boot, false);
            assert_eq!(next, Resumption::Continue);
        }
    }

    #[test]
    fn an_interrupted_replacement_is_undone_and_the_release_is_not_to_blame() {
        for same_boot in [true, false] {
            let next = resumption(UpdatePhase::Replacing, 0, same_boot, false);
            assert!(
                matches!(&next, Resumption::Revert { failed: false, .. }),
                "{next:?}"
            );
        }
    }
}
