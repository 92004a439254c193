//! `builder serve`: a machine that is switched on becomes its node without an operator; and no other machine does.

mod arp;
mod attack;
mod bed;
mod firmware;
mod hand;
mod load;
mod once;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [hand::trials(), once::trials(), arp::trials(), attack::trials(), load::trials(), firmware::trials()]
            .into_iter()
            .flatten()
            .collect()
    })
}
