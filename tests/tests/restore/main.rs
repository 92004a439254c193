//! A restore loses nothing that was there and mixes no snapshots: on real hosts, with snapshots by etcdctl.

mod ahead;
#[path = "../bootstrap/bed.rs"]
#[expect(dead_code, reason = "shared with the tests of the bootstrap, and not all of it is needed here")]
mod bed;
mod called_off;
mod large;
mod power;
mod round;
mod solo;
mod told;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        let all =
            [round::trials(), called_off::trials(), power::trials(), solo::trials(), ahead::trials(), large::trials()];
        all.into_iter().flatten().collect()
    })
}
