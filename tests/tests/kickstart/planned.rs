//! Renders recipes with the real `builder plan`, and reads the result with other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tests::installer::{Kickstart, Kind};
use tests::requirement::Requirement;
use tests::{cache, process, programs};

pub(crate) const REQUIREMENTS: &[Requirement] = &[Requirement::Pip];
/// The newest version of pykickstart that still has a handler for RHEL 7.
const PYKICKSTART: &str = "pykickstart==3.78";

/// The builder's exit code for a recipe with errors.
const REFUSED: i32 = 3;

/// The settings that pykickstart finds in a kickstart, and the firewall rules that an XML parser
/// finds in the overlay.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ParsedKickstart {
    pub(crate) error: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) locked: bool,
    pub(crate) keys: Vec<String>,
    pub(crate) users: Vec<(String, u32, u32, String, bool)>,
    pub(crate) timezone: String,
    pub(crate) lang: String,
    pub(crate) keyboard: String,
    pub(crate) selinux: u8,
    pub(crate) url: String,
    pub(crate) repos: Vec<String>,
    pub(crate) packages: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) excluded: Vec<String>,
    pub(crate) disk: Vec<String>,
    pub(crate) append: String,
    pub(crate) parts: Vec<(String, String, String, Option<String>, u64)>,
    pub(crate) scripts: Vec<String>,
    pub(crate) rules: Vec<(String, String, String)>,
}

/// A rendered recipe.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) folder: PathBuf,
    pub(crate) kickstart: String,
}

impl Planned {
    /// Renders a recipe into a new folder `name`, and writes the files of its `%pre` for a machine
    /// with this disk. Returns `None` if the recipe does not pass the check.
    pub(crate) fn new(
        within: &Path,
        name: &str,
        recipe: &Path,
        disk: &str,
    ) -> Result<Option<Self>> {
        let folder = within.join(name);
        let arguments = [
            "plan",
            &recipe.display().to_string(),
            "--files",
            &folder.display().to_string(),
        ];
        let ran = programs::run_builder(&arguments)?;
        if ran.status.code() == Some(REFUSED) {
            return Ok(None);
        }
        ran.ok()?;
        let kickstart = fs::read_to_string(folder.join("centos7.ks"))?;
        let planned = Self { folder, kickstart };
        planned.run_pre(disk)?;
        Ok(Some(planned))
    }

    /// Returns the kickstart's scripts, as the stand-in installer's own parser reads them.
    pub(crate) fn scripts(&self) -> Result<Vec<(Kind, String)>> {
        let read = Kickstart::parse(&self.kickstart, &|_| Ok(None))?;
        let is_script = |kind| !matches!(kind, Kind::Packages | Kind::Addon | Kind::Anaconda);
        Ok(read
            .sections
            .into_iter()
            .filter(|s| is_script(s.kind))
            .map(|s| (s.kind, s.body))
            .collect())
    }

    pub(crate) fn overlay(&self, path: &str) -> Result<String> {
        let path = self.folder.join("overlay").join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Writes tree.ks and disk.ks, as `%pre` does.
    fn run_pre(&self, disk: &str) -> Result<()> {
        let scripts = self.scripts()?;
        let (_, pre) = scripts
            .iter()
            .find(|(kind, _)| *kind == Kind::Pre)
            .context("no %pre")?;
        let script = self.folder.join("pre");
        fs::write(&script, pre)?;
        let mut bash = Command::new("bash");
        bash.args(["-c", include_str!("pre.sh"), "pre.sh"])
            .arg(&script)
            .arg(&self.folder)
            .arg(disk);
        process::run(&mut bash)?.ok().map(drop)
    }
}

/// Returns the settings that pykickstart finds in each kickstart. A single process reads all
/// kickstarts.
pub(crate) fn read_with_pykickstart<'a>(
    planned: impl Iterator<Item = &'a Planned>,
) -> Result<Vec<ParsedKickstart>> {
    let library = cache::entry(&PYKICKSTART.replace("==", "-"), |folder| {
        let mut pip = Command::new("pip");
        pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--target",
        ]);
        process::run(pip.arg(folder).arg(PYKICKSTART))?
            .ok()
            .map(drop)
    })?;
    let folders: Vec<&Path> = planned.map(|planned| planned.folder.as_path()).collect();
    let script = cache::workspace().join("tests/tests/kickstart/read.py");
    let said = process::run(
        Command::new("python3")
            .env("PYTHONPATH", library)
            .arg(script)
            .args(&folders),
    )?;
    let said = if said.success() {
        said.stdout
    } else {
        bail!("read.py: {}", said.stderr)
    };
    let seen: Vec<ParsedKickstart> = serde_json::from_str(&said).context("read.py")?;
    ensure!(seen.len() == folders.len());
    Ok(seen)
}
