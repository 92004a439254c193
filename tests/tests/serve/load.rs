//! Tests many clients, slow clients and silent clients. A machine that sends a single request must
//! still receive an answer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::harness::trial;
use tests::network::{Namespace, connect_from};
use tests::process;
use tests::requirement::NEEDS_SERVER;

use crate::bed::{SERVER, Server, built, document_of, expect, read_all};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("many_connections_block_no_machine", NEEDS_SERVER, crowd),
        trial("an_idle_client_is_disconnected", NEEDS_SERVER, slow),
    ]
}

/// Opens the given number of connections to the server from each of these addresses of a namespace,
/// and sends some bytes on each connection.
fn connections(
    from: &Namespace,
    addresses: &[String],
    each: usize,
    words: &str,
) -> Result<Vec<TcpStream>> {
    let server: SocketAddrV4 = SERVER.parse()?;
    let own = addresses.iter().map(|address| Ok(address.parse()?));
    let own = own.collect::<Result<Vec<Ipv4Addr>>>()?;
    from.within(move || -> Result<Vec<TcpStream>> {
        let mut all = Vec::new();
        for own in own {
            for _ in 0..each {
                let mut stream = connect_from(own, server)?;
                // The server may already have closed the connection.
                let _ = stream.write_all(words.as_bytes());
                all.push(stream);
            }
        }
        Ok(all)
    })?
}

fn crowd() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most)?;
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let (one, crowd) = (
        ours.network.add("etcd-1")?,
        ours.network.add("crowd")?.namespace,
    );
    let mut addresses = Vec::new();
    for last in 200..210 {
        let address = format!("10.101.15.{last}");
        process::check(
            "ip",
            &[
                "-n",
                crowd.name(),
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "eth0",
            ],
        )?;
        addresses.push(address);
    }
    let get = "GET /image/overlay.tar.gz HTTP/1.1\r\nHost: a\r\n\r\n";
    for (what, from, each, words) in [
        ("550 clients that do not read", &addresses[..1], 550, get),
        ("2000 clients that send nothing", &addresses[..1], 2000, ""),
        (
            "2000 clients that share ten addresses and do not read",
            &addresses[..],
            200,
            get,
        ),
    ] {
        let held = connections(&crowd, from, each, words)?;
        for _ in 0..5 {
            let begun = Instant::now();
            expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
            expect(&one.namespace, "image/SHA256SUMS", 200, "overlay")?;
            ensure!(
                begun.elapsed() < Duration::from_secs(3),
                "{what}: answered after {:?}",
                begun.elapsed()
            );
        }
        drop(held);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap_or_default().parse()?;
    ensure!(kib < 64 << 10, "2,000 connections need {peak}");
    Ok(())
}

fn slow() -> Result<()> {
    let ours = built()?;
    let _server = Server::start(&ours, &[])?;
    let one = ours.network.add("etcd-1")?;
    let address = [one.address.to_string()];
    let open = |words: &str| -> Result<TcpStream> {
        Ok(connections(&one.namespace, &address, 1, words)?.remove(0))
    };
    let overlay = "GET /image/overlay.tar.gz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut drip = open("GET /")?;
    let mut waiting = [
        ("no head", open("")?),
        (
            "half a body",
            open("POST /report HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na")?,
        ),
        (
            "no second request",
            open("GET /image/SHA256SUMS HTTP/1.1\r\nHost: a\r\n\r\n")?,
        ),
    ];
    let mut deaf = open(overlay)?;
    // The client behaves like one of many clients on a link that slows down to 30 KB per second
    // after the kernel's buffers have grown.
    let mut steady = open(overlay)?;
    let mut taken = 8_000_000;
    steady.read_exact(&mut vec![0; taken])?;

    let begun = Instant::now();
    let mut until = |seconds: u64| -> Result<()> {
        while begun.elapsed() < Duration::from_secs(seconds) {
            // In each iteration, a slow client sends one more byte of a request that never ends.
            let _ = drip.write_all(b"a");
            steady.read_exact(&mut [0; 6000])?;
            taken += 6000;
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    };
    until(14)?;
    for (what, stream) in &mut waiting {
        ensure!(
            is_over(stream)?,
            "the server still waits for {what} after 14 s"
        );
    }
    until(26)?;
    ensure!(
        is_over(&mut drip)?,
        "the server still waits for a slow head after 26 s"
    );
    let mut rest = Vec::new();
    steady.read_to_end(&mut rest)?;
    let size = usize::try_from(std::fs::metadata(ours.out().join("image/overlay.tar.gz"))?.len())?;
    ensure!(
        taken + rest.len() > size,
        "a slow client received {} of {size} bytes",
        taken + rest.len()
    );
    let sent = read_all(&mut deaf, Duration::from_secs(2))?.len();
    ensure!(
        sent < 20_000_000,
        "a client that did not read for 26 s got all {sent} bytes"
    );
    Ok(())
}

/// Returns whether the server has closed a connection.
fn is_over(stream: &mut TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Ok(true),
        }
    }
}
