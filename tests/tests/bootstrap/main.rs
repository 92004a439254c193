//! A cluster begins once, whatever happens meanwhile: the bootstrap barrier, and the way back, on real
//! hosts.

mod apart;
mod bed;
mod clock;
mod damaged;
mod disasters;
mod emptied;
mod flood;
mod growing;
mod hindered;
mod leave;
mod load;
mod moved;
mod rebuild;
mod rejoin;
mod rotation;
mod stranger;
mod twin;
mod update;
mod upgrade;
mod versions;
mod waiting;
mod without;

use std::process::ExitCode;

use tests::harness;

fn main() -> ExitCode {
    harness::main(|| {
        let subjects = [
            waiting::trials(),
            clock::trials(),
            flood::trials(),
            disasters::trials(),
            stranger::trials(),
            twin::trials(),
            without::trials(),
            rebuild::trials(),
            leave::trials(),
            rejoin::trials(),
            emptied::trials(),
            apart::trials(),
            growing::trials(),
            damaged::trials(),
            hindered::trials(),
            moved::trials(),
            rotation::trials(),
            load::trials(),
            versions::trials(),
            upgrade::trials(),
            update::trials(),
        ];
        subjects.into_iter().flatten().collect()
    })
}
