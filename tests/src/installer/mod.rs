//! The stand-in for anaconda: carries a kickstart out on a root that is there already.
//!
//! Its scripts run in an environment that has what CentOS 7.9's installer has and no more: the programs, the PATH,
//! bash as sh, a /proc/cmdline with the kernel's arguments, no name service, none of the machine's disks. What it
//! does not do: partition, install packages, run %traceback and %onerror, which 7 does not run either when a %pre
//! fails. Order, log files, modes and the copies of the kickstart follow anaconda 21.48.22.159.

mod commands;
mod copies;
mod environment;
mod fetch;
mod kickstart;
mod script;
mod words;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::network::Namespace;
use crate::run;

pub use environment::is_present;
pub use fetch::{Machine, fetch};
pub use kickstart::{Command, Include, Kickstart, Kind, Section};
pub use script::{Ended, Script};

use environment::Environment;
use script::Stage;

/// An installation to be.
#[derive(Debug, Clone)]
pub struct Installer {
    text: String,
    target: PathBuf,
    cmdline: String,
    namespace: Option<Namespace>,
    laid: Vec<(String, String)>,
    patience: Duration,
}

/// How an installation went.
#[derive(Debug, Clone)]
pub struct Installation {
    /// How it ended.
    pub outcome: Outcome,
    /// The kickstart as it was carried out, with what %pre made; empty, if it could not be read.
    pub kickstart: Kickstart,
    /// The scripts that ran, in their order.
    pub scripts: Vec<Script>,
}

/// How an installation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All went through; failures of scripts without --erroronfail are in the log.
    Installed,
    /// A script switched the machine off or had it reboot, in these words.
    PoweredOff(String),
    /// It stopped, for this reason: on 7 the machine now sits there and nobody is told.
    Failed(String),
}

impl Installer {
    /// The kickstart's text, and the root to install into.
    pub fn new(kickstart: &str, target: &Path) -> Installer {
        Installer {
            text: kickstart.to_owned(),
            target: target.to_path_buf(),
            cmdline: "initrd=initrd.img".into(),
            namespace: None,
            laid: Vec::new(),
            patience: Duration::from_secs(300),
        }
    }

    /// What the scripts read in /proc/cmdline.
    #[must_use]
    pub fn cmdline(mut self, cmdline: &str) -> Installer {
        cmdline.clone_into(&mut self.cmdline);
        self
    }

    /// The network the scripts run in: a node's. Without it, it is the machine's.
    #[must_use]
    pub fn namespace(mut self, namespace: &Namespace) -> Installer {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Lays a file with this content over one that is there in all scripts' view, in /sys or /proc for instance.
    #[must_use]
    pub fn lay(mut self, place: &str, content: &str) -> Installer {
        self.laid.push((place.to_owned(), content.to_owned()));
        self
    }

    /// How long the whole may take; five minutes, if nothing is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Installer {
        self.patience = patience;
        self
    }

    /// Carries it out. An error is the bed's own; the kickstart's failures are in the [`Outcome`].
    pub fn run(&self) -> Result<Installation> {
        let environment = Environment::new()?;
        let work = run::current()?.folder("anaconda")?;
        let done = self.run_in(&environment, &work);
        let _ = fs::remove_dir_all(&work);
        done
    }

    fn run_in(&self, environment: &Environment, work: &Path) -> Result<Installation> {
        let cmdline = work.join("cmdline");
        fs::write(&cmdline, format!("{}\n", self.cmdline))
            .with_context(|| format!("cannot write {}", cmdline.display()))?;
        let mut laid = Vec::new();
        for (number, (place, content)) in self.laid.iter().enumerate() {
            let file = work.join(format!("laid-{number}"));
            fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
            laid.push((file, place.trim_start_matches('/').to_owned()));
        }
        let stage = Stage {
            environment,
            target: &self.target,
            namespace: self.namespace.as_ref(),
            laid: &laid,
            work,
            deadline: Instant::now() + self.patience,
        };
        let mut installation =
            Installation { outcome: Outcome::Installed, kickstart: Kickstart::default(), scripts: Vec::new() };
        if let Err(outcome) = self.steps(&stage, &mut installation)? {
            installation.outcome = outcome;
        }
        Ok(installation)
    }

    /// The steps of anaconda in their order. The inner error is an outcome that ends the installation early.
    fn steps(&self, stage: &Stage<'_>, installation: &mut Installation) -> Result<Result<(), Outcome>> {
        let root = stage.environment.root();
        // The first reading takes the scripts only: what %pre is to make is not there yet.
        let first = match Kickstart::parse(&self.text, &|file| Ok(included(&root, file).ok())) {
            Ok(first) => first,
            Err(error) => return Ok(Err(Outcome::Failed(format!("{error:#}")))),
        };
        if let Err(outcome) = scripts(stage, &first, Kind::Pre, installation)? {
            return Ok(Err(outcome));
        }
        installation.kickstart = match Kickstart::parse(&self.text, &|file| included(&root, file).map(Some)) {
            Ok(kickstart) => kickstart,
            Err(error) => return Ok(Err(Outcome::Failed(format!("{error:#}")))),
        };
        let kickstart = installation.kickstart.clone();
        if let Err(outcome) = scripts(stage, &kickstart, Kind::PreInstall, installation)? {
            return Ok(Err(outcome));
        }
        commands::carry_out(&kickstart.commands, &self.target)?;
        if let Err(outcome) = scripts(stage, &kickstart, Kind::Post, installation)? {
            return Ok(Err(outcome));
        }
        copies::leave_copies(&self.text, &self.cmdline, &root, &self.target)?;
        Ok(Ok(()))
    }
}

impl Installation {
    /// All scripts' outputs, each under a line that says which it was.
    pub fn log(&self) -> String {
        let parts = self
            .scripts
            .iter()
            .map(|script| format!("--- {} at {}: {:?}\n{}", script.kind, script.place, script.ended, script.output));
        parts.collect()
    }

    /// An error with the log, unless it went through.
    pub fn installed(&self) -> Result<()> {
        match &self.outcome {
            Outcome::Installed => Ok(()),
            other => bail!("the installation ended as {other:?}; its log:\n{}", self.log()),
        }
    }

    /// The commands of a name, in file order.
    pub fn commands(&self, name: &str) -> Vec<&Command> {
        self.kickstart.commands.iter().filter(|command| command.name == name).collect()
    }

    /// The lines of all %packages sections that are no comments.
    pub fn packages(&self) -> Vec<String> {
        let lines = self.kickstart.sections(Kind::Packages).flat_map(|section| section.body.lines());
        let bare = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
        bare.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// Runs all scripts of the kind, until one fails that must not or ends the machine's life.
fn scripts(
    stage: &Stage<'_>,
    kickstart: &Kickstart,
    kind: Kind,
    installation: &mut Installation,
) -> Result<Result<(), Outcome>> {
    for section in kickstart.sections(kind) {
        let script = stage.run(section, installation.scripts.len() + 1)?;
        let ended = script.ended.clone();
        installation.scripts.push(script);
        match ended {
            Ended::Exited(0) => {}
            Ended::Exited(code) if section.has("--erroronfail") => {
                let reason = format!("{kind} at {} failed with exit code {code}", section.place);
                return Ok(Err(Outcome::Failed(reason)));
            }
            Ended::Exited(_) => {}
            Ended::Power(words) => return Ok(Err(Outcome::PoweredOff(words))),
        }
    }
    Ok(Ok(()))
}

/// The text of an included file of the installer's own.
fn included(root: &Path, file: &str) -> Result<String> {
    let path = Path::new(file);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        bail!("the stand-in includes files with an absolute path, not {file}");
    }
    let real = root.join(file.trim_start_matches('/'));
    fs::read_to_string(&real).with_context(|| format!("the installer has no file {file}"))
}
