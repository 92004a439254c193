//! The scenarios that the sweep runs. Each scenario is a constant.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::bed::Bed;
use super::leaving::LEAVE;
use super::minor::{DOWNGRADE, DOWNGRADE_BACK};
use super::sweep::Scenario;
use super::traced::Traced;
use super::updating::{ORDER, ROLLBACK, UPDATE};

/// The scenarios of a test bed with [`UpdateKind::Minor`](super::UpdateKind::Minor).
pub const MINOR: [Scenario; 2] = [DOWNGRADE, DOWNGRADE_BACK];

/// All scenarios of a test bed with [`UpdateKind::Files`](super::UpdateKind::Files).
pub const ALL: [Scenario; 11] = [
    TOGETHER,
    EARLY,
    LATE,
    REBUILD,
    EMPTIED,
    EMPTIED_ALONE,
    LEAVE,
    ROTATE,
    ORDER,
    UPDATE,
    ROLLBACK,
];

/// Three machines boot at the same time and bootstrap a cluster.
pub const TOGETHER: Scenario = Scenario {
    name: "first boot, all at once",
    victim: 0,
    traced: Traced::Firstboot,
    setup: Bed::forget_all,
    begin: |bed| bed.start(&[0, 1, 2]),
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};

/// One machine boots alone and waits for the other machines. No other machine answers the requests
/// of this machine until the other machines boot.
pub const EARLY: Scenario = Scenario {
    name: "first boot, before the others",
    victim: 1,
    traced: Traced::Firstboot,
    setup: Bed::forget_all,
    begin: |bed| {
        bed.start(&[1])?;
        sleep(Duration::from_secs(1));
        bed.start(&[0, 2])
    },
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};

/// Two machines wait for the machine that boots last, and then bootstrap the cluster with that
/// machine.
pub const LATE: Scenario = Scenario {
    name: "first boot, after the others",
    victim: 2,
    traced: Traced::Firstboot,
    setup: |bed| {
        bed.forget_all()?;
        bed.start(&[0, 1])?;
        sleep(Duration::from_secs(1));
        Ok(())
    },
    begin: |bed| bed.start(&[2]),
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};

/// A member with a new disk returns to its cluster.
pub const REBUILD: Scenario = Scenario {
    name: "rebuild",
    victim: 0,
    traced: Traced::Firstboot,
    setup: |bed| {
        // Make another member the leader, because an election after the loss of the leader takes
        // seconds.
        bed.make_healthy(1)?;
        bed.forget(0)
    },
    begin: |bed| bed.start(&[0]),
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};

/// A member's data is removed while the rest of its system stays unchanged. The guard of
/// etcd.service starts firstboot.
pub const EMPTIED: Scenario = Scenario {
    name: "emptied",
    victim: 0,
    traced: Traced::Firstboot,
    setup: |bed| bed.make_healthy(1),
    begin: |bed| bed.call_firstboot(0),
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};

/// A member's data is removed while another member is down. The remaining member and the member
/// that lost its data must never form a quorum.
pub const EMPTIED_ALONE: Scenario = Scenario {
    name: "emptied, with another member down",
    victim: 0,
    traced: Traced::Firstboot,
    setup: |bed| {
        bed.make_healthy(1)?;
        bed.hosts[2]
            .check(&["systemctl", "stop", "firstboot.service", "etcd.service"])
            .map(drop)
    },
    begin: |bed| {
        bed.call_firstboot(0)?;
        no_write(bed)?;
        bed.start(&[2])
    },
    between: no_write,
    end: Bed::wait_healthy,
};

/// Checks that the first two members acknowledge no write while the third member is down. One of
/// the first two members has lost its data, so they must not form a quorum.
fn no_write(bed: &Bed) -> Result<()> {
    let client = bed.client()?;
    let down = |at: usize| {
        bed.hosts[at]
            .run(&["systemctl", "is-active", "--quiet", "etcd.service"])
            .map(|ran| !ran.success())
    };
    if down(2)? {
        for at in [0, 1] {
            let written = client.put(bed.hosts[at].address(), "crash", "lost");
            ensure!(
                written.is_err() || !down(2)?,
                "a write was acknowledged without the lost data"
            );
        }
    }
    Ok(())
}

/// The CA is replaced by a different one in one step, without an intermediate document that
/// contains both. All members get the new document at the same time.
pub const ROTATE: Scenario = Scenario {
    name: "rotation",
    victim: 0,
    traced: Traced::Firstboot,
    setup: |bed| {
        bed.forget_all()?;
        bed.start(&[0, 1, 2])?;
        bed.wait_healthy()
    },
    begin: |bed| {
        bed.send_rotated_documents()?;
        for at in [0, 1, 2] {
            bed.stop(at, Traced::Firstboot)?;
        }
        bed.start(&[0, 1, 2])
    },
    between: |_| Ok(()),
    end: Bed::wait_healthy,
};
