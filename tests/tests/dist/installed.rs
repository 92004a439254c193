//! Installs each package as its users would, in a root that contains no other file of the project,
//! and then uses the package there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::overlay::Overlay;
use tests::requirement::Requirement;
use tests::{base, process, run};

use crate::commit::version_line;
use crate::contents::{shown, unpacked};
use crate::packages::package;

pub(crate) fn trials() -> Vec<Trial> {
    let bare = [
        Requirement::Root,
        Requirement::Packaging,
        Requirement::Mandoc,
        Requirement::Make,
    ];
    vec![
        trial("the_tarball_runs_in_an_empty_root", &bare, tarball),
        trial(
            "the_deb_installs_runs_and_is_removed_on_debian",
            &[&bare[..], &[Requirement::Debootstrap]].concat(),
            deb,
        ),
        trial(
            "the_rpm_installs_runs_and_is_removed_in_an_empty_root",
            &bare,
            rpm,
        ),
    ]
}

/// A root that has the programs installed below a prefix such as `/usr`.
struct Installed {
    root: PathBuf,
    prefix: String,
}

impl Installed {
    fn path(&self, path: &str) -> PathBuf {
        self.root
            .join(format!("{}/{path}", self.prefix).trim_start_matches('/'))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut chroot = Command::new("chroot");
        chroot
            .arg(&self.root)
            .arg(format!("{}/bin/{program}", self.prefix))
            .args(arguments);
        process::run(&mut chroot)?.ok()
    }

    /// Uses the installed programs as an operator would.
    fn works(&self) -> Result<()> {
        for program in ["builder", "firstboot"] {
            let said = self.run(program, &["--version"])?;
            ensure!(
                said == version_line(program)?,
                "{program} --version: {said:?}"
            );
        }
        let recipe = format!(
            "{}/share/doc/etcd-image/recipes/three-node.toml",
            self.prefix
        );
        let said = self.run("builder", &["check", &recipe])?;
        ensure!(said.contains("no errors"), "builder check: {said:?}");
        let page = self.path("share/man/man1/builder-check.1.gz");
        let shown = shown(&page)?;
        ensure!(
            shown.contains("builder check [--as]") && shown.contains("--strict"),
            "{}:\n{shown}",
            page.display()
        );
        self.completes("builder", "ver", "verify")?;
        self.completes("firstboot", "sna", "snapshot")?;
        for file in [
            "README.md",
            "LICENSE",
            "licences/crates.txt",
            "licences/glibc.txt",
            "docs/operating.md",
        ] {
            let path = self.path(&format!("share/doc/etcd-image/{file}"));
            let size = path
                .metadata()
                .with_context(|| path.display().to_string())?
                .len();
            ensure!(size > 0, "{} is empty", path.display());
        }
        Ok(())
    }

    /// Checks that bash completes `PROGRAM TYPED` to the word `whole` when the user presses Tab.
    fn completes(&self, program: &str, typed: &str, whole: &str) -> Result<()> {
        let script = "source \"$1\"; complete -p \"$2\" > /dev/null || exit; COMP_WORDS=(\"$2\" \"$3\"); COMP_CWORD=1
            \"_$2\" \"$2\" \"$3\" \"$2\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let completions = self.path(&format!("share/bash-completion/completions/{program}"));
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash"])
            .arg(completions)
            .args([program, typed]);
        let said = process::run(&mut bash)?.ok()?;
        ensure!(
            said == format!("{whole}\n"),
            "bash completes `{program} {typed}` to {said:?}"
        );
        Ok(())
    }

    /// Checks that the package's programs, documentation and manual pages are gone.
    fn is_gone(&self) -> Result<()> {
        for path in [
            "bin/builder",
            "bin/firstboot",
            "share/doc/etcd-image",
            "share/man/man1/builder.1.gz",
        ] {
            ensure!(
                !self.path(path).exists(),
                "{} is left",
                self.path(path).display()
            );
        }
        Ok(())
    }
}

fn tarball() -> Result<()> {
    let folder = unpacked()?;
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let root = folder
        .parent()
        .context("the folder of the tarball has no parent")?
        .to_path_buf();
    let owners = process::check(
        "tar",
        &[
            "-tvzf",
            &package(".tar.gz")?.to_string_lossy(),
            "--numeric-owner",
        ],
    )?;
    let others = owners.lines().find(|line| !line.contains(" 0/0 "));
    ensure!(others.is_none(), "the tarball has {others:?}");
    Installed {
        root,
        prefix: format!("/{name}"),
    }
    .works()
}

fn deb() -> Result<()> {
    let overlay = Overlay::new("deb", &base::base()?)?;
    let root = overlay.root();
    fs::copy(package(".deb")?, root.join("etcd-image.deb"))?;
    let dpkg = |arguments: &[&str]| {
        process::run(
            Command::new("chroot")
                .arg(&root)
                .arg("dpkg")
                .args(arguments),
        )?
        .ok()
    };
    dpkg(&["--install", "/etcd-image.deb"])?;
    let altered = dpkg(&["--verify", "etcd-image"])?;
    ensure!(altered.is_empty(), "dpkg --verify: {altered}");
    let installed = Installed {
        root: root.clone(),
        prefix: "/usr".into(),
    };
    installed.works()?;
    dpkg(&["--purge", "etcd-image"])?;
    installed.is_gone()
}

fn rpm() -> Result<()> {
    let root = run::current()?.folder("rpm")?;
    let rpm = |arguments: &[&str], file: Option<&Path>| {
        // By default, Debian's rpm keeps its database in the home folder of the user who runs rpm.
        // The option `--dbpath` sets the path that CentOS uses.
        let mut rpm = Command::new("rpm");
        rpm.arg("--root")
            .arg(&root)
            .args(["--dbpath", "/var/lib/rpm"])
            .args(arguments)
            .args(file);
        process::run(&mut rpm)?.ok()
    };
    rpm(&["--install"], Some(&package(".rpm")?))?;
    rpm(&["--verify", "etcd-image"], None)?;
    let installed = Installed {
        root: root.clone(),
        prefix: "/usr".into(),
    };
    installed.works()?;
    rpm(&["--erase", "etcd-image"], None)?;
    installed.is_gone()
}
