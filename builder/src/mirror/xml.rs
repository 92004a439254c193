//! Reads untrusted XML in bounded memory: the size of a tag, the length of text and the nesting
//! depth of elements are limited.

use std::io::{self, BufRead, BufReader, Read};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// The maximum size of a tag or of a piece of text.
const MAX_EVENT_BYTES: u64 = 256 << 10;
/// The maximum nesting depth. The metadata of repositories needs 5 levels.
const MAX_DEPTH: usize = 16;
/// The maximum number of stored characters of an element's text, such as a digest.
const MAX_TEXT_CHARS: usize = 1024;

/// A fault in a metadata file, with its byte position.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at byte {position})")]
pub(super) struct MetadataError {
    problem: String,
    position: u64,
}

impl MetadataError {
    /// Creates the error for a problem at a byte position.
    pub(super) fn new(problem: impl Into<String>, position: u64) -> Self {
        Self {
            problem: problem.into(),
            position,
        }
    }
}

/// A tag with its nesting depth. The root's depth is 1.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Start(usize, &'a Tag<'a>),
    /// The end of an element, with its name and the text since the last tag.
    End(usize, &'a str, &'a str),
}

#[derive(Debug)]
pub(super) struct Tag<'a>(BytesStart<'a>);

impl Tag<'_> {
    /// Returns the name of the element, without its namespace prefix.
    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(self.0.local_name().as_ref()).into_owned()
    }

    /// Returns the value of the attribute with this full name.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let found = self.0.try_get_attribute(name).ok()??;
        let value = found.normalized_value(XmlVersion::Implicit1_0).ok()?;
        Some(value.into_owned())
    }
}

/// Reads an input of at most `limit` bytes, and passes each tag to `visit`, which may refuse the
/// tag.
pub(super) fn read(
    input: impl Read,
    limit: u64,
    mut visit: impl FnMut(Node<'_>) -> Result<(), String>,
) -> Result<(), MetadataError> {
    let mut reader = Reader::from_reader(Bounded {
        inner: BufReader::with_capacity(64 << 10, input),
        event: 0,
        total: limit,
    });
    reader.config_mut().expand_empty_elements = true;
    let (mut buffer, mut text) = (Vec::new(), String::new());
    let mut depth = 0;
    loop {
        buffer.clear();
        reader.get_mut().event = MAX_EVENT_BYTES;
        let position = reader.buffer_position();
        let done = match reader.read_event_into(&mut buffer) {
            Err(error) => Err(format!("it is not well-formed XML: {error}")),
            Ok(Event::Eof) if depth == 0 => return Ok(()),
            Ok(Event::Eof) => Err("it ends inside an element".to_owned()),
            Ok(Event::DocType(_)) => {
                Err("it contains a document type declaration, which is not allowed".to_owned())
            }
            Ok(Event::Start(_)) if depth == MAX_DEPTH => Err(format!(
                "elements are nested more than {MAX_DEPTH} levels deep"
            )),
            Ok(Event::Start(tag)) => {
                depth += 1;
                text.clear();
                visit(Node::Start(depth, &Tag(tag)))
            }
            Ok(Event::End(tag)) => {
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                let done = visit(Node::End(depth, &name, text.trim()));
                depth -= 1;
                text.clear();
                done
            }
            Ok(Event::Text(piece)) => {
                let left = MAX_TEXT_CHARS.saturating_sub(text.chars().count());
                text.extend(String::from_utf8_lossy(&piece).chars().take(left));
                Ok(())
            }
            Ok(_) => Ok(()),
        };
        done.map_err(|problem| MetadataError { problem, position })?;
    }
}

/// A reader that limits the number of bytes for one event and for the whole input.
#[derive(Debug)]
struct Bounded<R> {
    inner: BufReader<R>,
    event: u64,
    total: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() {
            return Ok(bytes);
        }
        if self.total == 0 {
            return Err(io::Error::other("the file is too large"));
        }
        if self.event == 0 {
            return Err(io::Error::other("a tag or its text is too large"));
        }
        let most = usize::try_from(self.event.min(self.total)).unwrap_or(usize::MAX);
        Ok(&bytes[..bytes.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.event = self.event.saturating_sub(count as u64);
        self.total = self.total.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(text: &[u8], limit: u64) -> Result<Vec<String>, MetadataError> {
        let mut found = Vec::new();
        read(text, limit, |node| {
            found.push(match node {
                Node::Start(depth, tag) => format!("{depth} <{}", tag.name()),
                Node::End(depth, name, text) => format!("{depth} {name}> {text}"),
            });
            Ok(())
        })
        .map(|()| found)
    }

    #[test]
    fn tags_have_their_depth_and_text() {
        assert_eq!(
            nodes(
                b"<?xml version=\"1.0\"?><a><r:b> x </r:b><c d=\"1\"/></a>",
                1000
            )
            .unwrap(),
            ["1 <a", "2 <b", "2 b> x", "2 <c", "2 c> ", "1 a> "]
        );
    }

    #[test]
    fn files_that_are_too_large_too_deep_or_malformed_are_refused() {
        let long = format!("<a>{}</a>", "x".repeat(300 << 10));
        let wide = format!("<a b=\"{}\"/>", "x".repeat(300 << 10));
        let deep = "<a>".repeat(20);
        for (text, words) in [
            (long.as_str(), "too large"),
            (&wide, "too large"),
            (&deep, "nested more than 16 levels deep"),
            ("<a><b></a>", "not well-formed"),
            ("<a>", "ends inside"),
            (
                "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                "document type",
            ),
        ] {
            let error = nodes(text.as_bytes(), 1 << 20).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let many = format!("<a>{}</a>", "<b/>".repeat(100_000));
        assert!(nodes(many.as_bytes(), 1 << 20).is_ok());
        let error = nodes(many.as_bytes(), 1 << 10).unwrap_err().to_string();
        assert!(error.contains("the file is too large"), "{error}");
    }

    proptest! {
        #[test]
        fn no_input_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[<>/a&;!\\[\\]\"= -]{0,80}") {
            let _ = nodes(&bytes, 1 << 10);
            let _ = nodes(text.as_bytes(), 1 << 10);
        }
    }
}
