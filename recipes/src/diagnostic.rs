//! A finding: a fault in a file, the position of the fault, and how to correct it.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A warning: the file works, but probably not as intended.
    Warning,
    /// An error: the builder refuses the file, and builds nothing.
    Error,
}

/// The maximum number of characters of a message that are shown. The builder's own sentences are
/// shorter, so only a quoted value can make a message longer.
const LONGEST: usize = 600;

/// One finding in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The severity of the finding.
    pub severity: Severity,
    /// The fault, as one sentence without a full stop.
    pub message: String,
    /// The position of the fault, as byte offsets in the file.
    pub span: Range<usize>,
    /// The text that is shown after the caret: a short explanation of the fault, or of what was
    /// expected at that position. The text may be empty.
    pub label: String,
    /// Advice on how to correct the fault.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Creates an error at a position in the file.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: short(message.into()),
            span,
            label: String::new(),
            help: None,
        }
    }

    /// Creates a warning at a position in the file.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// Adds the text that is shown after the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = short(label.into());
        self
    }

    /// Adds a hint on how to correct the mistake.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(short(help.into()));
        self
    }

    /// Returns the line and the column at which the finding begins, both counted from 1. Counts the
    /// column in characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = &text[..floor(text, self.span.start)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// Returns the finding as text: the message, `path:line:column`, the line, a caret, and the
    /// help. `color` is set if the text is for a terminal.
    pub fn render(&self, path: &str, text: &str, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        // The library panics if a span is outside the text, or starts or ends within a character.
        let start = floor(text, self.span.start);
        let end = floor(text, self.span.end).max(start);
        // The library reads its whole source for each finding, so pass only the lines of this
        // finding.
        let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        let line = text[..from].matches('\n').count() + 1;
        let snippet = Snippet::source(&text[from..to]).line_start(line).path(path);
        let mut annotation = AnnotationKind::Primary.span(start - from..end - from);
        if !self.label.is_empty() {
            annotation = annotation.label(self.label.as_str());
        }
        let mut groups = vec![
            level
                .primary_title(self.message.as_str())
                .element(snippet.annotation(annotation)),
        ];
        if let Some(help) = &self.help {
            groups.push(Group::with_title(
                Level::HELP.secondary_title(help.as_str()),
            ));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.decor_style(DecorStyle::Ascii).render(&groups)
    }
}

/// Cuts the middle out of a message that is too long to read.
fn short(text: String) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text;
    }
    let part = |from: usize| {
        text.chars()
            .skip(from)
            .take(LONGEST / 2)
            .collect::<String>()
    };
    format!("{}…{}", part(0), part(count - LONGEST / 2))
}

/// Returns the last character boundary at or before position `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Finds the known word that the user probably meant.
pub fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    words
        .into_iter()
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_place_and_its_remedy() {
        let text = "[cluster]\nnaem = \"etcd\"\n";
        let finding = Diagnostic::error(10..14, "unknown key `naem`")
            .label("not a key")
            .help("did you mean `name`?");
        assert_eq!(finding.position(text), (2, 1));
        let shown = finding.render("a.toml", text, false);
        for part in [
            "error: unknown key `naem`",
            "a.toml:2:1",
            "naem = \"etcd\"",
            "^^^^ not a key",
            "did you mean `name`?",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn a_long_value_is_shortened_in_a_message() {
        let value = "ä".repeat(100_000);
        let text = format!("name = \"{value}\"\n");
        let quoted = || format!("`{value}` is not a name");
        let finding = Diagnostic::error(7..text.len(), quoted())
            .label(quoted())
            .help(quoted());
        let shown = finding.render("a.toml", &text, false);
        assert!(
            shown.chars().count() < 4000,
            "{} characters",
            shown.chars().count()
        );
        assert_eq!(shown.matches("ä` is not a name").count(), 3, "{shown}");
    }

    #[test]
    fn no_span_makes_the_renderer_panic() {
        let text = "é\n";
        for span in [0..1, 1..2, 2..9, 9..12, 2..2] {
            let finding = Diagnostic::warning(span, "x");
            assert!(!finding.render("a", text, true).is_empty());
            let _ = finding.position(text);
        }
    }
}
