//! Tests rebuilds under load. In each round, a randomly chosen node gets a new disk, while writers
//! write through all members over a bad network.
//!
//! `ROUNDS` sets the number of rounds, `HOURS` repeats the rounds for this many hours, and `SEED`
//! repeats the random choices of an earlier run.

mod draw;

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Registers, Voters, Writers, Written};
use tests::cluster::{boot_all, wait_healthy};
use tests::harness::{is_all, trial};

use crate::bed::{Bed, REQUIREMENTS};
use draw::{NetworkFault, Outage, Round};

/// The time limit for each wait. The limit is long, because a network that loses packets slows
/// everything down.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(180);

/// Writes pause for longer than this only if the cluster has stopped. Expected pauses are shorter:
/// a writer waits 3 s for the lost member, and an election takes 1 to 2 s, but can fail several
/// times on a busy machine. While a member is rebuilt, two voters remain. Both voters must be up,
/// and this test never stops them.
const MAX_WRITE_GAP: Duration = Duration::from_secs(30);

/// The number of rounds in `make test` and in `make test-all`.
const ROUNDS: [u64; 2] = [6, 20];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "rebuilds_under_load_lose_no_write",
        REQUIREMENTS,
        rebuilds,
    )]
}

fn setting(name: &str) -> Result<Option<u64>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|value| value.parse().ok());
    Ok(Some(number.with_context(|| {
        format!("{name} must be a number, but is {}", value.display())
    })?))
}

fn rebuilds() -> Result<()> {
    let seed = setting("SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let end = Instant::now() + Duration::from_secs(setting("HOURS")?.unwrap_or_default() * 3600);
    let rounds = usize::try_from(setting("ROUNDS")?.unwrap_or(ROUNDS[usize::from(is_all())]))?;
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    for lap in 0.. {
        self::lap(&mut bed, rounds, seed + lap)?;
        if Instant::now() >= end {
            break;
        }
    }
    Ok(())
}

/// Runs this many rounds, and checks the writes afterwards.
fn lap(bed: &mut Bed, rounds: usize, seed: u64) -> Result<()> {
    println!("{rounds} rebuilds with SEED={seed}");
    let begun = Instant::now();
    let addresses: Vec<_> = bed.hosts.iter().map(tests::host::Host::address).collect();
    let client = Client::new(&bed.provisioning)?;
    let prefix = format!("lap {seed}/");
    let writers = Writers::start(&client, &addresses, &prefix);
    let registers = Registers::start(&client, &addresses, &format!("{prefix}register/"));
    let voters = Voters::watch(&client, &addresses);
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 1..=rounds {
        let round = Round::draw(&mut random, bed.hosts.len());
        let begun = Instant::now();
        rebuild(bed, &writers, &round)
            .with_context(|| format!("round {number}, SEED={seed}: {round:?}"))?;
        println!(
            "round {number:>2}: {round} {:.1} s",
            begun.elapsed().as_secs_f64()
        );
    }
    let (written, histories) = (writers.stop()?, registers.stop()?);
    let mut windows = voters.stop(bed.hosts.len())?;
    histories
        .check()
        .context("reads, writes and compare-and-sets are not linearizable")?;

    for address in &addresses {
        is_complete(&client, *address, &addresses, &prefix, &written)?;
    }
    client::insist(|| client.delete_all(addresses[0], &prefix))?;

    windows.sort();
    let (one, all) = written.longest_gaps();
    println!(
        "{} writes acknowledged and kept on all members, {} not acknowledged, in {:.0} s; {} operations linearizable\n\
         longest gap: {:.2} s for one writer, {:.2} s for all; time with two voters: median {:.0?}, maximum {:.0?}",
        written.count(),
        written.failed,
        begun.elapsed().as_secs_f64(),
        histories.count(),
        one.as_secs_f64(),
        all.as_secs_f64(),
        windows.get(windows.len() / 2).copied().unwrap_or_default(),
        windows.last().copied().unwrap_or_default(),
    );
    ensure!(all < MAX_WRITE_GAP, "no client could write for {all:?}");
    Ok(())
}

/// Checks that the member has all acknowledged writes, and that its member list matches the recipe.
fn is_complete(
    client: &Client,
    address: Ipv4Addr,
    addresses: &[Ipv4Addr],
    prefix: &str,
    written: &Written,
) -> Result<()> {
    let found = client::insist(|| client.all(address, prefix))?;
    written
        .kept_in(&found)
        .with_context(|| format!("the data of {address}"))?;
    let members = client::insist(|| client.members(address))?;
    let mut urls: Vec<&String> = members
        .iter()
        .flat_map(|member| &member.peer_urls)
        .collect();
    urls.sort();
    let recipe: Vec<String> = addresses
        .iter()
        .map(|address| format!("https://{address}:2380"))
        .collect();
    let named = members
        .iter()
        .all(|member| !member.is_learner && !member.name.is_empty());
    ensure!(
        named && urls == recipe.iter().collect::<Vec<_>>(),
        "{address} lists {members:#?}"
    );
    Ok(())
}

fn rebuild(bed: &mut Bed, writers: &Writers, round: &Round) -> Result<()> {
    let network = bed.provisioning.network.clone();
    let name = bed.hosts[round.victim].name().to_owned();
    match round.outage {
        Outage::Plug => bed.hosts[round.victim].cut_power()?,
        Outage::Silence => {
            network.unplug(&name)?;
            bed.hosts[round.victim].cut_power()?;
            // Wait until the other members have detected the loss themselves, because nothing
            // reports it to them.
            writers.wait_for_more(1, CONVERGENCE_TIMEOUT)?;
            network.replug(&name)?;
        }
        Outage::Shutdown => bed.hosts[round.victim].shutdown()?,
    }
    if round.reinstall {
        bed.reinstall(round.victim)?;
    } else {
        bed.replace_disk(round.victim)?;
    }
    // The two remaining members form a quorum.
    writers.wait_for_more(2, CONVERGENCE_TIMEOUT)?;

    let others: Vec<String> = bed
        .hosts
        .iter()
        .map(|host| host.name().to_owned())
        .filter(|other| *other != name)
        .collect();
    match round.fault {
        NetworkFault::None => {}
        NetworkFault::Loss(percent) => {
            let names = [&name, &others[0], &others[1]];
            for from in names {
                for to in names.iter().filter(|to| **to != from) {
                    network.drop_share(from, to, percent)?;
                }
            }
        }
        NetworkFault::Slow(rate) => network.limit_rate(&name, rate)?,
        NetworkFault::Cut(at) => network.drop_between(&name, &others[at])?,
        NetworkFault::Deaf(at) => network.drop_one_way(&others[at], &name)?,
        NetworkFault::Alone => network.unplug(&name)?,
    }
    bed.hosts[round.victim].boot()?;
    if matches!(
        round.fault,
        NetworkFault::Cut(_) | NetworkFault::Deaf(_) | NetworkFault::Alone
    ) {
        sleep(round.healed_after);
        network.heal_all()?;
    }
    wait_healthy(&bed.hosts[round.victim], 3, CONVERGENCE_TIMEOUT)?;
    network.heal_all()?;
    if let NetworkFault::Slow(_) = round.fault {
        network.lift_rate_limit(&name)?;
    }
    Ok(())
}
