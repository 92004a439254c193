//! Checks the accessibility of a page with Deque's axe-core, from the npm registry.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::Browser;
use crate::{cache, etcd, process};

const VERSION: &str = "4.14.1";
/// The SHA-256 digest of the package.
const SHA256: &str = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745";
/// The name of the script in the package.
const SCRIPT: &str = "axe.min.js";

/// Runs axe's rules for WCAG levels A and AA, and its best-practice rules. Returns the
/// violations, and the rules that the page satisfies.
const RUN: &str = r#"
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const show = (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}: ${node.failureSummary}`);
return axe.run(document, { runOnly: tags }).then((found) => ({
  faults: found.violations.flatMap(show),
  passed: found.passes.map((rule) => rule.id),
}));
"#;

impl Browser {
    /// Checks that axe finds no violation in the page.
    pub fn check_accessibility(&self) -> Result<()> {
        let script = fs::read_to_string(script()?)?;
        let found = self.evaluate(&format!("{script}\n{RUN}"))?;
        let list = |key: &str| found[key].as_array().cloned().unwrap_or_default();
        let faults: Vec<String> = list("faults").iter().map(Value::to_string).collect();
        ensure!(faults.is_empty(), "axe finds:\n{}", faults.join("\n"));
        // axe also reports no violations if it has not checked the page, so check that it applied
        // these rules.
        for rule in ["color-contrast", "document-title", "region"] {
            ensure!(
                list("passed").iter().any(|passed| passed == rule),
                "axe does not check {rule}: {found}"
            );
        }
        Ok(())
    }
}

/// Returns the path of the script, which `npm pack` fetches once.
fn script() -> Result<PathBuf> {
    let entry = cache::entry(&format!("axe-core-{VERSION}"), |folder| {
        let work = tempfile::tempdir().context("cannot make a temporary folder")?;
        eprintln!("fetching axe-core {VERSION} with npm pack: it is not in the cache");
        let mut npm = Command::new("npm");
        npm.current_dir(work.path())
            .args(["pack", "--silent", &format!("axe-core@{VERSION}")])
            .arg("--cache")
            .arg(work.path().join("npm"));
        process::run(&mut npm)?.ok()?;
        let package = work.path().join(format!("axe-core-{VERSION}.tgz"));
        let found = etcd::sha256(&package)?;
        ensure!(
            found == SHA256,
            "npm's axe-core {VERSION} has the sha256 {found}, expected {SHA256}"
        );
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(&package)?));
        for file in archive.entries()? {
            let mut file = file?;
            if file.path()?.ends_with(format!("package/{SCRIPT}")) {
                file.unpack(folder.join(SCRIPT))?;
            }
        }
        ensure!(folder.join(SCRIPT).is_file(), "the package has no {SCRIPT}");
        Ok(())
    })?;
    Ok(entry.join(SCRIPT))
}
