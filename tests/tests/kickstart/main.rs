//! The kickstart before a pykickstart of its own, a shell and shellcheck; and with whatever a recipe can hold in it.

mod guard;
mod installer;
mod planned;
mod post;
mod property;
mod ready;
mod strings;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [ready::trials(), property::trials(), post::trials(), installer::trials(), guard::trials()]
            .into_iter()
            .flatten()
            .collect()
    })
}
