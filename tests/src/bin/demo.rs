//! `make demo` shows the project's main task. The demo makes an image from one recipe, installs
//! three hosts with the image's own kickstart, and boots them into a healthy cluster.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tests::cluster::{Provisioning, boot_all, etcdctl, wait_healthy};
use tests::host::Host;
use tests::requirement::{self, Requirement};
use tests::{base, etcd, kernel, programs, run};

const REQUIREMENTS: [Requirement; 5] = [
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
];
const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

fn main() -> ExitCode {
    if let Some(code) = kernel::launch() {
        return code;
    }
    let outcome = run::enter().and_then(|_| demo());
    run::leave();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The steps of the demo so far, with their durations.
struct Stages {
    began: Instant,
    taken: Vec<(String, Duration)>,
}

impl Stages {
    fn run<T>(&mut self, what: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {what}");
        let began = Instant::now();
        let done = stage()?;
        self.taken.push((what.to_owned(), began.elapsed()));
        Ok(done)
    }

    fn print(&self) {
        println!("\n{:<62} {:>8}", "STAGE", "SECONDS");
        for (what, time) in &self.taken {
            println!("{what:<62} {:>8.1}", time.as_secs_f64());
        }
        println!("{:<62} {:>8.1}", "all", self.began.elapsed().as_secs_f64());
    }
}

fn demo() -> Result<()> {
    if let Some(reason) = requirement::missing(&REQUIREMENTS) {
        bail!("{reason}");
    }
    let mut stages = Stages {
        began: Instant::now(),
        taken: Vec::new(),
    };
    stages.run("the hosts' base system (once; kept in .cache)", base::base)?;
    let (version, why_not_newer) = etcd::newest();
    if let Some(reason) = why_not_newer {
        println!(
            "\nThe demo runs etcd {version}. A newer version cannot be built here, because {reason}."
        );
        println!("Do not use {version} in production: later patch releases fix data corruption.");
    }
    let release = stages.run(&format!("etcd {version} (once; kept in .cache)"), || {
        etcd::release(version)
    })?;
    let provisioning = Provisioning::new()?;
    let recipe = recipe(&release)?;
    stages.run(
        &format!("builder build recipes/demo.toml, with etcd {version}"),
        || {
            let said = provisioning.build(&recipe)?;
            print!("{said}");
            Ok(())
        },
    )?;
    let mut hosts = stages.run(
        "three machines installed by the kickstart's own scripts",
        || {
            NAMES
                .iter()
                .map(|name| install(&provisioning, name))
                .collect::<Result<Vec<Host>>>()
        },
    )?;
    stages.run("power on, first boot, a healthy cluster", || {
        boot_all(&mut hosts)?;
        hosts.iter().try_for_each(|host| {
            wait_healthy(host, NAMES.len(), Duration::from_secs(120)).map(drop)
        })
    })?;
    print_journal(&hosts[0])?;
    stages.run(
        "a key written through etcd-1 is read through etcd-3",
        || read_back(&hosts),
    )?;
    println!("\n== firstboot status, on etcd-1");
    print!("{}", hosts[0].check(&["firstboot", "status"])?);
    stages.print();
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        return keep(&hosts);
    }
    println!(
        "\nThe hosts are removed now. `make demo KEEP=1` keeps them running; docs/operating.md continues from here."
    );
    Ok(())
}

fn print_journal(host: &Host) -> Result<()> {
    for line in host
        .journal("firstboot")?
        .lines()
        .filter(|line| line.contains("firstboot["))
    {
        println!("{line}");
    }
    Ok(())
}

/// Writes a key through the first member, and reads it through the third.
fn read_back(hosts: &[Host]) -> Result<()> {
    etcdctl(&hosts[0], "put greeting hello")?;
    let read = etcdctl(&hosts[2], "get greeting --print-value-only")?;
    println!("etcd-3 reads: {}", read.trim());
    ensure!(read.trim() == "hello", "etcd-3 reads {read:?}");
    Ok(())
}

/// Returns the demo's recipe with this release of etcd.
fn recipe(release: &etcd::Release) -> Result<PathBuf> {
    let text = fs::read_to_string(programs::recipe("demo"))?;
    let line = |line: &str| match line.split(" = ").next() {
        Some("version") => format!("version = \"{}\"\n", release.version),
        Some("sha256") => format!("sha256 = \"{}\"\n", release.sha256),
        _ => format!("{line}\n"),
    };
    let path = run::current()?.folder("recipe")?.join("demo.toml");
    fs::write(&path, text.lines().map(line).collect::<String>())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn install(provisioning: &Provisioning, name: &str) -> Result<Host> {
    let host = provisioning.node(name)?;
    println!("{name} is installed at {}", host.address());
    Ok(host)
}

/// Keeps the hosts running until the user ends the demo. The hosts run in namespaces of this
/// process and disappear with it.
fn keep(hosts: &[Host]) -> Result<()> {
    println!("\nThe hosts stay on while the demo runs. To enter a host:");
    for host in hosts {
        println!(
            "  {}: nsenter --all --target {} -- bash -l",
            host.name(),
            host.init()?
        );
    }
    print!("Press Enter to end the demo. ");
    std::io::stdout().flush()?;
    let mut byte = [0];
    if std::io::stdin().read(&mut byte)? == 0 {
        // Without a terminal, the demo waits for a signal.
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    Ok(())
}
