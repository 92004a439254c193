//! A restore loses nothing that was there and mixes no snapshots: on real hosts, with snapshots by etcdctl.

#[path = "../bootstrap/bed.rs"]
#[expect(dead_code, reason = "shared with the tests of the bootstrap, and not all of it is needed here")]
mod bed;
mod called_off;
mod power;
mod round;
mod solo;
mod told;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        [round::trials(), called_off::trials(), power::trials(), solo::trials()].into_iter().flatten().collect()
    })
}
