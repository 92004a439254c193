//! Measures the time, CPU time and memory that `builder serve` needs to serve the overlay to many
//! machines at the same time. Compares these figures with those of nginx, as Debian configures it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::server::{cpu, peak_mib, wait};
use super::{Row, median, table};
use crate::cluster::Provisioning;
use crate::network::Namespace;
use crate::process::KillOnDrop;
use crate::{etcd, packages, programs, run};

/// The number of machines that fetch the overlay at the same time.
const CLIENTS: usize = 500;
const OURS: &str = "10.101.15.1:8081";
const THEIRS: &str = "10.101.15.1:8082";

/// Measures both servers alternately, `runs` times each.
pub fn run(runs: usize) -> Result<String> {
    let nginx_program = match packages::unpacked("nginx") {
        Ok(package) => package.join("usr/sbin/nginx"),
        Err(error) => {
            return Ok(format!(
                "skipped: there is no nginx to compare with: {error:#}\n"
            ));
        }
    };
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let folder = run::current()?.folder("serve")?;
    let (world, client) = (
        provisioning.network.world(),
        provisioning.network.add("client")?.namespace,
    );
    let mut builder = world.command(&programs::builder()?.to_string_lossy());
    builder
        .arg("serve")
        .arg(provisioning.out())
        .args(["--listen", OURS]);
    let ours = KillOnDrop::spawn(&builder, &File::create(folder.join("log"))?)?;
    let theirs = nginx(&nginx_program, world, &provisioning.out(), &folder)?;
    let size = fs::metadata(provisioning.out().join("image/overlay.tar.gz"))?.len();

    let servers = [(OURS, &ours), (THEIRS, &theirs)];
    for (address, _) in servers {
        wait(world, address)?;
        crowd(&client, address, 10, size)?;
    }
    let mut elapsed: [Vec<Duration>; 2] = Default::default();
    let mut used: [Vec<Duration>; 2] = Default::default();
    for _ in 0..runs {
        for (nth, (address, server)) in servers.iter().enumerate() {
            let before = cpu(server.id())?;
            elapsed[nth].push(crowd(&client, address, CLIENTS, size)?);
            used[nth].push(cpu(server.id())?.saturating_sub(before));
        }
    }
    let ratios = (1.0 / ratio(&elapsed), ratio(&used));
    Ok(format!(
        "{}{}{CLIENTS} clients, {:.1} MB each, {runs} runs, alternating; {:.2} of nginx's throughput, \
         {:.2} of its CPU; peak memory {} MiB, nginx {} MiB\n",
        rows(elapsed, "until all clients have the overlay"),
        rows(used, "CPU"),
        megabytes(size),
        ratios.0,
        ratios.1,
        peak_mib(ours.id())?,
        peak_mib(theirs.id())?,
    ))
}

fn ratio([ours, theirs]: &[Vec<Duration>; 2]) -> f64 {
    median(ours.clone()).as_secs_f64() / median(theirs.clone()).as_secs_f64()
}

fn rows([ours, theirs]: [Vec<Duration>; 2], what: &str) -> String {
    let row = |name: &str, times| Row {
        name: format!("{name}, {what}"),
        times,
        bytes: None,
    };
    table(&[row("builder serve", ours), row("nginx", theirs)])
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Starts nginx with those lines of Debian's nginx.conf that affect how nginx serves files.
fn nginx(program: &Path, world: &Namespace, out: &Path, folder: &Path) -> Result<KillOnDrop> {
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    let conf = format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {folder}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 768; }}\n\
         http {{\n{paths}access_log {folder}/access;\nsendfile on;\ntcp_nopush on;\ntypes_hash_max_size 2048;\n\
         server {{ listen {THEIRS}; root {}; }}\n}}\n",
        out.display(),
        folder = folder.display(),
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, conf)?;
    let mut command = world.command(&program.to_string_lossy());
    command.arg("-p").arg(folder).arg("-c").arg(&path);
    KillOnDrop::spawn(&command, &File::create(folder.join("nginx"))?)
}

/// Returns the time until this many clients have received the overlay. The clients discard the
/// overlay, so that they use little CPU time.
fn crowd(from: &Namespace, address: &str, clients: usize, size: u64) -> Result<Duration> {
    let connect = || -> std::io::Result<Vec<TcpStream>> {
        (0..clients).map(|_| TcpStream::connect(address)).collect()
    };
    let mut streams = from.within(connect)??;
    let begun = Instant::now();
    for stream in &mut streams {
        stream.write_all(
            b"GET /image/overlay.tar.gz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )?;
    }
    let mut left: Vec<(TcpStream, u64)> = streams.into_iter().map(|stream| (stream, 0)).collect();
    let mut buffer = vec![0; 1 << 20];
    while !left.is_empty() {
        let mut polled: Vec<PollFd> = left
            .iter()
            .map(|(stream, _)| PollFd::new(stream.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut polled, PollTimeout::from(60_000_u16))?;
        let ready: Vec<bool> = polled
            .iter()
            .map(|one| one.any().unwrap_or_default())
            .collect();
        let mut ready = ready.into_iter();
        let mut error = None;
        left.retain_mut(|(stream, got)| {
            if !ready.next().unwrap_or_default() {
                return true;
            }
            match recv(
                stream.as_raw_fd(),
                &mut buffer,
                MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(0) if *got < size => {
                    error = Some(format!("a client received {got} of {size} bytes"));
                }
                Ok(0) => return false,
                Ok(count) => *got += count as u64,
                Err(Errno::EAGAIN) => {}
                Err(errno) => error = Some(errno.to_string()),
            }
            error.is_none()
        });
        ensure!(error.is_none(), "{address}: {}", error.unwrap_or_default());
    }
    Ok(begun.elapsed())
}
