//! A folder with everything that the builder needs, and helpers to check the results.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::process::{self, Output};
use tests::server::FileServer;
use tests::{programs, run};

use crate::fake_release;

/// The time limit, which is longer than any step takes, even on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A good release, which is made only once.
struct Good {
    folder: PathBuf,
    sha256: String,
}

/// The folders that the builder uses. Each folder has its own parent folder, so that the tests can
/// detect files that the builder leaves next to the folder.
#[derive(Debug)]
pub(crate) struct Fixture {
    folder: PathBuf,
    firstboot: PathBuf,
    /// The mirror, which contains the stand-in release and can inject faults.
    pub(crate) server: FileServer,
}

impl Fixture {
    /// Makes a fixture with a recipe, and a mirror with the stand-in release. Nothing is built
    /// yet.
    pub(crate) fn new() -> Result<Self> {
        static GOOD: OnceLock<Good> = OnceLock::new();
        if GOOD.get().is_none() {
            let folder = run::current()?.folder("stand-in")?;
            let sha256 = fake_release::write(&folder, &fake_release::parts(fake_release::SIZE))?;
            // No other thread reaches this line, because the harness runs one test after another.
            let _ = GOOD.set(Good { folder, sha256 });
        }
        let good = GOOD.get().context("the release was not set")?;
        Self::of(&good.sha256, |mirror| copy(&good.folder, mirror))
    }

    /// Makes a fixture with a cache that another build has filled, for tests that do not test
    /// downloads.
    pub(crate) fn warm() -> Result<Self> {
        static CACHE: OnceLock<PathBuf> = OnceLock::new();
        let workshop = Self::new()?;
        if let Some(filled) = CACHE.get() {
            copy(filled, &workshop.cache())?;
        } else {
            let other = Self::new()?;
            other.built()?;
            let kept = run::current()?.folder("cache")?;
            copy(&other.cache(), &kept)?;
            copy(&kept, &workshop.cache())?;
            let _ = CACHE.set(kept);
        }
        Ok(workshop)
    }

    /// Makes a fixture with a different release.
    pub(crate) fn with(parts: &[fake_release::Part]) -> Result<Self> {
        let made = tempfile::tempdir()?;
        let sha256 = fake_release::write(made.path(), parts)?;
        Self::of(&sha256, |mirror| copy(made.path(), mirror))
    }

    fn of(sha256: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let folder = run::current()?.folder("builder")?;
        for name in ["mirror", "out", "pki", "cache"] {
            fs::create_dir(folder.join(name))?;
        }
        fill(&folder.join("mirror"))?;
        let server = FileServer::on_loopback(&folder.join("mirror"))?;
        let firstboot = fake_release::firstboot(&folder)?;
        let workshop = Self {
            folder,
            firstboot,
            server,
        };
        workshop.write_recipe(sha256, "")?;
        Ok(workshop)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.path("out/out")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.path("pki/pki")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache/cache")
    }

    /// Returns the path of the release's tarball in the mirror.
    pub(crate) fn tarball(&self) -> PathBuf {
        self.path("mirror").join(fake_release::TARBALL)
    }

    /// Writes the demo's recipe with the stand-in release pinned to a digest, and with additional
    /// text at the end.
    pub(crate) fn write_recipe(&self, sha256: &str, more: &str) -> Result<()> {
        let demo = fs::read_to_string(programs::recipe("demo"))?;
        let line = |line: &str| match line.split_once(" = ") {
            Some(("version", _)) => format!("version = \"{}\"\n", fake_release::VERSION),
            Some(("sha256", _)) => format!("sha256 = \"{sha256}\"\n"),
            Some(("mirrors", _)) => format!("mirrors = [\"{}\"]\n", self.server.url("")),
            _ => format!("{line}\n"),
        };
        let text: String = demo.lines().map(line).collect();
        fs::write(self.path("recipe.toml"), text + more).context("cannot write the recipe")
    }

    /// Returns the command `builder build` for this fixture's folders; the caller may add
    /// arguments.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(programs::builder()?);
        command.arg("build").arg(self.path("recipe.toml"));
        command
            .arg("--out")
            .arg(self.out())
            .arg("--pki")
            .arg(self.pki())
            .arg("--cache")
            .arg(self.cache());
        command.arg("--firstboot").arg(&self.firstboot);
        command.env_remove("SOURCE_DATE_EPOCH");
        Ok(command)
    }

    /// Runs `builder build` with additional arguments.
    pub(crate) fn build(&self, more: &[&str]) -> Result<Output> {
        process::run(self.command()?.args(more))
    }

    /// Runs a build, and checks that it succeeds.
    pub(crate) fn built(&self) -> Result<()> {
        self.build(&[])?.ok().map(drop)
    }

    /// Runs a build, and checks that it fails with code 1, prints these words, and leaves no
    /// output.
    pub(crate) fn refused(&self, more: &[&str], words: &[&str]) -> Result<Output> {
        let ran = self.build(more)?;
        check_output(&ran, 1, words)?;
        ensure!(
            names(&self.path("out"))?.is_empty(),
            "left behind: {:?}",
            names(&self.path("out"))?
        );
        Ok(ran)
    }

    /// Starts a build without waiting for it.
    pub(crate) fn start(&self, more: &[&str]) -> Result<Child> {
        let mut command = self.command()?;
        command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().context("cannot start the builder")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a `builder` command other than `build`.
pub(crate) fn builder(words: &[&str], folder: &Path) -> Result<Output> {
    process::run(Command::new(programs::builder()?).args(words).arg(folder))
}

/// Checks that a program exited with this code, printed all of these words, and did not panic.
pub(crate) fn check_output(ran: &Output, code: i32, words: &[&str]) -> Result<()> {
    ensure!(
        ran.code() == code,
        "exit code {} instead of {code}: {ran:#?}",
        ran.code()
    );
    for word in words {
        let said = ran.stderr.contains(word) || ran.stdout.contains(word);
        ensure!(
            said,
            "the output does not contain {word:?}:\n{}{}",
            ran.stderr,
            ran.stdout
        );
    }
    ensure!(
        !ran.stderr.contains("panicked"),
        "it panicked:\n{}",
        ran.stderr
    );
    Ok(())
}

/// Returns the sorted names in a folder, or no names if the folder does not exist.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn is_a(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// Everything below a folder: for each path the mode and, for a file, its content.
pub(crate) type Snapshot = BTreeMap<String, (u32, Option<Vec<u8>>)>;

/// Returns a snapshot of everything below a folder, which must not be empty.
pub(crate) fn snapshot(folder: &Path) -> Result<Snapshot> {
    let mut out = BTreeMap::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(next) = todo.pop() {
        for name in names(&next)? {
            let path = next.join(name);
            let about = path.symlink_metadata()?;
            let content = if about.is_file() {
                Some(fs::read(&path)?)
            } else {
                None
            };
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            out.insert(name, (about.permissions().mode() & 0o7777, content));
            if about.is_dir() {
                todo.push(path);
            }
        }
    }
    ensure!(!out.is_empty(), "{} is empty", folder.display());
    Ok(out)
}

/// Copies a folder and everything in it, including the modes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let words = [
        Path::new("-a"),
        Path::new("--no-target-directory"),
        from,
        to,
    ];
    process::run(Command::new("cp").args(words))?.ok().map(drop)
}

pub(crate) fn wait_for(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + WAIT_TIMEOUT;
    while !is()? {
        ensure!(Instant::now() < end, "not within {WAIT_TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Inverts all bits of one byte.
pub(crate) fn flip(path: &Path, at: usize) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    *bytes
        .get_mut(at)
        .with_context(|| format!("{} has no byte {at}", path.display()))? ^= 0xff;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
