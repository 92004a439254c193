//! Tests that need root.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The folders with the programs that the tested code runs. The tested code does not write to these
/// folders. Of the machine's other folders, the tested code can access only /dev.
const PROGRAMS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "usr/lib"];

/// Returns whether this process runs as root. If it does not, prints that the test is ignored.
pub(crate) fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        // Call `writeln!`, because the test harness would capture the output of `eprintln!`.
        let _ = writeln!(std::io::stderr(), "ignored: {test}: it needs root");
    }
    is_root
}

/// Calls the function in a thread that has a private root directory and a private network.
pub(crate) fn on_own_root(act: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let root = tempfile::tempdir()?;
    std::thread::scope(|scope| scope.spawn(|| on_root(root.path(), act)).join().unwrap())
}

/// Gives the calling thread its own host name, an empty network, and a root directory that contains
/// the machine's programs, /dev, and empty folders. This environment disappears when the thread
/// ends.
fn on_root(root: &Path, act: impl FnOnce() -> Result<()>) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNET)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for name in PROGRAMS {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        if from.exists() {
            fs::create_dir_all(&to)?;
            mount(
                Some(&from.canonicalize()?),
                &to,
                none,
                MsFlags::MS_BIND,
                none,
            )?;
        }
    }
    for name in ["dev", "etc", "run", "var/lib"] {
        fs::create_dir_all(root.join(name))?;
    }
    mount(
        Some("/dev"),
        &root.join("dev"),
        none,
        MsFlags::MS_BIND,
        none,
    )?;
    nix::unistd::chroot(root)?;
    nix::unistd::chdir("/")?;
    nix::unistd::sethostname("installed")?;
    act()
}
