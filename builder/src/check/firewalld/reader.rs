//! The interface of all readers of firewalld's files.

use super::element::Element;
use crate::check::finding::Finding;

/// A reader of one kind of file. A reader receives the file element by element, as firewalld does.
pub(super) trait Reader {
    /// Handles the start of a supported element that has all its required attributes.
    fn start(&mut self, at: &Element<'_>, out: &mut Vec<Finding>);

    /// Handles the end of an element. `text` is the text between the last opening tag and this
    /// closing tag.
    fn end(&mut self, at: &Element<'_>, text: &str, out: &mut Vec<Finding>);

    /// Handles the end of the file.
    fn finish(&mut self, _out: &mut Vec<Finding>) {}

    /// Returns whether firewalld currently skips all elements.
    fn ignores(&self) -> bool {
        false
    }
}
