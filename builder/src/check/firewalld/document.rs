//! The parsed files of firewalld, for the checks that compare several files.

use roxmltree::{Document, Error, Node, ParsingOptions};

use super::name;
use super::schema::Kind;
use crate::check::file::{File, Kind as FileKind};

/// Parses a file as firewalld's parser does.
pub(super) fn parse(text: &str) -> Result<Document<'_>, Error> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options)
}

/// A parsed file of a zone.
#[derive(Debug)]
pub(super) struct ZoneFile<'a> {
    /// The index of the file in the list of files.
    pub(super) index: usize,
    /// The path of the file.
    pub(super) path: &'a str,
    pub(super) document: Document<'a>,
}

impl ZoneFile<'_> {
    /// Returns the name of the zone that the file configures.
    pub(super) fn zone(&self) -> &str {
        name::zone(self.path)
    }

    /// Returns the elements of the zone itself, without the elements of its rules.
    pub(super) fn elements(&self) -> impl Iterator<Item = Node<'_, '_>> {
        self.document
            .root_element()
            .children()
            .filter(Node::is_element)
    }
}

/// Parses all zones in a list of files. Omits files that are not well-formed.
pub(super) fn zones<'a>(files: &'a [File<'a>]) -> Vec<ZoneFile<'a>> {
    let zone = |(index, file): (usize, &'a File<'a>)| {
        if FileKind::of(&file.path) != Some(FileKind::Firewalld) {
            return None;
        }
        let document = parse(file.text).ok()?;
        let root = document.root_element().tag_name().name();
        (Kind::of(&file.path, root) == Some(Kind::Zone)).then_some(ZoneFile {
            index,
            path: &file.path,
            document,
        })
    };
    files.iter().enumerate().filter_map(zone).collect()
}

/// Finds the file of one of the node's own services, ipsets or ICMP types.
pub(super) fn find<'f, 'a>(
    files: &'f [File<'a>],
    folder: &str,
    name: &str,
) -> Option<&'f File<'a>> {
    let own = format!("/firewalld/{folder}/{name}.xml");
    files.iter().find(|file| file.path.ends_with(&own))
}
