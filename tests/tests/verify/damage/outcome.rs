//! Determines how a real etcd handles a snapshot. The test restores the snapshot, starts etcd,
//! reads all data, makes etcd do its usual work, and starts etcd again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::etcd::StandaloneEtcd;

/// How an etcd behaves with a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// etcd's own program does not restore the snapshot.
    NotRestored(String),
    /// etcd does not start, or does not start a second time.
    NotStarted(String),
    /// etcd starts, but then an operation fails that succeeds with the undamaged snapshot.
    Fails(String),
    /// etcd starts, but `root` can no longer log in with its password.
    Locked,
    /// etcd starts without authentication.
    Open,
    /// etcd keeps working, with these contents.
    Lives(Value),
}

impl Outcome {
    /// Returns the outcome as one word. Compares the contents with the undamaged contents.
    pub(crate) fn label(&self, whole: &Self) -> &'static str {
        match self {
            Self::NotRestored(_) => "no-restore",
            Self::NotStarted(_) => "no-start",
            Self::Fails(_) => "fails",
            Self::Locked => "locked",
            Self::Open => "open",
            Self::Lives(_) if self == whole => "same",
            Self::Lives(_) => "differs",
        }
    }

    /// Returns the reason of a failure, or an empty string for the other outcomes.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::NotRestored(why) | Self::NotStarted(why) | Self::Fails(why) => why,
            _ => "",
        }
    }
}

const ARGUMENTS: [&str; 2] = ["--unsafe-no-fsync", "--logger=zap"];
/// The time limit for etcd's start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Restores the snapshot into an empty folder, runs this version of etcd there, and returns the
/// outcome.
pub(crate) fn run_etcd(version: &str, snapshot: &Path, folder: &Path) -> Result<Outcome> {
    if let Err(error) = StandaloneEtcd::restore(version, folder, snapshot) {
        return Ok(Outcome::NotRestored(last(&error)));
    }
    let etcd = match StandaloneEtcd::start_within(START_TIMEOUT, version, folder, &ARGUMENTS) {
        Ok(etcd) => etcd,
        Err(error) => return Ok(Outcome::NotStarted(last(&error))),
    };
    if etcd
        .post("/v3/kv/range", &format!(r#"{{"key":"{}"}}"#, code("k2")))
        .is_ok()
    {
        return Ok(Outcome::Open);
    }
    let login = etcd.post(
        "/v3/auth/authenticate",
        r#"{"name":"root","password":"pw"}"#,
    );
    let Ok(login) = login else {
        return Ok(Outcome::Locked);
    };
    let token = parsed(&login)?["token"]
        .as_str()
        .context("the answer contains no token")?
        .to_owned();
    let worked = disarm(&etcd, &token).and_then(|alarms| {
        let mut state = state(&etcd, &token)?;
        state["alarms"] = alarms;
        work(&etcd, &token).map(|()| state)
    });
    let state = match worked {
        Ok(state) => state,
        Err(error) => return Ok(Outcome::Fails(format!("{error:#}").replace('\n', " "))),
    };
    etcd.stop()?;
    match StandaloneEtcd::start_within(START_TIMEOUT, version, folder, &ARGUMENTS) {
        Ok(etcd) => etcd.stop()?,
        Err(error) => return Ok(Outcome::NotStarted(last(&error))),
    };
    Ok(Outcome::Lives(state))
}

/// Returns the first line that shows a reason. If etcd panics, the last lines of its output are a
/// stack trace.
fn last(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let telling = |line: &&str| {
        ["panic", "fatal", "rror"]
            .iter()
            .any(|word| line.contains(word))
    };
    let line = text
        .lines()
        .filter(|line| !line.contains("ended with"))
        .find(telling)
        .or_else(|| text.lines().last());
    line.unwrap_or_default().chars().take(300).collect()
}

fn code(text: &str) -> String {
    STANDARD.encode(text)
}

fn parsed(answer: &str) -> Result<Value> {
    let mut value: Value = serde_json::from_str(answer.lines().next().unwrap_or_default())
        .context(answer.to_owned())?;
    let mut answers = vec![&mut value];
    while let Some(answer) = answers.pop() {
        if let Some(object) = answer.as_object_mut() {
            // The header, which contains the answering member and the time, is not part of the
            // contents.
            object.remove("header");
            answers.extend(object.values_mut());
        }
    }
    Ok(value)
}

/// Returns the raised alarms, and disarms them, because etcd with an alarm refuses writes or even
/// all requests.
fn disarm(etcd: &StandaloneEtcd, token: &str) -> Result<Value> {
    let alarms = parsed(&etcd.post_as(token, "/v3/maintenance/alarm", r#"{"action":"GET"}"#)?)?;
    for alarm in alarms["alarms"].as_array().into_iter().flatten() {
        let mut disarm = alarm.clone();
        disarm["action"] = "DEACTIVATE".into();
        etcd.post_as(token, "/v3/maintenance/alarm", &disarm.to_string())?;
    }
    Ok(alarms)
}

/// Returns etcd's data: the keys at several revisions, the users, roles and leases, and whether
/// `joe` can log in.
fn state(etcd: &StandaloneEtcd, token: &str) -> Result<Value> {
    let ask = |path: &str, body: &str| parsed(&etcd.post_as(token, path, body)?);
    let all = format!(r#""key":"{0}","range_end":"{0}""#, code("\0"));
    let mut state = serde_json::Map::new();
    let answer = etcd.post_as(token, "/v3/kv/range", &format!("{{{all}}}"))?;
    let full: Value = serde_json::from_str(&answer)?;
    state.insert("revision".into(), full["header"]["revision"].clone());
    for revision in [15, 20, 33, 34] {
        // The error for a revision that is compacted or does not exist yet is also part of the
        // state.
        let keys = ask(
            "/v3/kv/range",
            &format!(r#"{{{all},"revision":"{revision}"}}"#),
        );
        state.insert(
            format!("keys at {revision}"),
            keys.unwrap_or_else(|error| format!("{error:#}").into()),
        );
    }
    for (kind, field) in [("user", "name"), ("role", "role")] {
        let list = ask(&format!("/v3/auth/{kind}/list"), "{}")?;
        for name in list[format!("{kind}s")].as_array().into_iter().flatten() {
            let one = ask(
                &format!("/v3/auth/{kind}/get"),
                &format!("{{\"{field}\":{name}}}"),
            )?;
            state.insert(format!("{kind} {name}"), one);
        }
    }
    let leases = ask("/v3/lease/leases", "{}")?;
    for lease in leases["leases"].as_array().into_iter().flatten() {
        let mut one = ask(
            "/v3/lease/timetolive",
            &format!(r#"{{"ID":{},"keys":true}}"#, lease["ID"]),
        )?;
        one.as_object_mut().and_then(|one| one.remove("TTL"));
        state.insert(format!("lease {}", lease["ID"]), one);
    }
    let joe = etcd.post(
        "/v3/auth/authenticate",
        r#"{"name":"joe","password":"pw2"}"#,
    );
    state.insert("joe logs in".into(), joe.is_ok().into());
    Ok(state.into())
}

/// Makes etcd do the usual work of a cluster: puts, a compaction, deletions, users, leases, and a
/// defragmentation.
fn work(etcd: &StandaloneEtcd, token: &str) -> Result<()> {
    let tell = |path: &str, body: &str| etcd.post_as(token, path, body);
    let mut put = String::new();
    for (key, value) in [("k2", "again"), ("new", "value")] {
        put = tell(
            "/v3/kv/put",
            &format!(r#"{{"key":"{}","value":"{}"}}"#, code(key), code(value)),
        )?;
    }
    let put: Value = serde_json::from_str(&put)?;
    let revision = put["header"]["revision"]
        .as_str()
        .context("the answer contains no revision")?;
    tell(
        "/v3/kv/compaction",
        &format!(r#"{{"revision":"{revision}","physical":true}}"#),
    )?;
    tell(
        "/v3/kv/deleterange",
        &format!(r#"{{"key":"{}","range_end":"{}"}}"#, code("k"), code("l")),
    )?;
    tell("/v3/auth/user/add", r#"{"name":"new","password":"x"}"#)?;
    tell("/v3/auth/user/grant", r#"{"user":"new","role":"reader"}"#)?;
    tell("/v3/auth/role/delete", r#"{"role":"reader"}"#)?;
    let leases = parsed(&tell("/v3/lease/leases", "{}")?)?;
    for lease in leases["leases"].as_array().into_iter().flatten() {
        tell(
            "/v3/lease/keepalive",
            &format!(r#"{{"ID":{}}}"#, lease["ID"]),
        )?;
        tell("/v3/lease/revoke", &format!(r#"{{"ID":{}}}"#, lease["ID"]))?;
    }
    let left = parsed(&tell("/v3/lease/leases", "{}")?)?;
    ensure!(
        left["leases"].is_null(),
        "leases are left that cannot be revoked: {left}"
    );
    tell("/v3/maintenance/defragment", "{}")?;
    if !etcd.get("/health")?.contains("true") {
        bail!("etcd is no longer healthy");
    }
    Ok(())
}
