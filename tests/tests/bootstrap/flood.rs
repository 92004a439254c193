//! Tests that a client that opens connections to the barrier and sends nothing does not delay any
//! member.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use tests::cluster::boot_all;
use tests::harness::trial;
use tests::network::Namespace;

use crate::bed::{Bed, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_flood_of_silent_connections_does_not_delay_a_bootstrap",
        REQUIREMENTS,
        bootstrap,
    )]
}

const CONNECTIONS_PER_MEMBER: usize = 200;

/// A flood of connections that continues until this value is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    /// The number of connections opened so far.
    opened: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Starts a flood of connections from one host to each of these addresses.
    fn begin(from: &Namespace, to: Vec<SocketAddr>) -> Result<Self> {
        let (over, opened) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let threads = from.within(|| {
            let flood = |to| {
                let (over, opened) = (over.clone(), opened.clone());
                std::thread::spawn(move || flood(to, &over, &opened))
            };
            to.into_iter().map(flood).collect()
        })?;
        Ok(Self {
            over,
            opened,
            threads,
        })
    }

    fn end(self) -> Result<usize> {
        self.over.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a flood panicked")))?;
        Ok(self.opened.load(Ordering::Relaxed))
    }
}

/// Keeps the number of connections constant: replaces each connection that the member closes.
fn flood(to: SocketAddr, over: &AtomicBool, opened: &AtomicUsize) {
    let silent = |stream: &TcpStream| {
        let heard = stream
            .set_nonblocking(true)
            .and_then(|()| stream.peek(&mut [0]));
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let mut all: Vec<TcpStream> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        all.retain(silent);
        while all.len() < CONNECTIONS_PER_MEMBER
            && let Ok(stream) = TcpStream::connect_timeout(&to, Duration::from_millis(200))
        {
            opened.fetch_add(1, Ordering::Relaxed);
            all.push(stream);
        }
        sleep(Duration::from_millis(50));
    }
}

fn bootstrap() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let to = bed
        .hosts
        .iter()
        .map(|host| SocketAddr::from((host.address(), 2380)))
        .collect();
    let flood = Flood::begin(bed.provisioning.network.world(), to)?;
    let begun = Instant::now();
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let (took, opened) = (begun.elapsed(), flood.end()?);
    println!("power-on to a healthy cluster under {opened} silent connections: {took:.1?}");
    ensure!(
        opened > 3 * CONNECTIONS_PER_MEMBER,
        "there was no flood: {opened} connections"
    );
    for host in &bed.hosts {
        let said = host.journal("firstboot")?;
        // A host that is not up yet drops packets sent to it, so the test counts only peers that
        // have answered before.
        let kept_waiting = said
            .split("no answer in time; ")
            .skip(1)
            .any(|since| !since.starts_with("it never answered"));
        ensure!(!kept_waiting, "{} was kept waiting:\n{said}", host.name());
    }
    Ok(())
}
