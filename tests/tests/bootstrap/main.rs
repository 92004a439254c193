//! A cluster begins once, whatever happens meanwhile: the bootstrap barrier, and the way back, on real
//! hosts.

mod bed;
mod disasters;
mod load;
mod rebuild;
mod versions;
mod waiting;
mod without;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        let all = [
            waiting::trials(),
            disasters::trials(),
            without::trials(),
            rebuild::trials(),
            load::trials(),
            versions::trials(),
        ];
        all.into_iter().flatten().collect()
    })
}
