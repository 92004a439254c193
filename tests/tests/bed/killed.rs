//! Tests runs that are killed, and runs that start at the same time. A run that is killed in the
//! middle of a test leaves no processes behind. The next run removes the files, loop devices and
//! control groups that the killed run left behind. Runs that start at the same time do not remove
//! each other's folders.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::host::Host;
use tests::network::Network;
use tests::process::KillOnDrop;
use tests::requirement::Requirement;
use tests::{base, cache, run};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Nspawn,
    Requirement::Network,
];

/// The environment variable that is set only in the run that will be killed. Only that run lists
/// the trial `victim`, which tests nothing by itself.
const VICTIM: &str = "BED_VICTIM";

/// The number of rounds. In each round, several runs start at the same time.
const ROUNDS_AT_ONCE: u32 = 20;
/// The number of runs in each round.
const RUNS_AT_ONCE: u32 = 12;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "a_killed_run_leaves_no_process_running",
            REQUIREMENTS,
            killed,
        ),
        trial(
            "runs_that_start_at_the_same_time_all_work",
            REQUIREMENTS,
            at_once,
        ),
    ];
    if std::env::var_os(VICTIM).is_some() {
        trials.push(trial("victim", REQUIREMENTS, victim));
    }
    trials
}

/// Keeps a host on until this process is killed, for at most a minute.
fn victim() -> Result<()> {
    let network = Network::new()?;
    let mut host = Host::new(&network, "victim", &base::base()?)?;
    host.start()?;
    sleep(Duration::from_secs(60));
    Ok(())
}

fn killed() -> Result<()> {
    let mut command =
        Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.args(["--exact", "victim"]).env(VICTIM, "1");
    let nowhere = File::options()
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    let mut victim = KillOnDrop::spawn(&command, &nowhere)?;
    let folder = cache::folder().join("run").join(victim.id().to_string());
    let path = folder.to_string_lossy().into_owned();
    wait("the victim's host is on", || processes(&path).len() >= 2)?;
    sleep(Duration::from_secs(1));

    victim.kill();
    wait("all processes of the victim have ended", || {
        processes(&path).is_empty()
    })?;
    run::reap()?;
    ensure!(!folder.exists(), "{} still exists", folder.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    ensure!(
        !mounts.contains(&path),
        "a mount of the victim still exists"
    );
    Ok(())
}

/// Starts several runs at the same time. No run executes a test: each run only looks for dead runs
/// while other runs make and remove their folders.
fn at_once() -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let start = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "no such test"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("cannot start a run")
    };
    for _ in 0..ROUNDS_AT_ONCE {
        let runs = (0..RUNS_AT_ONCE)
            .map(|_| start())
            .collect::<Result<Vec<_>>>()?;
        for run in runs {
            let output = run.wait_with_output().context("cannot wait for a run")?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "a run failed: {text}");
        }
    }
    Ok(())
}

/// Returns the command lines of the processes that have a path in this folder as an argument.
fn processes(folder: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    texts
        .filter(|line| line.contains(&format!("{folder}/")))
        .collect()
}

fn wait(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        ensure!(Instant::now() < deadline, "not true after 20 s: {what}");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
