//! A finding: a fault in a configuration file for a node, and the rule that found the fault.

use std::ops::Range;

use recipes::{Diagnostic, Severity};

use super::text::TextSpan;

/// A finding: the diagnostic, and the name of the rule that found the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule, such as `unit/unknown-directive`. The file rules.rs lists all rules.
    pub(crate) rule: &'static str,
    /// The fault, its position, and its correction.
    pub(crate) diagnostic: Diagnostic,
}

impl Finding {
    /// Creates an error, which stops a build: usually, CentOS 7.9 refuses the text, or does not act
    /// as the text suggests.
    pub(super) fn error(
        rule: &'static str,
        span: impl Into<Span>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            diagnostic: Diagnostic::error(span.into().0, message),
        }
    }

    /// Creates a warning: the file works, but probably not as intended.
    pub(super) fn warning(
        rule: &'static str,
        span: impl Into<Span>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            diagnostic: Diagnostic::warning(span.into().0, message),
        }
    }

    /// Adds the effect on CentOS 7.9, which is shown after the caret.
    pub(super) fn effect(mut self, what: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.label(what);
        self
    }

    /// Adds advice on what to write instead.
    pub(super) fn fix(mut self, what: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.help(what);
        self
    }

    pub(crate) fn stops_build(&self, strict: bool) -> bool {
        strict || self.diagnostic.severity == Severity::Error
    }
}

/// A position in a file.
#[derive(Debug)]
pub(super) struct Span(Range<usize>);

impl From<Range<usize>> for Span {
    fn from(span: Range<usize>) -> Self {
        Self(span)
    }
}

impl From<TextSpan<'_>> for Span {
    fn from(part: TextSpan<'_>) -> Self {
        Self(part.span())
    }
}
