//! Tests the bootstrap barrier, the return of nodes to the cluster, and updates, on real hosts. No
//! cluster may ever be bootstrapped twice.

mod bed;
mod builder_status;
mod clock;
mod damaged;
mod data_removed;
mod disasters;
mod diverged;
mod duplicate_machine;
mod excluded_member;
mod flood;
mod growth;
mod keep;
mod leave;
mod load;
mod new_address;
mod obstacles;
mod other_responder;
mod rebuild;
mod rejoin;
mod rotation;
mod shrink;
mod update;
mod update_auto;
mod update_disasters;
mod update_failure;
mod update_minor;
mod update_reboot;
mod upgrade;
mod versions;
mod waiting;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        let subjects = [
            waiting::trials(),
            clock::trials(),
            flood::trials(),
            disasters::trials(),
            other_responder::trials(),
            duplicate_machine::trials(),
            excluded_member::trials(),
            rebuild::trials(),
            leave::trials(),
            rejoin::trials(),
            data_removed::trials(),
            diverged::trials(),
            growth::trials(),
            shrink::trials(),
            keep::trials(),
            damaged::trials(),
            obstacles::trials(),
            new_address::trials(),
            rotation::trials(),
            load::trials(),
            versions::trials(),
            upgrade::trials(),
            update::trials(),
            update_auto::trials(),
            update_reboot::trials(),
            update_failure::trials(),
            update_minor::trials(),
            update_disasters::trials(),
        ];
        subjects.into_iter().flatten().collect()
    })
}
