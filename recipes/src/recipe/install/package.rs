//! Packages beside those of the image.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A package, a pattern of packages, or `@` and a group of them: a line of `%packages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    text: String,
    /// Where the recipe names it.
    pub span: Range<usize>,
}

impl Package {
    /// The same, named at a place of the recipe.
    pub(super) fn at(self, span: Range<usize>) -> Self {
        Self { span, ..self }
    }

    /// Whether this line and a name or pattern that the image leaves out mean the same packages. anaconda installs none
    /// that is both listed and left out, and does not say so (yumpayload.py, `_applyYumSelections`).
    pub fn is_excluded_by(&self, pattern: &str) -> bool {
        // A pattern of the recipe's means all that match but those that the image leaves out.
        !self.text.starts_with('@') && (self.text == pattern || matches(pattern, &self.text))
    }
}

impl FromStr for Package {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(char::is_whitespace) {
            return Err("expected one package; write each as a text of its own, as in [\"vim-enhanced\", \"tmux\"]");
        }
        if text.starts_with("@^") {
            return Err("an environment group brings more than a node needs; expected a package, or @ and a group");
        }
        if text.starts_with('-') {
            return Err("packages are only added here; the image already leaves out what a node does not need");
        }
        // What begins with `%` would end the section, and `#` begins a comment. yum reads `*`, `?` and `[` as patterns.
        let name = text.strip_prefix('@').unwrap_or(text);
        let safe =
            |c: char| c.is_ascii_alphanumeric() || "_.:+-~".contains(c) || (!text.starts_with('@') && "*?".contains(c));
        let named = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if named && name.len() < 200 && name.chars().all(safe) {
            return Ok(Self { text: text.to_owned(), span: 0..0 });
        }
        Err("expected the name of a package, a pattern as in lib*-devel, or @ and the name of a group")
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a shell's pattern of `*` and `?` matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches(&pattern[1..], name) || name.chars().next().is_some_and(|c| matches(pattern, &name[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => matches(&pattern[1..], &name[c.len_utf8()..]),
        (Some(wanted), Some(c)) if wanted == c => matches(&pattern[c.len_utf8()..], &name[c.len_utf8()..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_no_line_of_another_kind() {
        for good in ["vim-enhanced", "@base", "libstdc++", "python3.6", "iwl*", "lib*-devel", "glibc.i686", "a?c"] {
            assert!(good.parse::<Package>().is_ok(), "{good}");
        }
        for bad in ["%end", "-tuned", "@", "@^minimal", "a b", "#x", "", "*", "@ba*"] {
            assert!(bad.parse::<Package>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_listed_and_left_out_is_found() {
        let excluded = |package: &str, pattern: &str| package.parse::<Package>().unwrap().is_excluded_by(pattern);
        assert!(excluded("postfix", "postfix") && excluded("iwl7260-firmware", "iwl*firmware"));
        assert!(excluded("iwl*firmware", "iwl*firmware"));
        assert!(!excluded("postfix-perl-scripts", "postfix") && !excluded("@postfix", "postfix"));
        assert!(!excluded("post*", "postfix"), "the others that match are installed");
    }
}
