//! Explains the errors that the TOML parser reports for a broken file. The parser reports only the
//! characters that it expected. This module examines the faulty line, which usually shows what the
//! user meant to write.

use std::ops::Range;

use crate::diagnostic::Diagnostic;

/// The maximum number of mistakes to report. A longer list would not help the user.
const MAX_MISTAKES: usize = 20;

/// Returns the findings for the parser's errors. There is at most one finding for each line,
/// because a second error on a line is usually a consequence of the first.
pub(crate) fn explain(text: &str, errors: &[(Range<usize>, String)]) -> Vec<Diagnostic> {
    let mut lines = Vec::new();
    let mut headers = Vec::new();
    let mut out = Vec::new();
    for (span, message) in errors {
        let line = Line::at(text, span.start);
        if lines.contains(&line.start) {
            continue;
        }
        if out.len() == MAX_MISTAKES {
            let rest = format!("the file has more than {MAX_MISTAKES} syntax errors");
            out.push(Diagnostic::error(span.clone(), rest).help("correct these first"));
            break;
        }
        lines.push(line.start);
        if message.contains("duplicate key")
            && let Some(name) = line.header()
        {
            if headers.contains(&name) {
                continue;
            }
            headers.push(name);
        }
        out.push(one(text, &line, span, message));
    }
    out
}

fn one(text: &str, line: &Line<'_>, span: &Range<usize>, message: &str) -> Diagnostic {
    if message.contains("duplicate key") {
        return duplicate(text, line, span);
    }
    let error = |span: Range<usize>, message: &str| Diagnostic::error(span, message.to_owned());
    if let Some((at, character)) = line.strange() {
        let code = u32::from(character);
        let place = line.start + at..line.start + at + character.len_utf8();
        return match character {
            '“' | '”' | '„' | '‘' | '’' | '«' | '»' => {
                error(place, "this is a typographic quotation mark")
                    .help("write the ASCII quotation mark: \"")
            }
            '\r' => error(place, "no line feed follows this carriage return")
                .help("use one kind of line ending throughout the file, LF or CRLF"),
            _ if character.is_control() => {
                error(place, &format!("this is a control character, U+{code:04X}"))
                    .help("remove the character, and save the file as UTF-8 text")
            }
            _ => error(
                place,
                &format!("this is an invisible character, U+{code:04X}"),
            )
            .help("replace the character with a plain space"),
        };
    }
    if let Some(finding) = other_language(line) {
        return finding;
    }
    if message.starts_with("missing comma") {
        // For a missing comma, the parser reports the end of the previous value.
        let next = line
            .text
            .get(span.start.saturating_sub(line.start)..)
            .unwrap_or_default()
            .trim_start();
        let place = line
            .word(line.place(next).start)
            .filter(|word| !word.is_empty())
            .map(|word| line.place(word));
        return error(
            place.unwrap_or(span.clone()),
            "a comma is missing before this value",
        )
        .help("write a comma between two values");
    }
    if message.starts_with("cannot extend value")
        && let Some(key) = text.get(span.clone())
    {
        let found =
            format!("`{key}` already has a value, so this line cannot set a key of `{key}`");
        return error(span.clone(), &found)
            .help("remove this line, or the line that sets the value");
    }
    match line.pair() {
        Some((key, value)) => pair(line, key, value, span, message),
        None => raw(span, message),
    }
}

/// Recognises a line in the syntax of a different language.
fn other_language(line: &Line<'_>) -> Option<Diagnostic> {
    let trimmed = line.text.trim();
    let error = |part: &str, message: &str, help: &str| {
        Some(Diagnostic::error(line.place(part), message.to_owned()).help(help.to_owned()))
    };
    if trimmed.starts_with('{') || trimmed.starts_with("---") {
        let help = "`builder init` writes a first recipe; docs/recipe.md describes every key";
        return error(
            &trimmed[..1],
            "this is JSON or YAML, but a recipe is TOML",
            help,
        );
    }
    if trimmed.starts_with("//") || trimmed.starts_with("/*") || trimmed.starts_with("--") {
        return error(
            &trimmed[..2],
            "a comment in TOML begins with #",
            "write # before the comment",
        );
    }
    if let Some(item) = trimmed.strip_prefix("- ") {
        let help = match item.split_once(':') {
            Some((key, value)) => format!(
                "write {}; if the key describes a node, put the key under [[node]]",
                written(key, value)
            ),
            None => format!("write a list, such as key = [\"{}\"]", unquoted(item)),
        };
        return error(
            &trimmed[..1],
            "this is a YAML list, but a recipe is TOML",
            &help,
        );
    }
    let (key, value) = trimmed.split_once(':').filter(|_| !trimmed.contains('='))?;
    let is_word = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_word && value.trim().is_empty() {
        return error(
            trimmed,
            "this is YAML, but a recipe is TOML",
            &format!("write a section as [{key}]"),
        );
    }
    if is_word {
        return error(
            trimmed,
            "expected `=` between a key and its value",
            &format!("write {}", written(key, value)),
        );
    }
    None
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches(['"', '\''])
}

/// Formats a key and a string as `key = "value"`.
fn written(key: &str, value: &str) -> String {
    format!("{} = \"{}\"", key.trim(), unquoted(value))
}

/// Explains an error in a line of the form `key = value`.
fn pair(line: &Line<'_>, key: &str, value: &str, span: &Range<usize>, message: &str) -> Diagnostic {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    if !key.contains(['"', '\'']) && !key.chars().all(bare) {
        let place = line.place(key);
        let finding = Diagnostic::error(place, format!("the key `{key}` needs quotes"));
        return finding.help(format!("write \"{key}\" = …"));
    }
    if span.start < line.place(value).start {
        return raw(span, message);
    }
    let quotes = value.matches('"').count();
    if value.starts_with('"') && quotes == 1 {
        return Diagnostic::error(line.place(value), "the string is not closed")
            .help("end the string with \"");
    }
    // The wrong value may be one of several values on the line.
    let word = line.word(span.start).unwrap_or(value);
    if word.starts_with(['"', '\'', '[', '{']) || word.is_empty() {
        return raw(span, message);
    }
    let (place, as_text) = (line.place(word), format!("\"{word}\""));
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "true" | "false" => {
            let message = format!("`{word}` must be in lower case");
            Diagnostic::error(place, message).help(format!("write {lower}"))
        }
        "yes" | "on" | "no" | "off" => {
            let meant = if matches!(lower.as_str(), "yes" | "on") {
                "true"
            } else {
                "false"
            };
            let message = format!("`{word}` is neither true nor false, nor a string in quotes");
            Diagnostic::error(place, message)
                .help(format!("write {meant}, or {as_text} if you mean a string"))
        }
        _ => Diagnostic::error(place, format!("`{word}` needs quotes"))
            .help(format!("write {as_text}")),
    }
}

fn raw(span: &Range<usize>, message: &str) -> Diagnostic {
    Diagnostic::error(span.clone(), format!("this is not TOML: {message}"))
}

/// Reports a duplicate key or section. A section `[node]` counts as the first occurrence of
/// `[[node]]`.
fn duplicate(text: &str, line: &Line<'_>, span: &Range<usize>) -> Diagnostic {
    let mut section = "";
    let mut first = None;
    for (number, other) in text.lines().enumerate() {
        let at = other.as_ptr() as usize - text.as_ptr() as usize;
        let other = Line {
            text: other,
            start: at,
        };
        if at >= line.start {
            break;
        }
        let same = match (line.header(), other.header()) {
            (Some(own), Some(name)) => own == name,
            (None, Some(_)) => {
                (section, first) = (other.text, None);
                false
            }
            (None, None) => line.key().is_some() && line.key() == other.key(),
            (Some(_), None) => false,
        };
        if same && first.is_none() {
            first = Some((number + 1, other.text.trim()));
        }
    }
    let what = line.text.trim();
    let finding = match (line.header(), line.key()) {
        (Some(name), _) => {
            let place = line.place(name);
            match first {
                Some((number, header)) if what.starts_with("[[") && !header.starts_with("[[") => {
                    let message = format!("line {number} is [{name}], but this line is [[{name}]]");
                    return Diagnostic::error(place, message)
                        .help(format!("change line {number} to [[{name}]]"));
                }
                _ => Diagnostic::error(place, format!("the section [{name}] occurs twice")),
            }
        }
        (None, Some(key)) => {
            let section = if section.is_empty() {
                String::new()
            } else {
                format!(" in {section}")
            };
            Diagnostic::error(line.place(key), format!("`{key}` is set twice{section}"))
        }
        (None, None) => return raw(span, "duplicate key"),
    };
    match first {
        Some((number, _)) => finding
            .label(format!("the first occurrence is on line {number}"))
            .help("remove one of the two"),
        None => finding,
    }
}

/// One line of the file, without its line break.
struct Line<'a> {
    text: &'a str,
    /// The offset in the file at which the line begins.
    start: usize,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, at: usize) -> Self {
        let at = (0..=at.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = text[start..]
            .find('\n')
            .map_or(text.len(), |end| start + end);
        let line = &text[start..end];
        Self {
            text: line.strip_suffix('\r').unwrap_or(line),
            start,
        }
    }

    /// Returns the position, within the file, of a part of this line.
    fn place(&self, part: &str) -> Range<usize> {
        let at = self.start + (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        at..at + part.len()
    }

    /// Returns the name if the line is `[name]` or `[[name]]`.
    fn header(&self) -> Option<&'a str> {
        let text = self.text.trim();
        let inner = text.strip_prefix("[[").or_else(|| text.strip_prefix('['))?;
        Some(inner[..inner.find(']')?].trim())
    }

    /// Returns the key and the value if the line is `key = value`. Omits a comment after a value
    /// that is not a string.
    fn pair(&self) -> Option<(&'a str, &'a str)> {
        let (key, value) = self.text.split_once('=')?;
        let value = value.trim();
        let end = if value.starts_with(['"', '\'']) {
            value.len()
        } else {
            value.find('#').unwrap_or(value.len())
        };
        Some((key.trim(), value[..end].trim()))
    }

    fn key(&self) -> Option<&'a str> {
        self.pair().map(|(key, _)| key)
    }

    /// Returns the word at this position in the file. A comma, a closing bracket or brace, a `#` or
    /// the end of the line ends the word.
    fn word(&self, at: usize) -> Option<&'a str> {
        let at = at
            .checked_sub(self.start)
            .filter(|at| self.text.is_char_boundary(*at))?;
        let begins = |c: char| "=,[{ \t".contains(c);
        let start = self.text[..at].rfind(begins).map_or(0, |end| end + 1);
        let rest = &self.text[start..];
        let end = rest.find([',', ']', '}', '#']).unwrap_or(rest.len());
        Some(rest[..end].trim())
    }

    /// Returns the first suspicious character outside quotes, with its offset in the line. The
    /// suspicious characters are invisible characters, control characters, unusual spaces, and
    /// typographic quotation marks.
    fn strange(&self) -> Option<(usize, char)> {
        let mut quoted = false;
        self.text.char_indices().find(|(_, c)| {
            quoted ^= *c == '"';
            let spaces = c.is_whitespace() && !matches!(c, ' ' | '\t');
            let invisible = matches!(
                c,
                '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
            );
            let marks = "“”„‘’«»".contains(*c);
            !quoted && (spaces || invisible || marks || c.is_control() && *c != '\t')
        })
    }
}

#[cfg(test)]
mod tests;
