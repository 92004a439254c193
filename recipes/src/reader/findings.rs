//! Values with their positions, and the findings about them.

use std::cell::RefCell;
use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity};

/// A value and its position in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    /// The value.
    pub(crate) value: T,
    /// The value's position, as byte offsets in the file.
    pub(crate) span: Range<usize>,
}

/// Collects the findings about a file.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<Diagnostic>>);

impl Findings {
    pub(crate) fn add(&self, diagnostic: Diagnostic) {
        self.0.borrow_mut().push(diagnostic);
    }

    /// Returns whether any of the findings is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.0
            .borrow()
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Returns all findings, sorted by their positions.
    pub(crate) fn sorted(self) -> Vec<Diagnostic> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|finding| finding.span.start);
        all
    }
}
