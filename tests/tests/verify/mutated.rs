//! Tests snapshots with random damage at one or more positions, and with a corrected digest or
//! without a digest. For any bytes, the check finishes, uses little memory, and finds all damage
//! that etcdutl finds.
//!
//! `MUTATIONS=100000 SEED=7 cargo test -p tests --test verify -- at_random` runs longer, and with
//! different damage.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use tests::harness::{is_all, trial};
use tests::{etcd, process, programs};

use crate::fixtures::{snapshot, theirs};
use crate::image::{Image, PAGE, Used};
use crate::random::Random;

/// The number of files that `make test` and `make test-all` check.
const FILES: [u64; 2] = [100, 400];
/// The check's memory limit, including the program and its stacks. The limit is much lower than the
/// memory that a false length could request.
const MEMORY: &str = "--as=268435456";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_snapshot_damaged_at_random_is_checked_to_its_end",
        &[etcd::need("3.5.1")],
        at_random,
    )]
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn at_random() -> Result<()> {
    let good = snapshot("3.5.1")?;
    let bytes = fs::read(&good)?;
    let image = Image(bytes[..bytes.len() - 32].to_vec());
    let used = image.used();
    let path = good.with_file_name("damaged.db");
    let first = setting("SEED").unwrap_or(1);
    let (mut found, mut missed) = (0, 0);
    for seed in first..first + setting("MUTATIONS").unwrap_or(FILES[usize::from(is_all())]) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut harmed = image.clone();
        for _ in 0..=random.below(4) {
            harm(&mut harmed, &used, &mut random);
        }
        if random.below(12) == 0 {
            harmed.0.resize(random.below(image.0.len() + 4 * PAGE), 0);
        }
        let lived = random.below(3) == 0;
        fs::write(&path, if lived { harmed.0 } else { harmed.sealed() })?;
        let outcome = check(&path, lived).and_then(|is_good| match is_good {
            false => Ok(true),
            true if theirs("3.5.1", &path)?.is_none() => {
                bail!("etcdutl finds the damage, but firstboot does not")
            }
            true => Ok(false),
        });
        match outcome {
            Ok(true) => found += 1,
            Ok(false) => missed += 1,
            Err(error) => {
                let kept = std::env::temp_dir().join(format!("damaged-{seed}.db"));
                fs::copy(&path, &kept)?;
                return Err(error.context(format!("SEED={seed}, kept as {}", kept.display())));
            }
        }
    }
    println!(
        "of {} files, firstboot found damage in {found}, and both programs accepted {missed}",
        found + missed
    );
    ensure!(found > 0, "no damage was found in any file");
    Ok(())
}

/// Returns whether firstboot finds no damage in a file.
fn check(path: &Path, lived: bool) -> Result<bool> {
    let mut command = Command::new("prlimit");
    command
        .args([MEMORY, "timeout", "120"])
        .arg(programs::firstboot()?)
        .args(["snapshot", "verify", "--json"]);
    let ran = process::run(command.arg(path).args(lived.then_some("--skip-hash-check")))?;
    let code = ran.code();
    ensure!(
        code == 0 || code == 3,
        "`{}` exited with {code}:\n{}",
        ran.command,
        ran.stderr
    );
    let answer: serde_json::Value =
        serde_json::from_str(&ran.stdout).context("firstboot's output is not JSON")?;
    ensure!(
        answer["good"] == (code == 0),
        "exit code {code}, and {answer:#}"
    );
    Ok(code == 0)
}

/// Makes one change, mostly to the page headers and tables on which a reader relies.
fn harm(image: &mut Image, used: &[Used], random: &mut Random) {
    let pages = image.0.len() / PAGE;
    let strange = strange_numbers(pages);
    let page = *random.of(used);
    match random.below(11) {
        0 => {
            let at = random.below(image.0.len());
            image.0[at] ^= 1 << random.below(8);
        }
        1 | 2 => {
            let at = page.at() + random.below(16 + 16 * page.count);
            image.0[at] = u8::try_from(random.below(256)).unwrap_or_default();
        }
        3 | 4 => {
            let at = page.at() + 4 * random.below(4 + 4 * page.count);
            let width = *random.of(&[2, 4, 8]);
            let word = random.of(&strange).to_le_bytes();
            image.0[at..at + width].copy_from_slice(&word[..width]);
        }
        5 => {
            let field = 8 * random.below(7);
            let number = if random.below(2) == 0 {
                *random.of(&strange)
            } else {
                random.below(pages)
            };
            image.set_meta(field, number);
        }
        6 => {
            let (from, skip) = (random.of(used).at(), *random.of(&[0, 8]));
            image
                .0
                .copy_within(from + skip..from + PAGE, page.at() + skip);
        }
        7 => {
            let (at, length) = (random.below(image.0.len()), random.below(2 * PAGE));
            let end = (at + length).min(image.0.len());
            image.0[at..end].fill(u8::try_from(random.below(256)).unwrap_or_default());
        }
        8 => {
            // Change a byte among the keys and values themselves.
            let room = PAGE.saturating_sub(page.data() - page.at()).max(1);
            let at = (page.data() + random.below(room)).min(image.0.len() - 1);
            image.0[at] = u8::try_from(random.below(256)).unwrap_or_default();
        }
        _ => {
            let at = page.at() + 16 + 16 * random.below(page.count.max(1)) + 8;
            image.set_long(at, random.below(pages));
        }
    }
}

/// Returns numbers at and beyond the limits of fields.
fn strange_numbers(pages: usize) -> [usize; 13] {
    [
        0,
        1,
        2,
        3,
        0x10,
        0x7FFF,
        0xFFFF,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        usize::MAX,
        usize::MAX >> 1,
        pages - 1,
        pages,
    ]
}
