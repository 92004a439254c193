//! Tables whose keys the user chooses.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use super::{Located, Table};

/// A value in a table whose keys the user chooses.
#[derive(Debug)]
pub(crate) enum PairValue<'a> {
    /// A string.
    Text(Located<String>),
    /// A table.
    Table(Table<'a>),
}

impl<'a> Table<'a> {
    /// Returns every entry of a table whose keys the user chooses and whose values are strings or
    /// whole numbers.
    pub(crate) fn pairs(&self, key: &'static str) -> Vec<(Located<String>, Located<String>)> {
        let Some(found) = self.get(key) else {
            return Vec::new();
        };
        let Some(table) = found.get_ref().as_table() else {
            self.wrong_type(key, "a table", found);
            return Vec::new();
        };
        let read = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &Cow<'_, str> = name.get_ref();
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                _ => {
                    self.wrong_type(name, "a string or a whole number", value);
                    return None;
                }
            };
            Some((name.to_string(), text, value.span()))
        };
        let names: Vec<_> = table.iter().map(|(name, _)| name.span()).collect();
        let values = table.iter().map(read);
        names
            .into_iter()
            .zip(values)
            .filter_map(|(span, read)| {
                let (name, value, value_span) = read?;
                Some((
                    Located { value: name, span },
                    Located {
                        value,
                        span: value_span,
                    },
                ))
            })
            .collect()
    }

    /// Returns every entry of a table whose keys the user chooses and whose values are strings or
    /// tables.
    pub(crate) fn entries(&self, key: &'static str) -> Vec<(Located<String>, PairValue<'a>)> {
        let Some(found) = self.get(key) else {
            return Vec::new();
        };
        let Some(table) = found.get_ref().as_table() else {
            self.wrong_type(key, "a table", found);
            return Vec::new();
        };
        let read = |(name, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let entry = match value.get_ref() {
                DeValue::String(text) => PairValue::Text(Located {
                    value: text.to_string(),
                    span: value.span(),
                }),
                DeValue::Table(entries) => PairValue::Table(self.child(
                    format!("\"{}\"", name.get_ref()),
                    value.span(),
                    entries,
                )),
                _ => {
                    self.wrong_type(name.get_ref(), "a string or a table", value);
                    return None;
                }
            };
            Some((
                Located {
                    value: name.get_ref().to_string(),
                    span: name.span(),
                },
                entry,
            ))
        };
        table.iter().filter_map(read).collect()
    }
}
