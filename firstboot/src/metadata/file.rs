//! Reads the document from a file on the node's disk, for operators who prepare the disks
//! themselves, or who copy the document to a node that is waiting for it.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use recipes::cluster::MetadataSource;

use super::document::{FoundDocument, LIMIT};
use super::source::{Source, SourceResult};
use crate::{files, paths};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::File,
    find: |_| find(Path::new(paths::NODE_FILE)),
};

/// The time for which an invalid file must stay unchanged before firstboot reports it. A program
/// that copies the document to the node may not have written all of it yet.
const COPY_TIME: Duration = Duration::from_secs(2);

fn find(path: &Path) -> Result<SourceResult> {
    if !path.exists() {
        let nothing = format!("{} does not exist", path.display());
        return Ok(SourceResult::Nothing(nothing));
    }
    let mut bytes = files::read_bounded(path, LIMIT)?;
    loop {
        match FoundDocument::parse(path.display().to_string(), &bytes) {
            Ok(found) => return Ok(found.into()),
            Err(error) => {
                sleep(COPY_TIME);
                let later = files::read_bounded(path, LIMIT)?;
                if later == bytes {
                    return Err(error);
                }
                bytes = later;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_still_being_copied_is_read_when_it_is_complete() {
        let document =
            r#"{"payloadType":"t","payload":"e30=","signatures":[{"keyid":"k","sig":"c2ln"}]}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.json");
        std::fs::write(&path, &document[..20]).unwrap();
        let copy = std::thread::spawn({
            let path = path.clone();
            move || {
                sleep(COPY_TIME / 4);
                std::fs::write(path, document).unwrap();
            }
        });
        assert!(matches!(find(&path).unwrap(), SourceResult::Found(_)));
        copy.join().unwrap();

        std::fs::write(&path, &document[..20]).unwrap();
        let error = find(&path).unwrap_err().to_string();
        assert!(
            error.contains("node.json is not a node document"),
            "{error}"
        );
    }
}
