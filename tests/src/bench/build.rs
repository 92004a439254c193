//! Compares `builder build` with a warm cache to `tar | gzip -6` of the same tree.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Row, table, timed};
use crate::{etcd, process, programs};

/// A command that archives a tree without the builder: sorted, with numeric owners, and without the
/// time in gzip's header.
const BY_HAND: &str = "tar --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -C \"$1\" -cf - . | gzip -n -6 > \"$2\"";

/// Measures `builder build` and the command alternately, `runs` times each, and returns the table.
///
/// The builder does more than tar and gzip: it checks the release, writes the kickstart and the
/// manifest, signs the manifest, makes each node's documents, and flushes everything to disk. The
/// benchmark also measures a build with a warm cache after a change to the recipe. After such a
/// change, the builder compresses only the small files again.
pub fn run(runs: usize) -> Result<String> {
    let release = etcd::release("3.5.1")?;
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = |name: &str| work.path().join(name);
    let recipe = fs::read_to_string(programs::recipe("demo"))?;
    fs::write(path("recipe.toml"), &recipe)?;
    let build = || -> Result<()> {
        let mut builder = Command::new(programs::builder()?);
        builder
            .arg("build")
            .arg(path("recipe.toml"))
            .arg("--out")
            .arg(path("out"));
        process::run(builder.arg("--cache").arg(path("cache")).arg("--offline"))?
            .ok()
            .map(drop)
    };
    // Put the tarball into the cache, as a download would.
    let cached = path("cache/releases");
    fs::create_dir_all(&cached)?;
    fs::copy(
        &release.tarball,
        cached.join(format!("{}.tar.gz", release.sha256)),
    )?;
    let cold = timed(build)?;
    let overlay = path("out/image/overlay.tar.gz");
    let tree = path("tree");
    fs::create_dir(&tree)?;
    let untar = [Path::new("-xzf"), &overlay, Path::new("-C"), &tree];
    process::run(Command::new("tar").args(untar))?
        .ok()
        .context("cannot unpack the overlay")?;

    let by_hand = || -> Result<()> {
        let mut shell = Command::new("sh");
        process::run(
            shell
                .args(["-c", BY_HAND, "sh"])
                .arg(&tree)
                .arg(path("by-hand.tar.gz")),
        )?
        .ok()
        .map(drop)
    };
    by_hand()?;
    let mut times: [Vec<_>; 3] = Default::default();
    for nth in 0..runs {
        times[0].push(timed(build)?);
        times[2].push(timed(by_hand)?);
        let changed = format!(
            "{recipe}\n[tuning.sysctl]\n\"vm.swappiness\" = \"{}\"\n",
            nth % 100
        );
        fs::write(path("recipe.toml"), changed)?;
        times[1].push(timed(build)?);
        fs::write(path("recipe.toml"), &recipe)?;
    }
    let rows = rows(times, &overlay, &path("by-hand.tar.gz"))?;
    Ok(format!(
        "{}{runs} runs of each, alternating; the first build, with a cold cache, took {cold:.1?}\n",
        table(&rows)
    ))
}

/// Returns the rows of the table. Each row contains the times of one kind of run, and the size of
/// its archive.
fn rows(times: [Vec<Duration>; 3], overlay: &Path, by_hand: &Path) -> Result<[Row; 3]> {
    let size = |path: &Path| {
        fs::metadata(path)
            .map(|about| about.len())
            .with_context(|| path.display().to_string())
    };
    let [same, changed, tar] = times;
    let bytes = Some(size(overlay)?);
    Ok([
        Row {
            name: "builder build".to_owned(),
            times: same,
            bytes,
        },
        Row {
            name: "builder build, a sysctl changed".to_owned(),
            times: changed,
            bytes,
        },
        Row {
            name: "tar | gzip -6".to_owned(),
            times: tar,
            bytes: Some(size(by_hand)?),
        },
    ])
}
