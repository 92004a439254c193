//! `builder serve`: a machine that is switched on becomes its node without an operator, and no
//! other machine can become that node.

mod arp;
mod attack;
mod bed;
mod firmware;
mod handout;
mod install_once;
mod load;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            handout::trials(),
            install_once::trials(),
            arp::trials(),
            attack::trials(),
            load::trials(),
            firmware::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
