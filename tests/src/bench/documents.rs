//! Measures how many machines per second get their documents from `builder serve`, if all machines
//! of a large cluster send their requests at the same time. firstboot's source `url` sends the same
//! requests.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use recipes::{Envelope, NodeDocument};

use super::machines::{COUNT, DOCUMENTS, Machines, connect};
use super::server::{cpu, peak_mib};
use super::{median, spread};

/// Measures the first request of all machines, and then the same requests again, because a machine
/// repeats a request if it has not received the answer.
pub fn run(runs: usize) -> Result<String> {
    let machines = Machines::new("")?;
    let mut elapsed: [Vec<Duration>; 2] = Default::default();
    let mut used: [Vec<Duration>; 2] = Default::default();
    let mut memory = 0;
    for _ in 0..runs {
        let server = machines.serve(&[])?;
        for nth in 0..2 {
            let before = cpu(server.id())?;
            elapsed[nth].push(machines.within(|| ask(&machines.addresses))?);
            used[nth].push(cpu(server.id())?.saturating_sub(before));
        }
        memory = memory.max(peak_mib(server.id())?);
    }
    let rate = |times: &[Duration]| f64::from(COUNT) / median(times.to_vec()).as_secs_f64();
    let mut out = String::new();
    for (what, nth) in [("first document", 0), ("same document again", 1)] {
        // Writing into a string cannot fail.
        let _ = writeln!(
            out,
            "{what}: {:.0} a second; until all machines have their documents {}; CPU {}",
            rate(&elapsed[nth]),
            spread(&elapsed[nth]),
            spread(&used[nth]),
        );
    }
    Ok(format!(
        "{out}{COUNT} machines of one recipe at once, each with its own record, over HTTP, {runs} runs; peak memory {memory} MiB\n",
    ))
}

/// Returns the time until each machine has received its own document.
fn ask(addresses: &[Ipv4Addr]) -> Result<Duration> {
    let connect = |own| connect(own, DOCUMENTS);
    let own = addresses.iter().copied();
    let mut streams = own.map(connect).collect::<Result<Vec<TcpStream>>>()?;
    let begun = Instant::now();
    for (stream, number) in streams.iter_mut().zip(1_u32..) {
        // The machines share one network card, so the recipe contains no MAC address, and the
        // server accepts any MAC address.
        let [_, _, high, low] = number.to_be_bytes();
        let query = format!("mac=52%3A54%3A00%3A00%3A{high:02X}%3A{low:02X}&serial=S{number}");
        write!(
            stream,
            "GET /node.json?{query} HTTP/1.1\r\nHost: {DOCUMENTS}\r\nConnection: close\r\n\r\n"
        )?;
    }
    let mut replies = Vec::new();
    for stream in &mut streams {
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        replies.push(reply);
    }
    let elapsed = begun.elapsed();
    for (reply, number) in replies.iter().zip(1..) {
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        ensure!(head.starts_with("HTTP/1.1 200"), "etcd-{number}: {reply}");
        let payload = serde_json::from_str::<Envelope>(body)?.unverified()?;
        let document: NodeDocument = serde_json::from_slice(&payload)?;
        ensure!(
            document.name.as_str() == format!("etcd-{number}"),
            "{reply}"
        );
    }
    Ok(elapsed)
}
