//! Measures the figures in the README and in docs/guide.md. `make bench` runs all parts.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tests::bench;
use tests::kernel;
use tests::run;

/// A part of the benchmark.
struct Part {
    name: &'static str,
    what: &'static str,
    /// The default number of runs. It is odd, so that the median is the result of one of the runs.
    runs: usize,
    run: fn(usize) -> Result<String>,
}

const PARTS: [Part; 16] = [
    Part {
        name: "build",
        what: "builder build with a warm cache, against tar | gzip -6 of the same tree",
        runs: 11,
        run: bench::build::run,
    },
    Part {
        name: "boot",
        what: "power-on to a healthy cluster, against etcd configured by hand",
        runs: 5,
        run: bench::boot::run,
    },
    Part {
        name: "firstboot",
        what: "the CPU time and memory of firstboot on a node that is set up",
        runs: 11,
        run: bench::firstboot::run,
    },
    Part {
        name: "identity",
        what: "firstboot from its start to the machine's identity, with a NoCloud disk",
        runs: 11,
        run: bench::identity::run,
    },
    Part {
        name: "cloud-init",
        what: "the CPU time of firstboot at the first boot, against cloud-init that writes the same files",
        runs: 5,
        run: bench::cloud_init::run,
    },
    Part {
        name: "rebuild",
        what: "a wiped node from power-on to voter, against etcdctl in a script",
        runs: 5,
        run: bench::rebuild::run,
    },
    Part {
        name: "restore",
        what: "firstboot restore on one member, from stop to serving, against the guide's commands",
        runs: 3,
        run: bench::restore::run,
    },
    Part {
        name: "serve",
        what: "builder serve with 500 machines that fetch the overlay at the same time, against nginx",
        runs: 5,
        run: bench::serve::run,
    },
    Part {
        name: "documents",
        what: "builder serve with 500 recorded machines that ask for their documents at the same time",
        runs: 5,
        run: bench::documents::run,
    },
    Part {
        name: "enrol",
        what: "builder serve with 500 machines that request their first certificates at the same time",
        runs: 5,
        run: bench::enrol::run,
    },
    Part {
        name: "snapshot",
        what: "firstboot snapshot with all its checks, against etcdctl snapshot save",
        runs: 5,
        run: bench::snapshot::run,
    },
    Part {
        name: "update",
        what: "an etcd patch on three nodes with firstboot update, against a script, with `soak-seconds` 0",
        runs: 3,
        run: bench::update::run,
    },
    Part {
        name: "upload",
        what: "firstboot snapshot into an object store, against etcdctl snapshot save and a later upload",
        runs: 3,
        run: bench::upload::run,
    },
    Part {
        name: "verify",
        what: "firstboot snapshot verify, against etcdutl snapshot status",
        runs: 5,
        run: bench::verify::run,
    },
    Part {
        name: "dirty",
        what: "an fsync next to a writer with the guide's dirty ratios, and the disk writes of reads with relatime; in a VM",
        runs: 3,
        run: bench::dirty::run,
    },
    Part {
        name: "wal",
        what: "the effect of the guide's allocsize on a write-ahead log",
        runs: 5,
        run: bench::wal::run,
    },
];

fn main() -> ExitCode {
    if let Some(code) = kernel::launch() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The process that measures one command must have no other children, and must not enter another
    // namespace.
    if let ["cost", words @ ..] = words.as_slice() {
        return print(bench::firstboot::print_cost(words));
    }
    // `dirty-inside` runs in the virtual machine of `bench::dirty`, so it needs no namespaces.
    if let ["dirty-inside", runs] = words.as_slice() {
        return print(
            runs.parse()
                .context("RUNS must be a number")
                .and_then(bench::dirty::inside),
        );
    }
    if let Err(error) = run::enter() {
        eprintln!("bench: {error:#}");
        return ExitCode::FAILURE;
    }
    let printed = print(act(&words));
    run::leave();
    printed
}

fn print(outcome: Result<String>) -> ExitCode {
    match outcome {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str]) -> Result<String> {
    let part = |name: &str| {
        PARTS
            .iter()
            .find(|part| part.name == name)
            .with_context(usage)
    };
    match words {
        [] => {
            for part in &PARTS {
                println!("== {}\n{}", part.name, (part.run)(part.runs)?);
            }
            Ok(String::new())
        }
        [name] => part(name).and_then(|part| (part.run)(part.runs)),
        [name, runs] => {
            part(name).and_then(|part| (part.run)(runs.parse().context("RUNS must be a number")?))
        }
        _ => bail!(usage()),
    }
}

fn usage() -> String {
    let lines = PARTS.iter().map(|part| {
        format!(
            "\nbench {:<18} {}",
            format!("{} [RUNS]", part.name),
            part.what
        )
    });
    format!(
        "no such benchmark. Usage:\nbench{:20}all benchmarks{}",
        "",
        lines.collect::<String>()
    )
}
