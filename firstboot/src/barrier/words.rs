//! What two firstboots say to each other: one JSON document, the answer to one GET on the peer port.

use std::collections::BTreeSet;

use recipes::Label;
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
}

/// What a node with this memory answers.
pub(crate) fn write(cluster: &Label, memory: &Memory) -> Vec<u8> {
    let document = Document {
        format: FORMAT,
        cluster: cluster.clone(),
        name: memory.name.clone(),
        nonce: memory.nonce,
        phase: memory.phase(),
        without: memory.without.clone(),
        task: memory.task,
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// What the member `name` of `cluster` answered, or why it is no answer of its.
pub(crate) fn read(bytes: &[u8], cluster: &Label, name: &Label) -> Result<Words, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let of: Format = serde_json::from_slice(bytes).map_err(|_| "its answer is not firstboot's".to_owned())?;
    if of.format != FORMAT {
        return Err(format!("its firstboot speaks format {}, and this one {FORMAT}", of.format));
    }
    let Document { cluster: theirs, name: own, nonce, phase, without, task, .. } =
        serde_json::from_slice(bytes).map_err(|error| format!("its answer cannot be read: {error}"))?;
    if theirs != *cluster || own != *name {
        return Err(format!("it says that it is {own} of {theirs}"));
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
        let written = write(&label("demo"), &memory);
        assert!(written.len() < LIMIT / 8);
        assert_eq!(read(&written, &label("demo"), &label("a")), Ok(words(Phase::Empty)));
        let epoch = Sha256::of(b"x");
        let ready = String::from_utf8(written.clone()).unwrap();
        let ready = ready.replace("\"empty\"", &format!("\"ready\",\"epoch\":\"{epoch}\""));
        assert_eq!(read(ready.as_bytes(), &label("demo"), &label("a")), Ok(words(Phase::Ready { epoch })));
        assert!(read(&written, &label("demo"), &label("b")).unwrap_err().contains("it is a of demo"));
        assert!(read(&written, &label("x"), &label("a")).is_err());
    }

    #[test]
    fn other_formats_and_garbage_are_named() {
        let a = label("a");
        assert!(read(br#"{"format":2,"any":1}"#, &a, &a).unwrap_err().contains("format 2"));
        assert!(read(b"<html>", &a, &a).unwrap_err().contains("not firstboot's"));
        assert!(read(br#"{"format":1}"#, &a, &a).is_err());
    }
}
