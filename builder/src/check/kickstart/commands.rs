//! Finds the commands of a shell script.

use std::ops::Range;

use crate::check::text::TextSpan;

/// Returns the words in command position, and `NAME()` for functions. This scanner does not parse
/// the complete shell grammar. The scanner skips comments, heredocs, arrays, arithmetic, the
/// contents of quotes (except `$(…)` in double quotes), and any command that is the value of a
/// variable.
pub(super) fn commands(body: TextSpan<'_>) -> Vec<TextSpan<'_>> {
    let mut scanner = Scanner::default();
    for line in body.lines() {
        scanner.line(line);
    }
    scanner.found
}

/// Marks an open parenthesis of an array or of an arithmetic expression. The words inside are not
/// commands.
const SKIPPED: char = '(';

/// The state of the scan at one character of a script.
#[derive(Debug, Default)]
struct Scanner<'a> {
    found: Vec<TextSpan<'a>>,
    /// The delimiter of the open heredoc.
    heredoc: Option<String>,
    /// The open quotes and parentheses: `'` and `"`, `)` for a `$(` or `(`, and [`SKIPPED`].
    open: Vec<char>,
    /// Whether a command can begin here.
    expecting: bool,
    /// Whether the next line belongs to the same command.
    continued: bool,
    /// The number of commands that were found before the current statement. If the statement begins
    /// with a `case` pattern, the scanner removes the words of the pattern from `found` again.
    before_pattern: usize,
}

impl<'a> Scanner<'a> {
    /// Returns whether this position is inside quotes, an array or arithmetic, where words are not
    /// commands.
    fn skips(&self) -> bool {
        self.open.last().is_some_and(|c| *c != ')')
    }

    fn line(&mut self, line: TextSpan<'a>) {
        if let Some(end) = &self.heredoc {
            if line.text.trim_start_matches('\t') == end {
                self.heredoc = None;
            }
            return;
        }
        if !self.continued {
            self.expecting = !self.skips();
            self.before_pattern = self.found.len();
        }
        let (mut start, mut escaped) = (None, false);
        for (at, c) in line.text.char_indices().chain([(line.text.len(), '\n')]) {
            let was_escaped = escaped;
            self.continued = was_escaped;
            escaped = !escaped && c == '\\' && self.open.last() != Some(&'\'');
            if self.skips() {
                self.expecting |= !was_escaped && self.opens_command(line.text, at, c);
                continue;
            }
            if is_word(c) {
                start.get_or_insert(at);
                continue;
            }
            if let Some(from) = start.take() {
                self.word(line, from..at, c);
            }
            let is_comment =
                c == '#' && line.text[..at].ends_with(|c: char| c.is_whitespace() || c == ';');
            if is_comment || (c == '#' && at == 0) {
                break;
            }
            if !was_escaped {
                self.sign(line.text, at, c);
            }
        }
    }

    /// Handles a word that ends before the character `next`.
    fn word(&mut self, line: TextSpan<'a>, word: Range<usize>, next: char) {
        let text = line.slice(word.clone()).text;
        let goes_on = KEYWORDS.contains(&text) || (assigns(text) && next.is_whitespace());
        if self.expecting {
            self.found.extend(command_at(line, word, !goes_on));
        }
        self.expecting &= goes_on;
    }

    /// Handles a character that is not part of a word.
    fn sign(&mut self, line: &str, at: usize, c: char) {
        match c {
            '\'' | '"' => {
                self.open.push(c);
                self.expecting = false;
            }
            ')' if self.open.last() == Some(&')') => {
                self.open.pop();
                self.expecting = false;
            }
            // The words before this parenthesis are a pattern of a `case`.
            ')' => {
                self.found.truncate(self.before_pattern);
                self.expecting = true;
            }
            '(' => {
                let skipped = line[..at].ends_with('=') || line[at..].starts_with("((");
                self.open.push(if skipped { SKIPPED } else { ')' });
                self.expecting = !skipped;
            }
            ';' | '|' | '&' | '`' => {
                self.expecting = true;
                if c != '|' {
                    self.before_pattern = self.found.len();
                }
            }
            '<' if self.heredoc.is_none() => self.heredoc = heredoc_end(line, at),
            _ => {}
        }
    }

    /// Handles a character of text that is skipped, such as quoted text. Returns whether the
    /// character opens a command substitution (`$(`).
    fn opens_command(&mut self, line: &str, at: usize, c: char) -> bool {
        let last = self.open.last().copied();
        let closing = if last == Some(SKIPPED) {
            Some(')')
        } else {
            last
        };
        if closing == Some(c) {
            self.open.pop();
            return false;
        }
        if last == Some('\'') {
            return false;
        }
        let is_arithmetic = line[at..].starts_with("((");
        match (last, c) {
            (Some(SKIPPED), '\'' | '"') => self.open.push(c),
            (_, '(') if line[..at].ends_with('$') && !is_arithmetic => {
                self.open.push(')');
                return true;
            }
            (Some(SKIPPED), '(') => self.open.push(SKIPPED),
            (_, '(') if line[..at].ends_with('$') => self.open.push(SKIPPED),
            _ => {}
        }
        false
    }
}

/// Returns the function or command that starts at a word in command position. `can_run` is true
/// unless the word is a keyword or an assignment before a command.
fn command_at(line: TextSpan<'_>, word: Range<usize>, can_run: bool) -> Option<TextSpan<'_>> {
    if line.text[word.end..].trim_start().starts_with("()") {
        return Some(line.slice(word.start..(word.end + 2).min(line.text.len())));
    }
    let word = line.slice(word);
    (can_run && !assigns(word.text)).then_some(word)
}

/// Returns the function that a line defines as `function NAME` or `NAME ()`.
pub(super) fn defined_function(line: TextSpan<'_>) -> Option<&str> {
    let text = line.text.trim_start();
    let named = text.strip_prefix("function ").map(str::trim_start);
    let text = named.unwrap_or(text);
    let name = text.split(|c: char| !is_word(c)).next()?;
    let behind = text[name.len()..].trim_start();
    (named.is_some() || behind.starts_with("()")).then_some(name)
}

/// Words that are followed by a command.
const KEYWORDS: [&str; 13] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec", "env",
    "command",
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-./+=$@:%~[]{}!?*,".contains(c)
}

fn assigns(word: &str) -> bool {
    let name = word
        .split_once('=')
        .map_or("", |(name, _)| name.trim_end_matches('+'));
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the delimiter of the heredoc whose `<<` begins at `at`.
fn heredoc_end(line: &str, at: usize) -> Option<String> {
    let begins = line[at..].starts_with("<<")
        && !line[at..].starts_with("<<<")
        && !line[..at].ends_with('<');
    let word = begins.then(|| line[at + 2..].trim_start_matches('-').trim_start())?;
    let name = word
        .trim_start_matches(['\'', '"', '\\'])
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::check::kickstart;

    /// Returns those commands of a script that the installer does not have.
    fn absent(script: &str) -> Vec<String> {
        let text = format!("%pre\n{script}\n%end\n");
        kickstart::check(&text)
            .into_iter()
            .filter(|finding| finding.rule == "kickstart/absent-command")
            .map(|finding| text[finding.diagnostic.span].to_owned())
            .collect()
    }

    #[test]
    fn only_words_in_command_position_are_commands() {
        for script in [
            "tar -cf /tmp/a \\\n  stat \\\n  file",
            "for name in hosts \\\n  passwd; do echo; done",
            "tools=(stat file)",
            "tools=(\n  stat\n  \'file)\'\n)",
            "echo $((sum + 1)) \"$((sum + 1))\"",
            "((sum += 1))",
            "for ((sum = 0; sum < 3; sum++)); do echo; done",
            "echo $((1 << sum))\necho",
            "case $1 in\n  stat) echo;;\n  perl | diff) echo;;\nesac",
            "function perl { echo; }\nperl",
            "perl () { echo; }\nperl",
            "/mnt/sysimage/usr/bin/stat /tmp",
            "echo a # stat",
        ] {
            assert_eq!(absent(script), [""; 0], "{script}");
        }
        for (script, found) in [
            ("stat a", "stat"),
            ("getent hosts a", "getent"),
            ("true && \\\n  stat a", "stat"),
            ("echo a |\n  sum", "sum"),
            ("x=$(stat a)", "stat"),
            ("echo \"$(stat a)\"", "stat"),
            ("tools=($(stat a))", "stat"),
            ("case $1 in\n  a) stat b;;\nesac", "stat"),
            ("if ! stat a; then echo; fi", "stat"),
            ("(cd /tmp; stat a)", "stat"),
        ] {
            assert_eq!(absent(script), [found], "{script}");
        }
    }
}
