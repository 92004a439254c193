//! Reads the document from a file on the node's disk, for operators who prepare the disks
//! themselves.

use anyhow::Result;
use recipes::cluster::MetadataSource;

use super::document::{FoundDocument, LIMIT};
use super::source::{Source, SourceResult};
use crate::{files, paths};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::File,
    find: |_| find(paths::NODE_FILE),
};

fn find(path: &str) -> Result<SourceResult> {
    if !std::path::Path::new(path).exists() {
        return Ok(SourceResult::Nothing(format!("{path} does not exist")));
    }
    Ok(FoundDocument::parse(path, &files::read_bounded(path.as_ref(), LIMIT)?)?.into())
}
