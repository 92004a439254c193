//! Reads the location of the document from the kernel's command line. The document itself is never
//! on the command line, because every user of the machine can read the command line.

use anyhow::Result;
use recipes::cluster::MetadataSource;

use super::document::LIMIT;
use super::location;
use super::source::{Query, Source, SourceResult};
use crate::files;

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Cmdline,
    find: |query| find(query, "/proc/cmdline"),
};

fn find(query: &Query<'_>, path: &str) -> Result<SourceResult> {
    let line = String::from_utf8_lossy(&files::read_bounded(path.as_ref(), LIMIT)?).into_owned();
    match line.split_ascii_whitespace().find_map(location::named) {
        Some(origin) => location::get(&origin, "the kernel's command line", query),
        None => Ok(SourceResult::Nothing(
            "the kernel's command line contains neither firstboot.node= nor \
                 ds=nocloud;s="
                .to_owned(),
        )),
    }
}
