//! The kickstart before a pykickstart of its own, a shell and shellcheck; and with whatever a
//! recipe can hold in it.

mod guard;
mod installer;
mod planned;
mod post;
mod property;
mod shipped_recipes;
mod strings;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            shipped_recipes::trials(),
            property::trials(),
            post::trials(),
            installer::trials(),
            guard::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
