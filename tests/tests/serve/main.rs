//! Tests `builder serve`. When an operator has allowed the installation of a machine and the
//! machine is switched on, it becomes the node that the recipe assigns to it. No other machine can
//! become that node.

mod arp;
mod attack;
mod bed;
mod board;
mod browser;
mod enrolment;
mod firmware;
mod fuzz;
mod install_once;
mod installation;
mod load;
mod loaders;
mod mirror;
mod reinstall;
mod renewal;
mod rotation;
mod short_lifetimes;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            installation::trials(),
            install_once::trials(),
            arp::trials(),
            attack::trials(),
            browser::trials(),
            enrolment::trials(),
            load::trials(),
            loaders::trials(),
            mirror::trials(),
            reinstall::trials(),
            renewal::trials(),
            rotation::trials(),
            short_lifetimes::trials(),
            fuzz::trials(),
            firmware::trials(),
            vm::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
