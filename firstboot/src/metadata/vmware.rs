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
use crate::exit::not_ready;
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
    read(&TOOLS, ANSWER_TIMEOUT, query.known)
}

/// Reads guestinfo with the first of the tools that is installed. A tool that fails can succeed
/// later, for example because the hypervisor is busy. If the node already has a document (`known`),
/// such a failure does not prevent the node from starting.
fn read(tools: &[&[&str]], limit: Duration, known: bool) -> Result<SourceResult> {
    for tool in tools {
        match block_on(value(tool, KEY, limit))? {
            Value::NoTool => {}
            Value::NoAnswer(why) if known => return Ok(SourceResult::Nothing(why)),
            Value::NoAnswer(why) => return Err(not_ready(why)),
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
    /// The tool failed, or did not end in time.
    NoAnswer(String),
    Empty,
    Text(Vec<u8>),
}

async fn value(tool: &[&str], key: &str, limit: Duration) -> Result<Value> {
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
    let ended = tokio::time::timeout(limit, ended).await;
    let Ok(ended) = ended else {
        return Ok(Value::NoAnswer(format!(
            "`{program} \"{command}\"` did not end within {limit:?}"
        )));
    };
    let (text, said, status) = ended?;
    if said.starts_with("No value found") {
        return Ok(Value::Empty);
    }
    if !status.success() {
        return Ok(Value::NoAnswer(format!(
            "`{program} \"{command}\"` failed ({status}): {said}"
        )));
    }
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
    use crate::exit::{Exit, code_of};

    /// Runs a script in place of vmtoolsd.
    fn answer(script: &str, known: bool) -> Result<SourceResult> {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        fs::write(
            &tool,
            format!("#!/bin/sh\n[ \"$2\" = 'info-get guestinfo.userdata' ] || exit 9\n{script}\n"),
        )
        .unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let tool = tool.to_string_lossy();
        let tools: [&[&str]; 2] = [&["/nowhere/vmtoolsd", "--cmd"], &[&tool, "--cmd"]];
        read(&tools, Duration::from_secs(1), known)
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
            let answer = answer(script, false).unwrap();
            assert_eq!(
                matches!(answer, SourceResult::Nothing(_)),
                nothing,
                "{script}: {answer:?}"
            );
        }
        let endless = answer("cat /dev/zero", false).unwrap_err();
        assert!(format!("{endless:#}").contains("more than"), "{endless:#}");
        let SourceResult::Nothing(none) =
            read(&[&["/nowhere/vmtoolsd"]], ANSWER_TIMEOUT, false).unwrap()
        else {
            panic!()
        };
        assert!(none.contains("open-vm-tools"), "{none}");
    }

    #[test]
    fn a_tool_that_fails_delays_a_new_node_and_does_not_stop_a_member() {
        for (script, why) in [
            ("echo 'Permission denied' >&2; exit 1", "Permission denied"),
            ("exec sleep 60", "did not end within"),
        ] {
            let new = answer(script, false).unwrap_err();
            assert_eq!(code_of(&new), Exit::NotReady, "{new:#}");
            assert!(new.to_string().contains(why), "{new:#}");
            let SourceResult::Nothing(member) = answer(script, true).unwrap() else {
                panic!("{script}")
            };
            assert!(member.contains(why), "{member}");
        }
    }
}
