//! The elements of the page: escaped strings, chips, times, lists of facts, and tables.

use std::fmt::{self, Display, Write as _};

/// A value that is displayed in HTML. Special characters are escaped, and characters that could
/// disguise other text are replaced.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // A control character, or a character that controls the direction of the text,
                // could disguise the text that follows.
                c if c.is_control() || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(c) => {
                    f.write_char('\u{fffd}')?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The importance of a state. Each tone also has its own sign, for readers who cannot
/// distinguish the colours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Neutral,
    Busy,
    Good,
    Warning,
    Bad,
}

/// Renders a word on a coloured background, with the tone's sign.
pub(super) fn chip(tone: Tone, text: &str) -> String {
    span(tone, &Escaped(text).to_string())
}

/// Renders a chip with an explanation that only screen readers read.
pub(super) fn explained_chip(tone: Tone, text: &str, explanation: &str) -> String {
    let (text, explanation) = (Escaped(text), Escaped(explanation));
    span(
        tone,
        &format!("{text}<span class=\"unseen\">, but {explanation}</span>"),
    )
}

fn span(tone: Tone, content: &str) -> String {
    let (class, sign) = match tone {
        Tone::Neutral => ("neutral", '○'),
        Tone::Busy => ("busy", '◐'),
        Tone::Good => ("good", '✓'),
        Tone::Warning => ("warning", '!'),
        Tone::Bad => ("bad", '✕'),
    };
    format!(
        "<span class=\"chip {class}\"><span aria-hidden=\"true\">{sign}</span> {content}</span>"
    )
}

/// Renders the absence of a value.
pub(super) fn dash() -> String {
    "–".to_owned()
}

/// Renders a string, or a dash if there is no string.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(dash, |text| Escaped(text).to_string())
}

/// Renders a time in the format of RFC 3339, or a dash if there is no time.
pub(super) fn moment(time: Option<&str>) -> String {
    time.map_or_else(dash, |time| {
        let time = Escaped(time);
        format!("<time datetime=\"{time}\">{time}</time>")
    })
}

/// Renders a heading, and facts as a list of names and values. The values are in HTML.
pub(super) fn facts(title: &str, facts: &[(&str, String)]) -> String {
    let mut text = format!("<h2>{title}</h2>\n<dl>\n");
    for (name, value) in facts {
        let _ = writeln!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    text + "</dl>\n"
}

/// A table with its heading. On a narrow screen, each row becomes a list in which each cell shows
/// its column's name, and cells without a value are hidden. The list layout removes the implicit
/// ARIA roles and the columns of the elements, so each element states its role and its column
/// explicitly.
pub(super) struct Table {
    text: String,
    head: Vec<String>,
}

impl Table {
    pub(super) fn new(title: &str, head: &[&str]) -> Self {
        let id = title.to_lowercase().replace(' ', "-");
        let head: Vec<String> = head.iter().map(|name| Escaped(name).to_string()).collect();
        let mut text = format!(
            "<h2 id=\"{id}\">{title}</h2>\n<table role=\"table\" aria-labelledby=\"{id}\" \
             aria-colcount=\"{}\">\n<thead role=\"rowgroup\"><tr role=\"row\">",
            head.len()
        );
        for (name, column) in head.iter().zip(1..) {
            let _ = write!(
                text,
                "<th role=\"columnheader\" scope=\"col\" aria-colindex=\"{column}\">{name}</th>"
            );
        }
        text += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
        Self { text, head }
    }

    /// Adds a row of cells in HTML.
    pub(super) fn row(&mut self, cells: &[String]) {
        self.text += "<tr role=\"row\">";
        for ((cell, name), column) in cells.iter().zip(&self.head).zip(1..) {
            let empty = if *cell == dash() {
                " class=\"empty\""
            } else {
                ""
            };
            let _ = if column == 1 {
                write!(
                    self.text,
                    "<th role=\"rowheader\" scope=\"row\" aria-colindex=\"1\">{cell}</th>"
                )
            } else {
                write!(
                    self.text,
                    "<td role=\"cell\" aria-colindex=\"{column}\" data-label=\"{name}\"{empty}>\
                     <span>{cell}</span></td>"
                )
            };
        }
        self.text += "</tr>\n";
    }

    pub(super) fn end(self) -> String {
        self.text + "</tbody>\n</table>\n"
    }
}
