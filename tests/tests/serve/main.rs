//! `builder serve`: a machine that is switched on becomes its node without an operator; and no other machine does.

mod arp;
mod attack;
mod bed;
mod hand;
mod load;
mod once;
mod pxe;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [hand::trials(), once::trials(), arp::trials(), attack::trials(), load::trials(), pxe::trials()]
            .into_iter()
            .flatten()
            .collect()
    })
}
