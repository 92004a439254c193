//! What two firstboots say to each other: one JSON document, the answer to one GET on the peer port.

use std::collections::BTreeSet;

use recipes::upgrade;
use recipes::{EtcdVersion, Label};
use serde::{Deserialize, Serialize};

use super::decide::{Memory, Phase, Words};
use super::epoch::Nonce;
use super::task::Task;

/// The path that is asked for. etcd serves nothing there.
pub(crate) const PATH: &str = "/firstboot/barrier";

/// Before a snapshot's digest: where a member hands out the one that it was told to restore.
pub(crate) const SNAPSHOTS: &str = "/firstboot/snapshot/";
/// The query of one who has something to say that the asked one has not heard yet: it does well to ask back at once.
pub(crate) const NEWS: &str = "news";

/// The newest form of the document that is known here.
const FORMAT: u32 = 1;

/// No answer is longer: some hundred bytes, and a name for each member given up.
pub(crate) const LIMIT: usize = 16 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    cluster: Label,
    name: Label,
    nonce: Nonce,
    #[serde(flatten)]
    phase: Phase,
    without: BTreeSet<Label>,
    task: Task,
    /// The version of its etcd; a firstboot of an earlier image does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etcd: Option<EtcdVersion>,
}

/// What a node with this memory and this etcd answers.
pub(crate) fn write(cluster: &Label, etcd: EtcdVersion, memory: &Memory) -> Vec<u8> {
    let document = Document {
        format: FORMAT,
        cluster: cluster.clone(),
        name: memory.name.clone(),
        nonce: memory.nonce,
        phase: memory.phase(),
        without: memory.without.clone(),
        task: memory.task,
        etcd: Some(etcd),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// What the member `name` of `cluster` answered, or why it is no answer of its. One whose etcd cannot be in a cluster with
/// the version `own` is not heard, so that no cluster is begun with both.
pub(crate) fn read(bytes: &[u8], cluster: &Label, own: EtcdVersion, name: &Label) -> Result<Words, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let of: Format = serde_json::from_slice(bytes).map_err(|_| "its answer is not firstboot's".to_owned())?;
    if of.format != FORMAT {
        return Err(format!("its firstboot speaks format {}, and this one {FORMAT}", of.format));
    }
    let Document { cluster: theirs, name: said, nonce, phase, without, task, etcd, .. } =
        serde_json::from_slice(bytes).map_err(|error| format!("its answer cannot be read: {error}"))?;
    if theirs != *cluster || said != *name {
        return Err(format!("it says that it is {said} of {theirs}"));
    }
    if let Some(obstacle) = etcd.and_then(|etcd| upgrade::beside(own, "its image", etcd)) {
        return Err(obstacle.to_string());
    }
    Ok(Words::Firstboot { nonce, phase, without, task })
}

#[cfg(test)]
mod tests {
    use super::*;
    use recipes::Sha256;

    fn label(name: &str) -> Label {
        name.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let memory = Memory {
            name: label("a"),
            initial: ["a", "b"].map(label).into(),
            without: [label("c")].into(),
            nonce: Nonce::of(7),
            epochs: vec![],
            task: Task::Rollback { cluster: 7 },
        };
        let (task, without) = (memory.task, memory.without.clone());
        let words = |phase| Words::Firstboot { nonce: Nonce::of(7), phase, without: without.clone(), task };
        let etcd = |text: &str| text.parse::<EtcdVersion>().unwrap();
        let (own, none) = (etcd("3.5.1"), etcd("3.6.14"));
        let written = write(&label("demo"), own, &memory);
        assert!(written.len() < LIMIT / 8);
        assert_eq!(read(&written, &label("demo"), own, &label("a")), Ok(words(Phase::Empty)));
        let epoch = Sha256::of(b"x");
        let ready = String::from_utf8(written.clone()).unwrap();
        let ready = ready.replace("\"empty\"", &format!("\"ready\",\"epoch\":\"{epoch}\""));
        assert_eq!(read(ready.as_bytes(), &label("demo"), own, &label("a")), Ok(words(Phase::Ready { epoch })));
        assert!(read(&written, &label("demo"), own, &label("b")).unwrap_err().contains("it is a of demo"));
        assert!(read(&written, &label("x"), own, &label("a")).is_err());
        let why = read(&written, &label("demo"), none, &label("a")).unwrap_err();
        assert!(why.contains("its image is etcd 3.5.1, and 3.6.14 cannot run beside it"), "{why}");
        // An earlier image's firstboot says no version.
        let mut earlier: serde_json::Value = serde_json::from_slice(&written).unwrap();
        earlier.as_object_mut().unwrap().remove("etcd");
        let earlier = serde_json::to_vec(&earlier).unwrap();
        assert_eq!(read(&earlier, &label("demo"), none, &label("a")), Ok(words(Phase::Empty)));
    }

    #[test]
    fn other_formats_and_garbage_are_named() {
        let (a, own) = (label("a"), "3.5.1".parse().unwrap());
        assert!(read(br#"{"format":2,"any":1}"#, &a, own, &a).unwrap_err().contains("format 2"));
        assert!(read(b"<html>", &a, own, &a).unwrap_err().contains("not firstboot's"));
        assert!(read(br#"{"format":1}"#, &a, own, &a).is_err());
    }
}
