//! Tests on real hosts that a restore loses no existing data and never mixes two snapshots. etcdctl
//! takes the snapshots.

mod all_lost;
#[path = "../bootstrap/bed.rs"]
#[expect(
    dead_code,
    reason = "the bootstrap tests also use this module; the restore tests need only a part"
)]
mod bed;
mod binding;
mod cancelled;
mod large;
mod orders;
mod power;
mod prebuild;
mod round_trip;
mod without_quorum;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        let all = [
            all_lost::trials(),
            round_trip::trials(),
            cancelled::trials(),
            binding::trials(),
            power::trials(),
            without_quorum::trials(),
            prebuild::trials(),
            large::trials(),
        ];
        all.into_iter().flatten().collect()
    })
}
