//! Runs a single script of a kickstart.

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::environment::Environment;
use super::kickstart::{Kind, Section};
use crate::network::Namespace;
use crate::process::KillOnDrop;

/// A script that prepares the environment of the kickstart's script. Comments in enter.sh describe
/// its arguments.
const ENTER: &str = include_str!("enter.sh");

/// The PATH of anaconda.service. Before the installation, /mnt/sysimage is empty.
const PATH: &str = "/usr/bin:/bin:/sbin:/usr/sbin:/mnt/sysimage/bin:/mnt/sysimage/usr/bin:/mnt/sysimage/usr/sbin:/mnt/sysimage/sbin";

/// The data that all scripts of an installation share.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) environment: &'a Environment,
    pub(super) target: &'a Path,
    pub(super) namespace: Option<&'a Namespace>,
    /// Files that replace other files, each with its source and its path in the root.
    pub(super) laid: &'a [(PathBuf, String)],
    /// A folder for this installation, outside all roots, with `cmdline` and `hardware`.
    pub(super) work: &'a Path,
    pub(super) deadline: Instant,
}

/// The way in which a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The script exited with this code.
    Exited(i32),
    /// The script used this command to switch off or reboot the machine.
    Power(String),
}

/// A script that has run.
#[derive(Debug, Clone)]
pub struct Script {
    /// The script's kind and position, such as `%pre at kickstart:4`.
    pub name: String,
    /// The way in which the script ended.
    pub ended: Ended,
    /// The script's standard output and standard error.
    pub output: String,
}

impl Stage<'_> {
    /// Runs the section as the `number`th script of this installation.
    pub(super) fn run(&self, section: &Section, number: usize) -> Result<Script> {
        let in_target = section.kind == Kind::Post && !section.has("--nochroot");
        let root = self.environment.root();
        let own_root = if in_target { self.target } else { &root };
        // anaconda chooses a random name for each script, but the stand-in numbers the scripts.
        let name = format!("tmp/ks-script-{number:04}");
        let script = own_root.join(&name);
        write_script(&script, &section.body)?;
        let log_path = match section.options.get("--log") {
            Some(log) => own_root.join(log.trim_start_matches('/')),
            None => own_root.join(format!("{name}.log")),
        };
        let log = open_log(&log_path)?;
        let ended = self
            .supervise(section, in_target, &name, &log)
            .with_context(|| {
                let output = fs::read_to_string(&log_path).unwrap_or_default();
                format!(
                    "{}: the script and enter.sh printed:\n{output}",
                    section.place
                )
            })?;
        let _ = fs::remove_file(&script);
        let output =
            fs::read(&log_path).with_context(|| format!("cannot read {}", log_path.display()))?;
        Ok(Script {
            name: format!("{} at {}", section.kind, section.place),
            ended,
            output: String::from_utf8_lossy(&output).into_owned(),
        })
    }

    fn supervise(
        &self,
        section: &Section,
        in_target: bool,
        name: &str,
        log: &File,
    ) -> Result<Ended> {
        let (status, sysrq) = (self.work.join("status"), self.work.join("sysrq"));
        let _ = fs::remove_file(&status);
        fs::write(&sysrq, "").with_context(|| format!("cannot write {}", sysrq.display()))?;
        let mut outer = KillOnDrop::spawn(
            &self.command(section, in_target, name, &status, &sysrq),
            log,
        )?;
        loop {
            if let Some(asked) = self.environment.power() {
                return Ok(Ended::Power(asked));
            }
            if let Some(key) = fs::read_to_string(&sysrq)
                .ok()
                .filter(|text| !text.is_empty())
            {
                return Ok(Ended::Power(format!("sysrq {}", key.trim())));
            }
            if let Some(how) = outer.ended()? {
                if let Ok(code) = fs::read_to_string(&status) {
                    let code = code.trim().parse();
                    return Ok(Ended::Exited(
                        code.context("the script's exit code is not a number")?,
                    ));
                }
                // In a pid namespace, reboot(2) ends the namespace with a signal that shows which
                // kind of reboot was requested.
                return match how
                    .signal()
                    .and_then(|signal| Signal::try_from(signal).ok())
                {
                    Some(Signal::SIGINT) => Ok(Ended::Power("reboot(2): power off".into())),
                    Some(Signal::SIGHUP) => Ok(Ended::Power("reboot(2): restart".into())),
                    _ => bail!(
                        "{}: the environment of the script could not be prepared: {how}",
                        section.place
                    ),
                };
            }
            if Instant::now() >= self.deadline {
                bail!(
                    "{}: the script exceeds the time limit of the installation",
                    section.place
                );
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn command(
        &self,
        section: &Section,
        in_target: bool,
        name: &str,
        status: &Path,
        sysrq: &Path,
    ) -> Command {
        let mut command = match self.namespace {
            Some(namespace) => namespace.command("unshare"),
            None => Command::new("unshare"),
        };
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--",
            "sh",
            "-c",
            ENTER,
            "enter.sh",
        ]);
        command.arg(self.environment.root());
        match section.kind {
            Kind::Pre => command.arg("-"),
            _ => command.arg(self.target),
        };
        command.arg(if in_target { "mnt/sysimage" } else { "" });
        command
            .arg(status)
            .arg(self.work.join("cmdline"))
            .arg(sysrq)
            .arg(self.work.join("hardware"));
        for (file, place) in self.laid {
            command.arg(file).arg(place);
        }
        command.args(["--", "/usr/bin/env", "-i"]);
        command.args([
            &format!("PATH={PATH}"),
            "HOME=/root",
            "LANG=C",
            "TERM=vt100",
        ]);
        // The kickstart's monitor waits one minute so that a person can read the reason. The tests
        // do not need this pause.
        command.arg("ETCD_IMAGE_PAUSE=0");
        // By default, CentOS's tar treats the file names on its command line as patterns
        // (tar-1.17-wildcards.patch of its package).
        command.arg("TAR_OPTIONS=--wildcards --anchored --wildcards-match-slash");
        match section
            .options
            .get("--interpreter")
            .map_or("/bin/sh", String::as_str)
        {
            // On CentOS 7, sh is bash in POSIX mode. In the test bed, the target's sh can be dash,
            // which has fewer features.
            "/bin/sh" => command.args(["/bin/bash", "-c", r#"exec -a /bin/sh /bin/bash "$0""#]),
            other => command.arg(other),
        };
        command.arg(format!("/{name}"));
        command
    }
}

fn write_script(path: &Path, body: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, body)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot write the script {}", path.display()))
}

fn open_log(path: &Path) -> Result<File> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open the log {}", path.display()))
}
