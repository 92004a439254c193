//! Tests a site without the Internet. The programs at the site run in a separate network, but can
//! read the mirror's folder.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::network::Network;
use tests::process::{self, KillOnDrop, Output};
use tests::programs;

use super::upstream::{SITE, Upstream};
use crate::fake_release::TARBALL;
use crate::fixtures::{check_output, snapshot, wait_for};

/// A site without the Internet.
struct Site {
    upstream: Upstream,
    network: Network,
}

/// Returns the recipe for the site: removes the lines with addresses on the Internet, and adds the
/// lines that `builder mirror` printed for the recipe.
fn site_recipe(text: &str, result: &Value) -> Result<String> {
    let lines = result["recipe"]
        .as_str()
        .context("no lines for the recipe")?;
    let mut sections = lines.split("\n\n");
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("mirrors =") && !line.starts_with("trees ="));
    let mut text = kept.collect::<Vec<_>>().join("\n") + "\n";
    for _ in 0..2 {
        let section = sections.next().context("a section is missing")?;
        let (header, keys) = section
            .split_once('\n')
            .context("the section has no keys")?;
        ensure!(text.contains(header), "{section}");
        let keys = format!("{header}\n{}\n", keys.trim_end());
        text = text.replacen(&format!("{header}\n"), &keys, 1);
    }
    for section in sections {
        write!(text, "\n{section}\n")?;
    }
    Ok(text)
}

impl Site {
    /// Returns a command that runs the builder in the site's network.
    fn command(&self) -> Result<Command> {
        let builder = programs::builder()?;
        Ok(self.network.world().command(&builder.to_string_lossy()))
    }

    /// Returns the command that serves the output and the mirror.
    fn serve(&self) -> Result<Command> {
        let mut serve = self.command()?;
        serve.arg("serve").arg(self.upstream.fixture.out());
        serve.args(["--listen", SITE, "--mirror"]);
        serve.arg(self.upstream.file(""));
        Ok(serve)
    }

    fn build(&self, more: &[&str]) -> Result<Output> {
        let command = self.upstream.fixture.command()?;
        process::run(self.command()?.args(command.get_args()).args(more))
    }

    /// Returns the text that the server returns for a path.
    fn page(&self, page: &str) -> Result<String> {
        let mut curl = self.network.world().command("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "10"])
            .arg(format!("http://{SITE}/{page}"));
        process::run(&mut curl)?.ok()
    }
}

pub(super) fn site() -> Result<()> {
    let site = Site {
        upstream: Upstream::new()?,
        network: Network::new()?,
    };
    let Site { upstream, .. } = &site;
    let fixture = &upstream.fixture;
    fixture.built()?;
    // The server refuses a folder that is not a complete mirror.
    let words = ["is not a complete mirror", "builder mirror RECIPE"];
    check_output(&process::run(&mut site.serve()?)?, 1, &words)?;
    let result = upstream.mirrored(&["--json"])?;
    let words = [
        "The site's recipe needs:",
        "[install]\ntrees = [\"http://10.101.15.1:8099/mirror/tree/\"]",
        "builder serve out --mirror",
    ];
    check_output(&upstream.run(&[])?, 0, &words)?;
    let asked = upstream.server().requests().len();

    // From here on, all programs run in the site's network.
    let text = fs::read_to_string(fixture.path("recipe.toml"))?;
    fs::write(fixture.path("recipe.toml"), site_recipe(&text, &result)?)?;
    fs::remove_dir_all(fixture.cache())?;
    let tarball = upstream.file(&format!("etcd/{TARBALL}"));
    let ran = site.build(&["--release", &tarball.to_string_lossy()])?;
    let words = ["release: from the given file", "SHA256SUMS"];
    check_output(&ran, 0, &words)?;
    let log = fixture.path("serve.log");
    let _serve = KillOnDrop::spawn(&site.serve()?, &File::create(&log)?)?;
    wait_for("the server starts", || {
        Ok(fs::read_to_string(&log)?.contains("serving "))
    })?;
    // Without `--release`, the builder fetches the release from the server.
    let words = format!("release: from http://{SITE}/mirror/etcd/");
    check_output(&site.build(&[])?, 0, &[&words])?;
    ensure!(site.page("mirror/mirror.json")?.contains("not-found"));
    let said = fs::read_to_string(&log)?;
    let installs = "not installed until you run `builder allow";
    ensure!(said.contains(installs), "it has no tree:\n{said}");

    // The server serves the whole mirror, so a mirror made from the server is identical, except for
    // mirror.json.
    let copy = fixture.path("copy-of-the-copy");
    process::run(upstream.mirror_to(&mut site.command()?, &copy))?.ok()?;
    let all = |folder| -> Result<_> {
        let mut all = snapshot(folder)?;
        all.retain(|path, _| path != "mirror.json");
        Ok(all)
    };
    ensure!(all(&upstream.file(""))? == all(&copy)?, "the copies differ");
    let requests = upstream.server().requests().len();
    ensure!(
        requests == asked,
        "a program at the site sent a request to the Internet"
    );
    Ok(())
}
