//! The packages that a recipe adds to the image's own packages.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A line of `%packages`: a package, a pattern of packages, or `@` and the name of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    text: String,
    /// The position of the package's name in the recipe.
    pub span: Range<usize>,
}

impl Package {
    /// Returns the same package with its position in the recipe.
    pub(super) fn at(self, span: Range<usize>) -> Self {
        Self { span, ..self }
    }

    /// Returns whether the given name or pattern excludes a package that this line names. anaconda
    /// does not install a package that is both listed and excluded, and does not report this
    /// (yumpayload.py, `_applyYumSelections`; yum 3.4.3, transactioninfo.py, deselect).
    pub fn is_excluded_by(&self, pattern: &str) -> bool {
        !self.text.starts_with('@')
            && self
                .names()
                .any(|name| overlap(pattern.as_bytes(), name.as_bytes()))
    }

    /// Returns the names that the line may refer to: the text itself, the text without its
    /// architecture, and the text without its architecture and version. yum accepts `NAME`,
    /// `NAME.ARCH`, `NAME-VERSION` and longer forms.
    fn names(&self) -> impl Iterator<Item = &str> {
        let arches = [".x86_64", ".i686", ".noarch"];
        let plain = arches
            .iter()
            .find_map(|arch| self.text.strip_suffix(arch))
            .unwrap_or(&self.text);
        let versions = plain
            .match_indices('-')
            .filter(|(at, _)| plain[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
        let name = versions.map(|(at, _)| &plain[..at]).next().unwrap_or(plain);
        [&self.text, plain, name].into_iter()
    }
}

impl FromStr for Package {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(char::is_whitespace) {
            return Err(
                "expected one package; write each package as a separate string, as in \
                 [\"vim-enhanced\", \"tmux\"]",
            );
        }
        if text.starts_with("@^") {
            return Err(
                "an environment group installs more than a node needs; expected a package, or @ \
                 and a group",
            );
        }
        if text.starts_with('-') {
            return Err(
                "this list can only add packages; the image already excludes the packages that a \
                 node does not need",
            );
        }
        // A line that begins with `%` would end the section, and `#` begins a comment. yum
        // interprets `*`, `?` and `[` as patterns.
        let name = text.strip_prefix('@').unwrap_or(text);
        let safe = |c: char| {
            c.is_ascii_alphanumeric()
                || "_.:+-~".contains(c)
                || (!text.starts_with('@') && "*?".contains(c))
        };
        let named = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if named && name.len() < 200 && name.chars().all(safe) {
            return Ok(Self {
                text: text.to_owned(),
                span: 0..0,
            });
        }
        Err(
            "expected the name of a package, a pattern as in lib*-devel, or @ and the name of a group",
        )
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns whether two shell patterns with `*` and `?` can match the same string. A name without
/// `*` and `?` is a pattern that matches only itself.
fn overlap(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            overlap(rest, other) || (!other.is_empty() && overlap(one, &other[1..]))
        }
        (_, [b'*', ..]) => overlap(other, one),
        ([b'?', ..], [_, ..]) | ([_, ..], [b'?', ..]) => overlap(&one[1..], &other[1..]),
        ([a, ..], [b, ..]) if a == b => overlap(&one[1..], &other[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_cannot_be_another_kind_of_line() {
        for good in [
            "vim-enhanced",
            "@base",
            "libstdc++",
            "python3.6",
            "iwl*",
            "lib*-devel",
            "glibc.i686",
            "a?c",
        ] {
            assert!(good.parse::<Package>().is_ok(), "{good}");
        }
        for bad in [
            "%end",
            "-tuned",
            "@",
            "@^minimal",
            "a b",
            "#x",
            "",
            "*",
            "@ba*",
        ] {
            assert!(bad.parse::<Package>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_package_that_is_listed_and_excluded_is_found() {
        let excluded = |package: &str, pattern: &str| {
            package.parse::<Package>().unwrap().is_excluded_by(pattern)
        };
        assert!(excluded("postfix", "postfix") && excluded("iwl7260-firmware", "iwl*firmware"));
        assert!(excluded("iwl*firmware", "iwl*firmware"));
        assert!(!excluded("postfix-perl-scripts", "postfix") && !excluded("@postfix", "postfix"));
        // yum accepts an architecture and a version as part of the name, and treats a pattern as
        // all the names that match it.
        for package in [
            "postfix.x86_64",
            "postfix-2.10.1-9.el7",
            "postfix-2.10.1-9.el7.x86_64",
            "post*",
            "p?stfix",
        ] {
            assert!(excluded(package, "postfix"), "{package}");
        }
        assert!(excluded("iwl7*", "iwl*firmware") && excluded("a*-firmware", "aic94xx-firmware"));
        assert!(!excluded("iwl7*-devel", "iwl*firmware") && !excluded("post?", "postfix"));
    }
}
