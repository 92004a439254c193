//! The stand-in for anaconda, which carries out a kickstart in an existing root file system.
//!
//! The module `anaconda` models, function by function, how anaconda handles each command. The
//! stand-in carries out the steps in anaconda's order: first `%pre`, then storage, `%pre-install`,
//! packages, configuration, `%post`, and finally the exit handler. The stand-in makes yum's
//! requests and checks the answers as yum would. Only the module `here` installs packages and
//! writes to disks. The stand-in runs neither `%onerror` nor `%traceback`, because on CentOS 7 in
//! cmdline mode, they run only after an error in the rpm transaction.
//!
//! Scripts run in an environment like that of CentOS 7.9's installer: only its programs, its PATH,
//! bash as sh, the kernel's arguments in /proc/cmdline, the disks that [`Hardware`] describes, and
//! no name service. The order of the steps, the log files, the modes of the scripts and the copies
//! of the kickstart are those of anaconda 21.48.22.159.

mod anaconda;
mod copies;
mod environment;
mod execute;
mod fetch;
mod firmware;
mod hardware;
mod here;
mod include;
mod installation;
mod kickstart;
mod log;
mod outcome;
mod script;
mod storage;
mod tree;
mod words;
mod yum;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::network::Namespace;
use crate::run;

pub use anaconda::{Effect, FinalAction, Partition, Plan, Selection, User, Volume};
pub use environment::is_present;
pub use fetch::{Machine, fetch};
pub use firmware::BootEntries;
pub use hardware::{Disk, DiskPartition, Hardware, Quirk};
pub use here::{UNPACKING, install_this_machine};
pub use installation::{Installation, Outcome};
pub use kickstart::{Command, Include, Kickstart, Kind, Section};
pub use script::{Ended, Script};
pub use tree::{IMAGES, PACKAGES, package_path, write_repository, write_tree};

use anaconda::{Data, Failure};
use environment::Environment;
use include::included;
use outcome::{Interruption, end};
use script::Stage;
use yum::Yum;

/// An installation that has not started yet.
#[derive(Debug, Clone)]
pub struct Installer {
    text: String,
    target: PathBuf,
    cmdline: String,
    namespace: Option<Namespace>,
    hardware: Hardware,
    laid: Vec<(String, String)>,
    time_limit: Duration,
}

impl Installer {
    /// Returns an installation of this kickstart into the root file system `target`.
    pub fn new(kickstart: &str, target: &Path) -> Installer {
        Installer {
            text: kickstart.to_owned(),
            target: target.to_path_buf(),
            cmdline: "initrd=initrd.img".into(),
            namespace: None,
            hardware: Hardware::default(),
            laid: Vec::new(),
            time_limit: Duration::from_secs(300),
        }
    }

    /// Sets the kernel command line, which the scripts read in /proc/cmdline.
    #[must_use]
    pub fn cmdline(mut self, cmdline: &str) -> Installer {
        cmdline.clone_into(&mut self.cmdline);
        self
    }

    /// Sets the network namespace in which the scripts and yum run. The default is the test
    /// machine's network.
    #[must_use]
    pub fn namespace(mut self, namespace: &Namespace) -> Installer {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Sets the machine's firmware and disks. The default is a BIOS and one disk.
    #[must_use]
    pub fn hardware(mut self, hardware: Hardware) -> Installer {
        self.hardware = hardware;
        self
    }

    /// Replaces the content of an existing file for all scripts, for example in /sys or /proc.
    #[must_use]
    pub fn overlay_file(mut self, place: &str, content: &str) -> Installer {
        self.laid.push((place.to_owned(), content.to_owned()));
        self
    }

    /// Sets the time limit for the whole installation. The default is five minutes.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Installer {
        self.time_limit = time_limit;
        self
    }

    /// Carries out the installation. Returns an error if the test bed itself fails or a script
    /// exceeds the time limit; the [`Outcome`] reports failures of the kickstart.
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
        self.hardware.lay_out(&work.join("hardware"))?;
        let mut laid = Vec::new();
        for (number, (place, content)) in self.laid.iter().enumerate() {
            let file = work.join(format!("laid-{number}"));
            fs::write(&file, content)
                .with_context(|| format!("cannot write {}", file.display()))?;
            laid.push((file, place.trim_start_matches('/').to_owned()));
        }
        let stage = Stage {
            environment,
            target: &self.target,
            namespace: self.namespace.as_ref(),
            laid: &laid,
            work,
            deadline: Instant::now() + self.time_limit,
        };
        let mut installation = Installation {
            outcome: Outcome::Installed,
            kickstart: Kickstart::default(),
            plan: Plan::default(),
            boot_order: None,
            scripts: Vec::new(),
        };
        let ended = self.steps(&stage, &mut installation)?;
        installation.outcome = end(&stage, &mut installation, ended)?;
        installation.boot_order = firmware::read_order(&work.join("hardware/firmware"))?;
        Ok(installation)
    }

    /// Runs anaconda's steps in order. The inner error is the failure that ended anaconda, or the
    /// command that switched the machine off or restarted it.
    fn steps(
        &self,
        stage: &Stage<'_>,
        installation: &mut Installation,
    ) -> Result<Result<(), Interruption>> {
        let root = stage.environment.root();
        macro_rules! go_on {
            ($step:expr) => {
                match $step {
                    Ok(value) => value,
                    Err(error) => return Ok(Err(Interruption::from(error))),
                }
            };
        }
        // kickstart.py, preScriptPass: the first pass reads only the scripts, because the files
        // that `%pre` creates do not exist yet.
        let first = Kickstart::parse(&self.text, &|file| Ok(included(&root, file).ok()));
        let first = go_on!(first.map_err(|error| Failure::Early(format!("{error:#}"))));
        go_on!(scripts(stage, &first, Kind::Pre, installation)?.map_err(Interruption::early));
        // Models parseKickstart.
        let kickstart = Kickstart::parse(&self.text, &|file| included(&root, file).map(Some));
        let kickstart = go_on!(kickstart.map_err(|error| Failure::Early(format!("{error:#}"))));
        installation.kickstart = kickstart.clone();
        let data = go_on!(Data::read(&kickstart, &self.hardware));
        installation.plan.end = data.end;
        // At this point, the program `anaconda` registers its exit handler, and then runs the
        // storage, source and software spokes.
        let plan = go_on!(anaconda::plan(&kickstart, &self.hardware, &self.cmdline));
        installation.plan = plan.clone();
        let yum = Yum {
            namespace: self.namespace.as_ref(),
            root: &root,
        };
        let available = go_on!(yum.gather(&data)?.map_err(Failure::Late));
        // checkSoftwareSelection (ui/tui/spokes/software.py) runs before anything is written to a
        // disk.
        go_on!(available.select(&plan.software).map_err(Failure::Late));
        // Models `doInstall` in install.py.
        execute::mount_points(&plan, &self.target)?;
        go_on!(scripts(stage, &kickstart, Kind::PreInstall, installation)?);
        go_on!(available.require(&plan.software).map_err(Failure::Late));
        yum.install()?;
        firmware::install_boot_loader(&stage.work.join("hardware/firmware"))?;
        // Models doConfiguration.
        for effect in &plan.after {
            let done = execute::execute(effect, &self.target)
                .with_context(|| format!("cannot carry out: {effect}"))?;
            go_on!(done.map_err(Failure::Late));
        }
        go_on!(scripts(stage, &kickstart, Kind::Post, installation)?);
        copies::leave_copies(&self.text, &self.cmdline, &root, &self.target)?;
        Ok(Ok(()))
    }
}

/// Returns the actions that the model of anaconda derives from a kickstart whose `%pre` has run,
/// one action per line. Tests compare these lines with anaconda's real output.
pub fn model(text: &str, include: Include<'_>, hardware: &Hardware, words: &str) -> String {
    let kickstart = match Kickstart::parse(text, include) {
        Ok(kickstart) => kickstart,
        Err(error) => return format!("stops early: {error:#}\n"),
    };
    match anaconda::plan(&kickstart, hardware, words) {
        Ok(plan) => plan.to_string(),
        Err(Failure::Early(error)) => format!("stops early: {error}\n"),
        Err(Failure::Late(error)) => format!("stops late: {error}\n"),
    }
}

/// Runs all scripts of this kind. Stops after a script with `--erroronfail` that fails, and after a
/// script that switches the machine off or restarts it.
fn scripts(
    stage: &Stage<'_>,
    kickstart: &Kickstart,
    kind: Kind,
    installation: &mut Installation,
) -> Result<Result<(), Interruption>> {
    for section in kickstart.sections(kind) {
        let script = stage.run(section, installation.scripts.len() + 1)?;
        let ended = script.ended.clone();
        installation.scripts.push(script);
        match ended {
            Ended::Exited(0) => {}
            Ended::Exited(code) if section.has("--erroronfail") => {
                let reason = format!("{kind} at {} failed with exit code {code}", section.place);
                return Ok(Err(Interruption::Failure(Failure::Late(reason))));
            }
            Ended::Exited(_) => {}
            Ended::Power(words) => return Ok(Err(Interruption::Power(words))),
        }
    }
    Ok(Ok(()))
}
