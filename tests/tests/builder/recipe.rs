//! Tests the builder's messages about mistakes in a recipe.

mod no_file;

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process::{self, Output};
use tests::programs;

use crate::fixtures::{Fixture, builder, check_output, names};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "each_kind_of_mistake_in_a_recipe_is_shown_at_its_position",
            &[],
            each_kind,
        ),
        trial(
            "all_mistakes_in_a_recipe_are_reported_together",
            &[],
            at_once,
        ),
        trial("check_reports_the_same_findings_in_json", &[], as_json),
        trial("a_warning_is_an_error_only_on_request", &[], warnings),
        trial("a_file_that_is_not_a_recipe_is_refused", &[], no_recipe),
        trial(
            "a_fifo_or_folder_instead_of_a_file_is_refused_immediately",
            &[],
            no_file::no_file,
        ),
        trial("init_writes_a_complete_recipe_without_findings", &[], init),
    ]
}

/// Mistakes in the recipe `three-node`: the original text, its replacement, the position, and the
/// message.
const MISTAKES: [(&str, &str, &str, &[&str]); 19] = [
    (
        "domain",
        "domian",
        "5:1",
        &["unknown key `domian`", "did you mean `domain`?"],
    ),
    (
        "[firewall]",
        "[firewal]",
        "31:2",
        &["unknown key `firewal`", "did you mean `firewall`?"],
    ),
    (
        "\"3.6.14\"",
        "3.6",
        "24:11",
        &["must be a string, not a number", "expected a string"],
    ),
    (
        "[cluster]",
        "[[cluster]]",
        "3:1",
        &["`cluster` must be a table, not a list"],
    ),
    ("\"etcd-1\"", "\"etcd_1\"", "8:8", &["`_` is not allowed"]),
    (
        "\"10.101.15.101\"",
        "\"10.101.15.256\"",
        "9:11",
        &["bad value for `address`"],
    ),
    (
        "3.6.14",
        "3.9.1",
        "24:11",
        &["etcd 3.9.1 is not supported: expected 3.4 to 3.7"],
    ),
    (
        "ffe840",
        "ffe84",
        "25:10",
        &["64 hexadecimal digits", "63 characters"],
    ),
    (
        "https://github.com",
        "ftp://github.com",
        "27:5",
        &["expected a URL with http:// or https://"],
    ),
    (
        "10.101.15.0/24\"]",
        "10.101.15.7/24\"]",
        "32:12",
        &["did you mean 10.101.15.0/24?"],
    ),
    (
        "\"etcd-2\"",
        "\"etcd-1\"",
        "12:8",
        &[
            "two nodes have the name etcd-1",
            "etcd-1 already has this value",
        ],
    ),
    (
        "10.101.15.102",
        "10.101.15.101",
        "13:11",
        &["two nodes have the address 10.101.15.101"],
    ),
    (
        "10.101.15.103",
        "10.101.16.103",
        "17:11",
        &["10.101.16.103 is not an address of a host in the network"],
    ),
    (
        "gateway = \"10.101.15.1\"",
        "gateway = \"10.101.15.102\"",
        "21:11",
        &["is the address of the node etcd-2"],
    ),
    (
        "sha256 =",
        "# sha256 =",
        "23:1",
        &[
            "`sha256` is missing in [etcd]",
            "the digest pins the content of the release",
        ],
    ),
    (
        "[firewall]",
        "[tls]\nca-cert = \"a\"\n[firewall]",
        "32:11",
        &["`ca-cert` needs `ca-key`", "--pki folder"],
    ),
    (
        "[firewall]",
        "[tls]\ncertificate-days = 30\n[firewall]",
        "32:20",
        &["`renew-before-days` is 90 by default"],
    ),
    (
        "[network]",
        "[network]\nmode = \"statik\"",
        "20:8",
        &["expected one of: dhcp, static", "did you mean `static`?"],
    ),
    ("[network]", "[network", "19:9", &["this is not TOML"]),
];

/// A public key made with `ssh-keygen` 9.2.
const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9B4rFIiw+jpESNIw+TajrS8TLG4p+A6N0NGinRRdn1";

fn guide() -> Result<String> {
    fs::read_to_string(programs::recipe("three-node")).context("cannot read the recipe three-node")
}

fn changed(from: &str, to: &str) -> Result<String> {
    let text = guide()?;
    ensure!(
        text.contains(from),
        "the recipe three-node does not contain {from:?}"
    );
    Ok(text.replacen(from, to, 1))
}

fn each_kind() -> Result<()> {
    let workshop = Fixture::new()?;
    for (from, to, place, words) in MISTAKES {
        let text = changed(from, to)?;
        fs::write(workshop.path("recipe.toml"), &text)?;
        let ran = workshop.build(&[])?;
        let place = format!("recipe.toml:{place}");
        check_output(&ran, 3, words)
            .and_then(|()| check_output(&ran, 3, &[&place, "nothing was built"]))
            .context(to)?;
        // The message contains the line itself, with a caret below the line.
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let caret = lines
            .iter()
            .position(|line| line.trim_start().starts_with('|') && line.contains('^'));
        let caret = caret.with_context(|| format!("no caret for {to:?} in\n{}", ran.stderr))?;
        let quoted = lines[caret - 1]
            .split_once("| ")
            .map_or("", |(_, line)| line);
        ensure!(
            !quoted.is_empty() && text.contains(quoted),
            "the error for {to:?} quotes {quoted:?}, which is not a line of the recipe"
        );
        for folder in ["out", "pki", "cache"] {
            ensure!(
                names(&workshop.path(folder))?.is_empty(),
                "{to:?} left files in {folder}"
            );
        }
    }
    ensure!(
        workshop.server.requests().is_empty(),
        "the builder fetched something for a recipe with mistakes"
    );
    Ok(())
}

fn at_once() -> Result<()> {
    let workshop = Fixture::new()?;
    let text = changed("domain", "domian")?
        .replace("\"etcd-2\"", "\"-x\"")
        .replace("3.6.14", "x");
    fs::write(workshop.path("recipe.toml"), text)?;
    let ran = workshop.build(&[])?;
    let places = ["recipe.toml:5:1", "recipe.toml:12:8", "recipe.toml:24:11"];
    check_output(&ran, 3, &places)?;
    let order: Vec<_> = places.iter().map(|place| ran.stderr.find(place)).collect();
    ensure!(
        order.is_sorted(),
        "the errors are not in the order of their lines:\n{}",
        ran.stderr
    );
    let count = ran.stderr.matches("error: ").count();
    check_output(&ran, 3, &[&format!("{count} errors in ")])
}

fn as_json() -> Result<()> {
    let workshop = Fixture::new()?;
    let path = workshop.path("recipe.toml");
    fs::write(&path, changed("domain", "domian")?)?;
    let ran = builder(&["check", "--format", "json"], &path)?;
    check_output(&ran, 3, &[])?;
    let findings: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    let findings = findings.as_array().context("the findings are not a list")?;
    let finding = findings
        .iter()
        .find(|finding| finding["help"] == "did you mean `domain`?");
    let finding = finding.with_context(|| format!("{findings:#?}"))?;
    ensure!(
        finding["file"] == path.to_string_lossy().as_ref(),
        "{finding:#}"
    );
    ensure!(
        finding["line"] == 5 && finding["column"] == 1 && finding["severity"] == "error",
        "{finding:#}"
    );

    fs::write(
        &path,
        guide()? + &format!("\n[install]\nssh-keys = [\"{PUBLIC}\"]\n"),
    )?;
    let ran = builder(&["check", "--format", "json"], &path)?;
    ensure!(ran.code() == 0 && ran.stdout.trim() == "[]", "{ran:#?}");
    let ran = builder(&["check"], &path)?;
    ensure!(ran.stderr.is_empty(), "{ran:#?}");
    check_output(&ran, 0, &["no errors"])
}

fn warnings() -> Result<()> {
    let workshop = Fixture::new()?;
    let path = workshop.path("recipe.toml");
    let text = guide()? + "\n[[node]]\nname = \"etcd-4\"\naddress = \"10.101.15.104\"\n";
    fs::write(&path, text)?;
    check_output(
        &builder(&["check"], &path)?,
        0,
        &["warning: ", "4 members tolerate the loss of 1"],
    )?;
    check_output(&builder(&["check", "--strict"], &path)?, 3, &["4 members"])?;
    check_output(&workshop.build(&["--strict"])?, 3, &["nothing was built"])
}

fn no_recipe() -> Result<()> {
    let workshop = Fixture::new()?;
    let path = workshop.path("recipe.toml");
    fs::write(&path, b"name = \"\xff\"")?;
    check_output(&workshop.build(&[])?, 3, &["not UTF-8 at byte 8"])?;
    fs::write(&path, vec![b'#'; (1 << 20) + 1])?;
    check_output(
        &workshop.build(&[])?,
        3,
        &["recipe.toml has more than 1048576 bytes"],
    )?;
    fs::write(&path, b"\xff\xfe[\0")?;
    check_output(
        &workshop.build(&[])?,
        3,
        &["recipe.toml is UTF-16 text; save it as UTF-8"],
    )?;
    fs::write(&path, "")?;
    check_output(
        &workshop.build(&[])?,
        3,
        &[
            "the section [cluster] is missing",
            "no [[node]]",
            "the section [etcd] is missing",
        ],
    )?;
    fs::remove_file(&path)?;
    let ran = workshop.refused(&[], &["cannot read ", "recipe.toml", "No such file"])?;
    ensure!(
        ran.stderr.matches("(os error 2)").count() == 1,
        "one cause, reported more than once:\n{}",
        ran.stderr
    );
    fs::create_dir(&path)?;
    workshop
        .refused(&[], &["cannot read ", "recipe.toml"])
        .map(drop)
}

fn init() -> Result<()> {
    let workshop = Fixture::new()?;
    let (path, key) = (workshop.path("new.toml"), workshop.path("id"));
    let init = |more: &[&str]| -> Result<Output> {
        let mut command = Command::new(programs::builder()?);
        command.args(["init", "--recipe"]).arg(&path).args(more);
        process::run(command.args(["etcd-1=10.0.0.11", "etcd-2=10.0.0.12", "etcd-3=10.0.0.13"]))
    };
    fs::write(
        &key,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n",
    )?;
    let (private, public) = (
        key.to_string_lossy().into_owned(),
        format!("{}.pub", key.display()),
    );
    fs::write(&public, format!("{PUBLIC} Jane \"of\" C:\\ops\n"))?;
    check_output(
        &init(&["--ssh-key", &private])?,
        1,
        &[&format!(
            "{private} is a private key, which must stay secret"
        )],
    )?;
    check_output(
        &init(&["--ssh-key", "/no/key"])?,
        1,
        &["cannot read /no/key"],
    )?;
    ensure!(!path.exists(), "a refused `init` wrote a recipe");
    let ran = init(&["--ssh-key", &public, "--ssh-key", &public])?;
    ensure!(ran.stderr.is_empty(), "{ran:#?}");
    check_output(&ran, 0, &["new.toml: written"])?;
    let text = fs::read_to_string(&path)?;
    ensure!(text.matches(PUBLIC).count() == 1, "{text}");
    ensure!(
        text.contains(&format!("\"{PUBLIC} Jane \\\"of\\\" C:\\\\ops\"")),
        "{text}"
    );
    check_output(&builder(&["check", "--strict"], &path)?, 0, &["no errors"])?;
    check_output(
        &init(&[])?,
        1,
        &["already exists", "remove the file", "name another file"],
    )?;
    ensure!(
        fs::read_to_string(&path)? == text,
        "a recipe was overwritten"
    );

    fs::remove_file(&path)?;
    check_output(
        &init(&[])?,
        0,
        &[
            "warning: no one can log in to the nodes",
            "--ssh-key FILE",
            "new.toml: written",
        ],
    )?;
    check_output(&builder(&["check"], &path)?, 0, &["no errors"])
}
