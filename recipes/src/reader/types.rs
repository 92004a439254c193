//! Explains a value of the wrong type: what was expected, what was found, and what to write
//! instead.

use toml::Spanned;
use toml::de::DeValue;

use super::Table;
use crate::diagnostic::Diagnostic;

impl Table<'_> {
    /// Reports a value that must be a string. `meant` returns the string that the unquoted value
    /// probably means. If the meaning is not clear, `meant` returns what the key expects.
    pub(super) fn not_a_string(
        &self,
        key: &str,
        found: &Spanned<DeValue<'_>>,
        meant: impl Fn(&str) -> Result<String, String>,
    ) {
        let in_quotes = |bare: &str| match meant(bare) {
            Ok(text) => format!("write {key} = \"{text}\""),
            Err(expected) => expected,
        };
        let help = match found.get_ref() {
            // Users sometimes write a version as a number with a decimal point, such as `3.6`,
            // which lacks the third number.
            DeValue::Float(_) if key == "version" => {
                Some("write all three numbers in quotes, as in \"3.6.14\"".to_owned())
            }
            DeValue::Integer(number) if number.radix() == 10 => Some(in_quotes(number.as_str())),
            DeValue::Float(number) => Some(in_quotes(number.as_str())),
            DeValue::Boolean(value) => Some(in_quotes(&value.to_string())),
            _ => None,
        };
        self.report_type(key, "a string", found, help);
    }

    pub(super) fn wrong_type(&self, key: &str, expected: &str, found: &Spanned<DeValue<'_>>) {
        let help = remedy(key, expected, found.get_ref());
        self.report_type(key, expected, found, help);
    }

    fn report_type(
        &self,
        key: &str,
        expected: &str,
        found: &Spanned<DeValue<'_>>,
        help: Option<String>,
    ) {
        let message = format!(
            "`{key}` must be {expected}, not {}",
            type_of(found.get_ref())
        );
        let mut finding =
            Diagnostic::error(found.span(), message).label(format!("expected {expected}"));
        if let Some(help) = help {
            finding = finding.help(help);
        }
        self.findings.add(finding);
    }
}

/// Returns advice on what to write instead, if the intended value is clear.
fn remedy(key: &str, expected: &str, found: &DeValue<'_>) -> Option<String> {
    match found {
        DeValue::String(text) if expected.contains("list") => {
            Some(format!("write {key} = [\"{text}\"]"))
        }
        DeValue::String(text) if expected == "true or false" => {
            let meant = matches!(&**text, "true" | "yes" | "on");
            Some(format!("write {key} = {meant}, without quotes"))
        }
        DeValue::String(text) if expected == "a whole number" => {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            (!digits.is_empty())
                .then(|| format!("write {key} = {digits}, without quotes and without a unit"))
        }
        DeValue::Table(_) if expected.contains("[[") => Some(format!(
            "write [[{key}]], in double brackets, for each entry"
        )),
        DeValue::Array(_) if expected == "a table" => {
            Some(format!("write [{key}], in single brackets, only once"))
        }
        DeValue::Table(inner) if expected.contains("whole number") => {
            let inner = inner.keys().next()?.get_ref();
            Some(format!(
                "a key with dots needs quotes: write \"{key}.{inner}\" = …"
            ))
        }
        _ => None,
    }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a decimal point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
