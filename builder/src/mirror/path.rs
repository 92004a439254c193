//! Paths of files in a repository. The paths come from the repository's lists, so they are
//! untrusted input.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use url::Url;

/// The maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 512;
/// The maximum length of one name in a path, in bytes. The limit leaves room for the suffix of a
/// download's temporary file.
const MAX_NAME_BYTES: usize = 200;

/// The path of a file below a folder. The path cannot lead out of the folder, and has the same
/// meaning in a URL and in the file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RelativePath(String);

impl FromStr for RelativePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || text.chars().take(100).collect::<String>();
        let refuse = |why: &str| Err(format!("the path {:?} {why}", shown()));
        if text.len() > MAX_PATH_BYTES {
            return refuse("is too long");
        }
        if text.starts_with('/') {
            return refuse("is absolute: expected a path inside the repository");
        }
        // A client and this program could interpret these characters differently, as in `%2e%2e`,
        // `..\` and `a?b`.
        let odd = |c: char| c.is_control() || "%\\?#:*\"<>|".contains(c);
        if text.contains(odd) {
            return refuse("contains a character that is not allowed in a repository's file names");
        }
        for name in text.split('/') {
            match name {
                "" => return refuse("contains an empty name"),
                "." | ".." => {
                    return refuse("contains `.` or `..`, so it could lead out of its folder");
                }
                // The names of unfinished downloads have these suffixes.
                name if [".part", ".part.from"]
                    .iter()
                    .any(|ending| name.ends_with(ending)) =>
                {
                    return refuse("has the suffix of an unfinished download");
                }
                name if name.len() > MAX_NAME_BYTES => {
                    return refuse("contains a name that is too long");
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RelativePath {
    /// Returns the path as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the file is a package, according to its suffix.
    pub(super) fn is_package(&self) -> bool {
        let ending = Path::new(&self.0).extension();
        ending.is_some_and(|ending| ending.eq_ignore_ascii_case("rpm"))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the URL of the file below this base URL.
    pub(super) fn below(&self, base: &Url) -> Url {
        let mut url = base.clone();
        // A base URL is an HTTP or HTTPS URL, so it always has path segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(self.names());
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::path::Component;

    use super::*;

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for (bad, why) in [
            ("../x.rpm", "lead out"),
            ("Packages/../../x.rpm", "lead out"),
            ("./x.rpm", "lead out"),
            ("/etc/passwd", "absolute"),
            ("", "empty name"),
            ("a//b", "empty name"),
            ("a/", "empty name"),
            ("%2e%2e/x", "character"),
            ("a\\..\\b", "character"),
            ("http://host/x", "character"),
            ("a\0b", "character"),
            ("a?b", "character"),
            ("a.rpm.part", "unfinished download"),
        ] {
            let error = bad.parse::<RelativePath>().unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!("a/".repeat(400).parse::<RelativePath>().is_err());
        assert!("a".repeat(300).parse::<RelativePath>().is_err());
    }

    #[test]
    fn the_url_contains_the_names_of_the_path() {
        let path: RelativePath = "Packages/libstdc++-4.8.5-44.el7.x86_64.rpm"
            .parse()
            .unwrap();
        for base in ["http://host/os", "http://host/os/"] {
            assert_eq!(
                path.below(&base.parse().unwrap()).as_str(),
                "http://host/os/Packages/libstdc++-4.8.5-44.el7.x86_64.rpm"
            );
        }
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_inside_its_folder(text in "[./a%~^+ -]{0,12}|.{0,30}") {
            if let Ok(path) = text.parse::<RelativePath>() {
                let all = Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(all, "{text:?}");
                let url = path.below(&"http://host/base/".parse().unwrap());
                prop_assert!(url.as_str().starts_with("http://host/base/"), "{url}");
                prop_assert_eq!(url.path_segments().unwrap().count(), path.names().count() + 1);
            }
        }
    }
}
