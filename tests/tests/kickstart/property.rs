//! Tests properties of every recipe that passes the check: its kickstart parses, its scripts parse,
//! its XML is well-formed, and each string is preserved exactly.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use recipes::Recipe;
use recipes::recipe::SysctlSetting;
use tests::harness::{is_all, trial};
use tests::installer::Kind;
use tests::process;

use crate::planned::{ParsedKickstart, Planned, REQUIREMENTS, read_with_pykickstart};
use crate::strings;

/// The number of recipes that `make test` and `make test-all` render. About half of the generated
/// recipes pass the check.
const RENDERED_RECIPES: [usize; 2] = [15, 120];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "every_string_in_a_recipe_is_preserved",
        REQUIREMENTS,
        round_trip,
    )]
}

fn round_trip() -> Result<()> {
    let wanted = RENDERED_RECIPES[usize::from(is_all())];
    let folder = tempfile::tempdir()?;
    let (mut runner, strategy) = (TestRunner::default(), strings::recipe());
    let mut cases: Vec<(String, Recipe, Planned)> = Vec::new();
    let mut refused = 0;
    while cases.len() < wanted {
        let made = strategy
            .new_tree(&mut runner)
            .map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let text = made.current();
        let mut render = |recipe: &Recipe| {
            let name = cases.len().to_string();
            let path = folder.path().join(format!("{name}.toml"));
            fs::write(&path, &text)?;
            Planned::new(folder.path(), &name, &path, &strings::disk(recipe))
        };
        let recipe = recipes::recipe::read(&text).recipe;
        // If the parser refuses a recipe, the builder would refuse it too, so the test does not run
        // the builder. This saves much time.
        let planned = recipe
            .as_ref()
            .map(&mut render)
            .transpose()
            .with_context(|| format!("the recipe is\n{text}"))?;
        let (Some(recipe), Some(planned)) = (recipe, planned.flatten()) else {
            refused += 1;
            ensure!(refused < 50 * wanted, "almost no recipe passes the check");
            continue;
        };
        cases.push((text.clone(), recipe, planned));
    }
    println!("{wanted} recipes rendered, {refused} refused");
    let seen = read_with_pykickstart(cases.iter().map(|(_, _, planned)| planned))?;
    for ((text, recipe, planned), seen) in cases.iter().zip(seen) {
        same(recipe, planned, &seen).with_context(|| format!("{seen:?}\nthe recipe is\n{text}"))?;
    }
    Ok(())
}

fn same(recipe: &Recipe, planned: &Planned, seen: &ParsedKickstart) -> Result<()> {
    let install = &recipe.install;
    ensure!(seen.error.is_none(), "pykickstart: {:?}", seen.error);
    ensure!(
        seen.password == install.root_password.as_ref().map(ToString::to_string),
        "password"
    );
    ensure!(seen.locked == install.root_password.is_none());
    // `%post` writes the keys, because two sshkey lines for one user crash CentOS 7's parser.
    ensure!(
        seen.keys.is_empty() && keys(planned)? == texts(&install.ssh_keys),
        "keys"
    );
    ensure!(seen.timezone == install.timezone.to_string() && seen.lang == install.lang.to_string());
    ensure!(seen.keyboard == install.keyboard.to_string());
    for package in texts(&install.packages) {
        match package.strip_prefix('@') {
            Some(group) => ensure!(
                seen.groups.iter().any(|seen| seen == group),
                "no group {group}"
            ),
            None => ensure!(seen.packages.contains(&package), "no package {package}"),
        }
    }
    ensure!(seen.disk == [strings::disk(recipe)], "disk");
    ensure!(
        format!("{}/", seen.url) == install.trees[0].to_string(),
        "url"
    );
    let repos: Vec<String> = install
        .repos
        .iter()
        .map(|repo| repo.name.to_string())
        .collect();
    ensure!(seen.repos == repos, "{:?}", seen.repos);
    if let Some(console) = &install.console {
        ensure!(
            seen.append
                .ends_with(&format!(" console=tty0 console={console}")),
            "console"
        );
    }
    same_options(recipe, seen)?;
    ensure!(
        seen.users.len() == 1 && seen.scripts.len() == 5,
        "the number of users or scripts is wrong"
    );
    for (_, script) in planned.scripts()? {
        process::run(Command::new("bash").args(["-n", "-c", &script]))?
            .ok()
            .context("bash -n")?;
    }
    ensure!(trees(planned)? == texts(&install.trees), "trees");
    ensure!(
        array(planned, Kind::Post, "servers")? == texts(&install.servers),
        "servers"
    );
    files(recipe, planned, seen)
}

fn same_options(recipe: &Recipe, seen: &ParsedKickstart) -> Result<()> {
    let guide = recipe.tuning.profile == recipes::recipe::Profile::Guide;
    let options = if guide {
        "defaults,noatime,nodiratime,allocsize=64m"
    } else {
        "defaults,noatime"
    };
    let volume = seen
        .parts
        .iter()
        .find(|part| part.0 == "/var/lib/etcd")
        .context("no volume for etcd")?;
    ensure!(volume.3.as_deref() == Some(options), "{volume:?}");
    ensure!(
        seen.append.contains(&format!(" rootflags={options}")) == guide,
        "{}",
        seen.append
    );
    Ok(())
}

/// Checks the files in the overlay that contain a string from the recipe.
fn files(recipe: &Recipe, planned: &Planned, seen: &ParsedKickstart) -> Result<()> {
    let chrony = planned.overlay("etc/chrony.conf")?;
    for (word, hosts) in [
        ("server", &recipe.time.servers),
        ("pool", &recipe.time.pools),
    ] {
        let found = chrony
            .lines()
            .filter_map(|line| line.strip_prefix(word)?.strip_suffix(" iburst"));
        ensure!(
            found.map(str::trim).collect::<Vec<_>>() == texts(hosts),
            "{chrony}"
        );
    }
    let clients: Vec<String> = seen
        .rules
        .iter()
        .filter(|rule| rule.2 == "2379")
        .map(|rule| rule.1.clone())
        .collect();
    for client in texts(&recipe.firewall.clients) {
        ensure!(
            clients.contains(&client),
            "{client} is not a client in {clients:?}"
        );
    }
    let sysctl = planned.overlay("etc/sysctl.d/95-etcd.conf")?;
    for SysctlSetting { key, value, .. } in &recipe.tuning.sysctl {
        let set = |line: &str| {
            line.split_once('=')
                .is_some_and(|(k, v)| (k.trim(), v.trim()) == (&key.to_string(), value.trim()))
        };
        ensure!(
            sysctl.lines().any(set),
            "{key} = {value} is not in\n{sysctl}"
        );
    }
    let is_line = |line: &str| line.is_empty() || line.starts_with('#') || line.contains(" = ");
    ensure!(sysctl.lines().all(is_line), "{sysctl}");
    Ok(())
}

/// Returns the lines that `%post` writes into root's authorized_keys.
fn keys(planned: &Planned) -> Result<Vec<String>> {
    let scripts = planned.scripts()?;
    let lines = scripts.iter().flat_map(|(_, script)| script.lines());
    let keys = lines
        .skip_while(|line| !line.ends_with("<<'KEYS'"))
        .skip(1)
        .take_while(|line| *line != "KEYS");
    Ok(keys.map(str::to_owned).collect())
}

/// Returns the arguments that bash reads after `answers 'the installation tree' DIGEST` in `%pre`.
fn trees(planned: &Planned) -> Result<Vec<String>> {
    let scripts = planned.scripts()?;
    let line = scripts
        .iter()
        .flat_map(|(_, script)| script.lines())
        .find(|line| line.starts_with("answers 'the inst"));
    let script = format!(
        "answers() {{ shift 2; printf '%s\\n' \"$@\"; }}\n{}",
        line.context("no tree is requested")?
    );
    let said = process::run(Command::new("bash").args(["-c", &script]))?.ok()?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// Returns the elements that bash reads in a script's line `NAME=(…)`.
fn array(planned: &Planned, kind: Kind, name: &str) -> Result<Vec<String>> {
    let scripts = planned.scripts()?;
    let lines = scripts
        .iter()
        .filter(|(of, _)| *of == kind)
        .flat_map(|(_, script)| script.lines());
    let line = lines
        .clone()
        .find(|line| line.starts_with(&format!("{name}=(")))
        .with_context(|| format!("no {name}"))?;
    let script =
        format!("{line}\nfor word in \"${{{name}[@]}}\"; do printf '%s\\n' \"$word\"; done");
    let said = process::run(Command::new("bash").args(["-c", &script]))?.ok()?;
    Ok(said.lines().map(str::to_owned).collect())
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
