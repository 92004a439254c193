//! Reads a VMware machine's guestinfo, the values that the hypervisor stores for the guest.
//! firstboot reads guestinfo with open-vm-tools, because direct access to the hypervisor's I/O port
//! needs a privileged instruction.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recipes::cluster::{MetadataSource, Platform};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::document::{FoundDocument, LIMIT};
use super::source::{Query, Source, SourceResult};
use crate::runtime::block_on;

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Vmware,
    find,
};

const KEY: &str = "guestinfo.userdata";

/// The time limit for the hypervisor to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The programs that read guestinfo. firstboot tries vmtoolsd first, because vmware-rpctool fails
/// if only root may read guestinfo (`guest_rpc.rpci.auth.cmd.info-get`; vmware/open-vm-tools#690).
const TOOLS: [&[&str]; 2] = [&["vmtoolsd", "--cmd"], &["vmware-rpctool"]];

fn find(query: &Query<'_>) -> Result<SourceResult> {
    if let Some(answer) = query
        .platforms
        .why_not(Platform::Vmware)
        .map(SourceResult::NotAsked)
    {
        return Ok(answer);
    }
    read(&TOOLS)
}

fn read(tools: &[&[&str]]) -> Result<SourceResult> {
    for tool in tools {
        match block_on(value(tool, KEY))? {
            Value::NoTool => {}
            Value::Empty => return Ok(SourceResult::Nothing(format!("{KEY} is empty"))),
            Value::Text(text) => {
                return Ok(FoundDocument::parse(format!("{KEY} of VMware"), &text)?.into());
            }
        }
    }
    let remedy = "Add `open-vm-tools` to `packages` in the recipe's [install]";
    Ok(SourceResult::Nothing(format!(
        "{KEY} cannot be read: neither vmtoolsd nor vmware-rpctool is installed. {remedy}"
    )))
}

#[derive(Debug)]
enum Value {
    NoTool,
    Empty,
    Text(Vec<u8>),
}

async fn value(tool: &[&str], key: &str) -> Result<Value> {
    let (program, command) = (tool[0], format!("info-get {key}"));
    let mut child = match Command::new(program)
        .args(&tool[1..])
        .arg(&command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
    {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::NoTool),
        Err(error) => return Err(error).with_context(|| format!("cannot run {program}")),
    };
    let (stdout, stderr) = (
        child
            .stdout
            .take()
            .context("a bug: the child process has no pipe")?,
        child
            .stderr
            .take()
            .context("a bug: the child process has no pipe")?,
    );
    let ended = async {
        let (mut text, mut said) = (Vec::new(), Vec::new());
        stdout.take(LIMIT + 1).read_to_end(&mut text).await?;
        ensure!(
            text.len() as u64 <= LIMIT,
            "{key} has more than {LIMIT} bytes"
        );
        stderr.take(LIMIT).read_to_end(&mut said).await?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok((text, said, child.wait().await?))
    };
    let ended = tokio::time::timeout(ANSWER_TIMEOUT, ended).await;
    let (text, said, status) = ended.with_context(|| {
        format!("`{program} \"{command}\"` did not finish within {ANSWER_TIMEOUT:?}")
    })??;
    if said.starts_with("No value found") {
        return Ok(Value::Empty);
    }
    ensure!(
        status.success(),
        "`{program} \"{command}\"` failed ({status}): {said}"
    );
    // After cloud-init has read a value, it can overwrite the value with `---` (`redact` and
    // `cleanup-guestinfo` in its metadata).
    let is_empty = matches!(text.trim_ascii(), b"" | b"---");
    Ok(if is_empty {
        Value::Empty
    } else {
        Value::Text(text)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Runs a script in place of vmtoolsd.
    fn answer(script: &str) -> Result<SourceResult> {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        fs::write(
            &tool,
            format!("#!/bin/sh\n[ \"$2\" = 'info-get guestinfo.userdata' ] || exit 9\n{script}\n"),
        )
        .unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        read(&[
            &["/nowhere/vmtoolsd", "--cmd"],
            &[&tool.to_string_lossy(), "--cmd"],
        ])
    }

    #[test]
    fn guestinfo_is_read_through_the_installed_tool() {
        for (script, nothing) in [
            ("echo 'No value found' >&2; exit 1", true),
            ("echo ---", true),
            ("echo ' '", true),
            (
                r#"echo '{"payloadType":"t","payload":"e30=","signatures":[]}'"#,
                false,
            ),
            (
                r#"echo '{"payloadType":"t","payload":"e30=","signatures":[]}' | gzip | base64"#,
                false,
            ),
        ] {
            let answer = answer(script).unwrap();
            assert_eq!(
                matches!(answer, SourceResult::Nothing(_)),
                nothing,
                "{script}: {answer:?}"
            );
        }
        let denied = format!(
            "{:#}",
            answer("echo 'Permission denied' >&2; exit 1").unwrap_err()
        );
        assert!(denied.contains("Permission denied"), "{denied}");
        assert!(format!("{:#}", answer("cat /dev/zero").unwrap_err()).contains("more than"));
        let SourceResult::Nothing(none) = read(&[&["/nowhere/vmtoolsd"]]).unwrap() else {
            panic!()
        };
        assert!(none.contains("open-vm-tools"), "{none}");
    }
}
