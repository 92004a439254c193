//! What is swept. One more is one more constant.

use std::thread::sleep;
use std::time::Duration;

use super::bed::Bed;
use super::sweep::Scenario;

/// All of them.
pub const ALL: [Scenario; 4] = [TOGETHER, EARLY, LATE, REBUILD];

/// Three machines come up at once and begin a cluster.
pub const TOGETHER: Scenario = Scenario {
    name: "first boot, all at once",
    victim: 0,
    prepare: Bed::forget_all,
    begin: |bed| bed.start(&[0, 1, 2]),
    end: Bed::wait_whole,
};

/// One comes up alone and waits for the others: it is asked before it can ask.
pub const EARLY: Scenario = Scenario {
    name: "first boot, before the others",
    victim: 1,
    prepare: Bed::forget_all,
    begin: |bed| {
        bed.start(&[1])?;
        sleep(Duration::from_secs(1));
        bed.start(&[0, 2])
    },
    end: Bed::wait_whole,
};

/// The others wait for the one that comes last, and begin when it does.
pub const LATE: Scenario = Scenario {
    name: "first boot, after the others",
    victim: 2,
    prepare: |bed| {
        bed.forget_all()?;
        bed.start(&[0, 1])?;
        sleep(Duration::from_secs(1));
        Ok(())
    },
    begin: |bed| bed.start(&[2]),
    end: Bed::wait_whole,
};

/// A member with a new disk returns to its cluster.
pub const REBUILD: Scenario = Scenario {
    name: "rebuild",
    victim: 0,
    prepare: |bed| {
        bed.be_whole(0)?;
        bed.forget(0)
    },
    begin: |bed| bed.start(&[0]),
    end: Bed::wait_whole,
};
