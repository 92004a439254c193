//! Tests that a login is possible only as root and only with a key from the recipe.

use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::network::Link;
use tests::process::{self, Output};

use crate::bed::{Bed, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "root_logs_in_only_with_its_key",
        REQUIREMENTS,
        keys_only,
    )]
}

fn keys_only() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    for key in [&own, &other] {
        process::check(
            "ssh-keygen",
            &[
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "it's \"me\"",
                "-f",
                &text(key),
            ],
        )?;
    }
    let public = std::fs::read_to_string(own.with_extension("pub"))?;
    let bed = Bed::new(&format!("ssh-keys = ['''{}''']", public.trim()), "")?;
    let admin = bed.provisioning.network.add("admin")?;
    bed.host
        .sh("echo root:secret | chpasswd && useradd -m guest && echo guest:secret | chpasswd")?
        .ok()?;

    let entered = ssh(&admin, "root", &["-i", &text(&own)])?;
    ensure!(
        entered.stdout.trim() == "etcd-1.cluster.local",
        "{entered:?}"
    );
    for (user, options) in [
        ("root", &["-i", &text(&other)][..]),
        (
            "root",
            &[
                "-o",
                "PreferredAuthentications=password,keyboard-interactive",
            ],
        ),
        (
            "guest",
            &[
                "-o",
                "PreferredAuthentications=none,password,keyboard-interactive",
            ],
        ),
    ] {
        let refused = ssh(&admin, user, options)?;
        // The parentheses in the message list the methods that the server still accepts.
        ensure!(
            !refused.success() && refused.stderr.contains("Permission denied (publickey)"),
            "{refused:?}"
        );
    }
    Ok(())
}

fn ssh(from: &Link, user: &str, options: &[&str]) -> Result<Output> {
    let mut command = from.namespace.command("ssh");
    command.args([
        "-F",
        "none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    command.args([
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "NumberOfPasswordPrompts=1",
        "-o",
        "LogLevel=ERROR",
    ]);
    command
        .args(options)
        .arg(format!("{user}@10.101.15.101"))
        .arg("hostname");
    process::run(&mut command)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
