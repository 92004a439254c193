//! Measures the CPU time and the memory that firstboot needs on a node that is already set up.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::spread;
use crate::cluster::{Provisioning, boot_all, wait_healthy};
use crate::host::Host;
use crate::{etcd, process, programs};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

/// Runs `firstboot run` the given number of times on a healthy member, and returns the CPU time and
/// memory that the runs use.
pub fn run(runs: usize) -> Result<String> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let mut hosts = NAMES
        .iter()
        .map(|name| provisioning.node(name))
        .collect::<Result<Vec<Host>>>()?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, Duration::from_secs(60))?;
    }
    let (mut cpu, mut memory) = (Vec::new(), 0);
    for _ in 0..runs {
        let (time, kib) = cost(&mut hosts[0].command(&["firstboot", "run"])?)?;
        cpu.push(time);
        memory = memory.max(kib);
    }
    let size = fs::metadata(programs::firstboot()?)?.len();
    Ok(format!(
        "firstboot run on a healthy member, {runs} runs\n\
         CPU, with the systemctl that it runs   {}\n\
         peak memory                            {:.1} MiB\n\
         size of the program                    {:.1} MiB\n",
        spread(&cpu),
        mib(memory * 1024),
        mib(size),
    ))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Returns the CPU time and the peak memory (KiB) of a command and of all processes that the
/// command waited for. Runs the command in a separate process that has no other children, because
/// the kernel reports only the total usage of all children.
pub(super) fn cost(command: &mut Command) -> Result<(Duration, u64)> {
    let mut measure = Command::new(std::env::current_exe()?);
    measure
        .arg("cost")
        .arg(command.get_program())
        .args(command.get_args());
    let said = process::run(&mut measure)?.ok()?;
    let numbers: Vec<u64> = said
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .flat_map(str::parse)
        .collect();
    let [micros, kib] = numbers[..] else {
        anyhow::bail!("the measurement printed {said:?}")
    };
    Ok((Duration::from_micros(micros), kib))
}

/// Runs the command for [`cost`], and prints its CPU time in microseconds and its peak memory in
/// KiB.
pub fn print_cost(words: &[&str]) -> Result<String> {
    use nix::sys::resource::{UsageWho, getrusage};
    let (program, arguments) = words.split_first().context("no command to run")?;
    process::run(Command::new(program).args(arguments))?.ok()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Ok(format!(
        "{} {}\n",
        micros(usage.user_time()) + micros(usage.system_time()),
        usage.max_rss()
    ))
}
