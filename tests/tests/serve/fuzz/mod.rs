//! Sends thousands of hostile requests, built from a grammar of the routes, to every route. No
//! request may stop the server, or receive a private file or another machine's certificate.
//!
//! `request` writes the requests, `client` sends them, and `oracle` decides whether the sender may
//! receive the answer. To repeat a run, set `FUZZ_SEED`.

mod asker;
mod bed;
mod client;
mod oracle;
mod request;
mod words;

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::{is_all, trial};
use tests::requirement::NEEDS_SERVER;

use asker::Asker;
use bed::Bed;
use client::exchange;
use oracle::Kind;
use request::Generator;

/// The number of requests in `make test` and in `make test-all`.
const REQUESTS: [usize; 2] = [2_000, 10_000];
/// The limit for the server's peak memory.
const MAX_RESIDENT_KIB: u64 = 128 << 10;

/// The number of answers of each kind. The kind of a successful answer is the kind of its content.
/// The kind of any other answer is its status.
pub(super) type Counts = BTreeMap<String, usize>;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "no_hostile_request_gets_what_its_machine_may_not_have",
        NEEDS_SERVER,
        fuzz,
    )]
}

fn seed() -> Result<u64> {
    match std::env::var("FUZZ_SEED") {
        Ok(text) => text.parse().context("FUZZ_SEED is not a number"),
        Err(_) => Ok(fastrand::u64(..)),
    }
}

fn fuzz() -> Result<()> {
    let seed = seed()?;
    eprintln!("FUZZ_SEED={seed}");
    let bed = Bed::new()?;
    let before = bed.files()?;
    let counts = Mutex::new(Counts::new());
    let each = REQUESTS[usize::from(is_all())].div_ceil(bed.askers.len());
    std::thread::scope(|scope| -> Result<()> {
        let askers = bed.askers.iter().zip(0_u64..);
        let workers: Vec<_> = askers
            .map(|(asker, number)| {
                let (bed, counts) = (&bed, &counts);
                let run = move || -> Result<()> {
                    let mut generator =
                        Generator::new(seed.wrapping_add(number), &bed.oracle.known, asker);
                    for _ in 0..each {
                        one(bed, asker, &mut generator, counts)?;
                    }
                    Ok(())
                };
                scope.spawn(move || asker.namespace.within(run)?)
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))?
                .with_context(|| format!("FUZZ_SEED={seed}"))?;
        }
        Ok(())
    })?;
    let counts = counts.into_inner().context("a worker panicked")?;
    check_coverage(&counts, each * bed.askers.len())?;
    let after = bed.files()?;
    for (path, content) in &after {
        ensure!(before.get(path) == Some(content), "{path} was written");
    }
    ensure!(before.len() == after.len(), "files are missing");
    bed.check_server(MAX_RESIDENT_KIB)?;
    bed.check_pki()?;
    bed.check_normal_requests()
}

/// Sends one request, and checks the answers.
fn one(
    bed: &Bed,
    asker: &Asker,
    generator: &mut Generator<'_>,
    counts: &Mutex<Counts>,
) -> Result<()> {
    let request = generator.next();
    let reply = exchange(asker, &request);
    let shown = || {
        format!(
            "the request of {}:\n{}\nthe answer:\n{}",
            asker.name,
            request.bytes[..request.bytes.len().min(3_000)].escape_ascii(),
            reply.bytes[..reply.bytes.len().min(2_000)].escape_ascii()
        )
    };
    let kinds = bed
        .oracle
        .check(asker, &request, &reply)
        .with_context(shown)?;
    let mut counts = counts.lock().ok().context("a worker panicked")?;
    for kind in kinds {
        if let Kind::Installer(token) = &kind {
            generator.learn(token);
        }
        *counts.entry(kind.name()).or_default() += 1;
    }
    Ok(())
}

/// Checks that the requests reached every part of the server that they are meant to attack.
fn check_coverage(counts: &Counts, requests: usize) -> Result<()> {
    eprintln!("{requests} requests: {counts:?}");
    let wanted = [
        "file", "part", "index", "script", "document", "board", "400", "401", "403", "404", "405",
        "416",
    ];
    for kind in wanted {
        ensure!(
            counts.contains_key(kind),
            "no request got {kind}: {counts:?}"
        );
    }
    let silent = counts.get("silence").copied().unwrap_or_default();
    ensure!(
        silent < requests / 2,
        "{silent} of {requests} requests were not answered"
    );
    Ok(())
}
