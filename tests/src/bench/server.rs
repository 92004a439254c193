//! Waits until a server accepts connections, and measures the CPU time and the peak memory of its
//! processes.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::network::Namespace;
use crate::process::children;

/// Waits until the server accepts a connection.
pub(super) fn wait(from: &Namespace, address: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let address = address.to_owned();
        match from.within(move || TcpStream::connect(address))? {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= end => {
                return Err(error).context("the server does not start");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Returns the CPU time that a process and its children have used.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in std::iter::once(pid).chain(children(pid)) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        // proc(5): utime and stime, in ticks of 10 ms.
        ticks += fields.get(11).context("stat")?.parse::<u64>()?
            + fields.get(12).context("stat")?.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// Returns the sum of the peak memory of a process and of each of its children, in MiB.
pub(super) fn peak_mib(pid: u32) -> Result<u64> {
    let mut kib = 0;
    for pid in std::iter::once(pid).chain(children(pid)) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = line.and_then(|line| line.split_whitespace().next());
        kib += peak.context("status")?.parse::<u64>()?;
    }
    Ok(kib / 1024)
}
