//! Splits a kickstart line into words, with quotes and comments as in a shell.

use anyhow::{Result, bail};

/// Returns the words of a line. `#` starts a comment unless it is quoted or escaped.
pub(super) fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), found) if found == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                let Some(next) = characters.next() else {
                    bail!("the line ends with a backslash")
                };
                let kept = word.get_or_insert_default();
                // Within double quotes, a backslash is literal unless a quote or a backslash
                // follows it.
                if quote.is_some() && !matches!(next, '"' | '\\') {
                    kept.push('\\');
                }
                kept.push(next);
            }
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    if let Some(quote) = quote {
        bail!("a quotation mark {quote} is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_keep_words_together_and_protect_comment_characters() {
        let words = split(r#"user --gecos="A B" 'c#d' e\ f "\"g\n" # h"#);
        assert_eq!(
            words.ok(),
            Some(
                ["user", "--gecos=A B", "c#d", "e f", r#""g\n"#]
                    .map(String::from)
                    .to_vec()
            )
        );
    }

    #[test]
    fn an_open_quote_is_an_error() {
        assert!(split("rootpw 'secret").is_err());
    }
}
