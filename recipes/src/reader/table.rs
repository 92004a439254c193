//! One table of a file, with its values and the positions of those values.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Located};
use crate::diagnostic::{Diagnostic, nearest};

/// One table of the file. The table records which of its keys the reader requested. All other keys
/// are mistakes.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    name: String,
    header: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys that have already been reported.
    rejected: RefCell<Vec<&'static str>>,
    pub(super) findings: &'a Findings,
}

impl<'a> Table<'a> {
    /// Returns the top-level table of the file.
    pub(crate) fn root(entries: &'a DeTable<'a>, findings: &'a Findings) -> Self {
        Self {
            name: String::new(),
            header: 0..0,
            entries,
            asked: RefCell::default(),
            rejected: RefCell::default(),
            findings,
        }
    }

    /// Returns the position of the table's header. Findings about missing keys mark this position.
    pub(crate) fn header(&self) -> Range<usize> {
        self.header.clone()
    }

    /// Returns the position of a key's value.
    pub(crate) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.entries.get(key).map(Spanned::span)
    }

    /// Returns the position of a value in a table below this one. `path` contains the keys that lead
    /// to the value.
    pub(crate) fn place_below(&self, path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let mut found = self.entries.get(*first)?;
        for key in rest {
            found = found.get_ref().as_table()?.get(*key)?;
        }
        Some(found.span())
    }

    /// Reports a mistake that the caller has detected.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.findings.add(diagnostic);
    }

    /// Returns whether an error has been found in the file so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.findings.has_errors()
    }

    /// If this table contains the key, reports that the key does not belong in this table.
    pub(crate) fn reject(&self, key: &'static str, message: &str, help: &str) {
        if let Some((found, _)) = self.entries.get_key_value(key) {
            self.rejected.borrow_mut().push(key);
            self.findings
                .add(Diagnostic::error(found.span(), message.to_owned()).help(help));
        }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.entries.get(key)
    }

    /// Reads a string without further checks.
    pub(crate) fn text(&self, key: &'static str) -> Option<Located<String>> {
        self.text_or(key, |bare| Ok(bare.to_owned()))
    }

    /// Reads a string. If the value has no quotes, `meant` returns the string that the value
    /// probably means. If the meaning is not clear, `meant` returns what the key expects.
    fn text_or(
        &self,
        key: &'static str,
        meant: impl Fn(&str) -> Result<String, String>,
    ) -> Option<Located<String>> {
        let found = self.get(key)?;
        let Some(text) = found.get_ref().as_str() else {
            self.not_a_string(key, found, meant);
            return None;
        };
        Some(Located {
            value: text.to_owned(),
            span: found.span(),
        })
    }

    /// Reads a string that must be a valid `T`.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<Located<T>> {
        let meant = |bare: &str| match bare.parse::<T>() {
            Ok(_) => Ok(bare.to_owned()),
            Err(error) => Err(error.to_string()),
        };
        self.quantity(key, meant)
    }

    /// Reads a value as `value` does. If the value has no quotes, `meant` returns the value that
    /// the user probably means, with its unit. If the meaning is not clear, `meant` returns what
    /// the key expects.
    pub(crate) fn quantity<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
        meant: impl Fn(&str) -> Result<String, String>,
    ) -> Option<Located<T>> {
        let text = self.text_or(key, meant)?;
        self.parse(key, &text)
    }

    fn parse<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        text: &Located<String>,
    ) -> Option<Located<T>> {
        match text.value.parse() {
            Ok(value) => Some(Located {
                value,
                span: text.span.clone(),
            }),
            Err(error) => {
                let message = format!("bad value for `{key}`");
                self.findings
                    .add(Diagnostic::error(text.span.clone(), message).label(error.to_string()));
                None
            }
        }
    }

    /// Reads a key as `value` does, and reports a missing key as a mistake. `why` states the
    /// purpose of the key.
    pub(crate) fn required<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
        why: &str,
    ) -> Option<Located<T>> {
        if self.entries.get(key).is_none() {
            self.asked.borrow_mut().push(key);
            let message = format!("`{key}` is missing in {}", self.name);
            self.findings
                .add(Diagnostic::error(self.header(), message).label(why));
            return None;
        }
        self.value(key)
    }

    /// Reads a string that must be one of the words in `choices`.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Located<T>> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("expected one of: {}", words.join(", "));
        let text = self.text_or(key, |_| Err(expected.clone()))?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(Located {
                value: *value,
                span: text.span,
            });
        }
        let mut finding =
            Diagnostic::error(text.span, format!("bad value for `{key}`")).label(expected);
        if let Some(near) = nearest(&text.value, words) {
            finding = finding.help(format!("did you mean `{near}`?"));
        }
        self.findings.add(finding);
        None
    }

    /// Reads a list of strings, each of which must be a valid `T`.
    pub(crate) fn list<T: FromStr<Err: Display>>(
        &self,
        key: &'static str,
    ) -> Option<Vec<Located<T>>> {
        let found = self.get(key)?;
        let Some(items) = found.get_ref().as_array() else {
            self.wrong_type(key, "a list of strings", found);
            return None;
        };
        let read = |item: &Spanned<DeValue<'_>>| {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(key, "a list of strings", item);
                return None;
            };
            self.parse(
                key,
                &Located {
                    value: text.to_owned(),
                    span: item.span(),
                },
            )
        };
        Some(items.iter().filter_map(read).collect())
    }

    /// Returns the number of entries in a list, valid or not.
    pub(crate) fn count(&self, key: &str) -> Option<usize> {
        self.entries
            .get(key)
            .and_then(|found| found.get_ref().as_array())
            .map(|items| items.len())
    }

    /// Reads a whole number within bounds.
    pub(crate) fn integer(
        &self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
    ) -> Option<Located<i64>> {
        let found = self.get(key)?;
        let Some(number) = found.get_ref().as_integer() else {
            self.wrong_type(key, "a whole number", found);
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
        match value {
            Some(value) if bounds.contains(&value) => Some(Located {
                value,
                span: found.span(),
            }),
            _ => {
                let expected = format!("expected {} to {}", bounds.start(), bounds.end());
                let message = format!("`{key}` is out of bounds");
                self.findings
                    .add(Diagnostic::error(found.span(), message).label(expected));
                None
            }
        }
    }

    /// Reads a value that is true or false.
    pub(crate) fn boolean(&self, key: &'static str) -> Option<Located<bool>> {
        let found = self.get(key)?;
        let value = found.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type(key, "true or false", found);
        }
        value.map(|value| Located {
            value,
            span: found.span(),
        })
    }

    /// Reads a date, with or without a time and an offset.
    pub(crate) fn date(&self, key: &'static str) -> Option<Located<toml::value::Datetime>> {
        let found = self.get(key)?;
        let value = found
            .get_ref()
            .as_datetime()
            .filter(|date| date.date.is_some());
        if value.is_none() {
            self.wrong_type(key, "a date, as in 2026-11-22", found);
        }
        value.map(|value| Located {
            value: *value,
            span: found.span(),
        })
    }

    /// Reads a list of strings without further checks.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<Located<String>> {
        self.list(key).unwrap_or_default()
    }

    /// Reads a table within this one.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let found = self.get(key)?;
        let Some(entries) = found.get_ref().as_table() else {
            self.wrong_type(key, "a table", found);
            return None;
        };
        Some(self.child(self.below(key), found.span(), entries))
    }

    /// Reads a list of tables within this one.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(found) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = found.get_ref().as_array() else {
            self.wrong_type(
                key,
                &format!("a list of tables, each under its own [[{key}]]"),
                found,
            );
            return Vec::new();
        };
        let read = |item: &'a Spanned<DeValue<'a>>| {
            let Some(entries) = item.get_ref().as_table() else {
                self.wrong_type(key, "a table", item);
                return None;
            };
            Some(self.child(format!("[{}]", self.below(key)), item.span(), entries))
        };
        items.iter().filter_map(read).collect()
    }

    /// Returns whether the table has this key, or a similar key that is reported as unknown.
    pub(crate) fn has_like(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|(name, _)| nearest(name.get_ref(), [key]).is_some())
    }

    /// Returns the name of a table within this one, as its header spells it.
    fn below(&self, key: &str) -> String {
        if self.name.is_empty() {
            format!("[{key}]")
        } else {
            format!("[{}.{key}]", self.name.trim_matches(['[', ']']))
        }
    }

    pub(super) fn child(
        &self,
        name: String,
        header: Range<usize>,
        entries: &'a DeTable<'a>,
    ) -> Table<'a> {
        Table {
            name,
            header,
            entries,
            asked: RefCell::default(),
            rejected: RefCell::default(),
            findings: self.findings,
        }
    }

    /// Reports every key that was neither requested nor already reported.
    pub(crate) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if asked.contains(&name) || self.rejected.borrow().contains(&name) {
                continue;
            }
            let place = if self.name.is_empty() {
                "a recipe".to_owned()
            } else {
                self.name.clone()
            };
            let mut finding =
                Diagnostic::error(key.span(), format!("unknown key `{name}` in {place}"));
            finding = match nearest(name, asked.iter().copied()) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!("{place} has the keys: {}", asked.join(", "))),
            };
            self.findings.add(finding);
        }
    }
}
