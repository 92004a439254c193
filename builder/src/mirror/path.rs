//! Paths of files in a repository. A repository states them, so they are foreign data.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use url::Url;

/// The maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 512;
/// The maximum length of one name in it, in bytes. The download's own files add a few.
const MAX_NAME_BYTES: usize = 200;

/// The path of a file below a folder. It cannot lead out of the folder, and a URL and a file name
/// mean the same by it.
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
        // A client and this program could read these differently: `%2e%2e`, `..\`, `a?b`.
        let odd = |c: char| c.is_control() || "%\\?#:*\"<>|".contains(c);
        if text.contains(odd) {
            return refuse("has a character that no file of a repository needs");
        }
        for name in text.split('/') {
            match name {
                "" => return refuse("has an empty name in it"),
                "." | ".." => return refuse("leads out of its folder: it has `.` or `..`"),
                // The files of an unfinished download have these endings.
                name if [".part", ".part.from"]
                    .iter()
                    .any(|ending| name.ends_with(ending)) =>
                {
                    return refuse("has the ending of an unfinished download");
                }
                name if name.len() > MAX_NAME_BYTES => {
                    return refuse("has a name that is too long");
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
    /// The path as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the file is a package, by its ending.
    pub(super) fn is_package(&self) -> bool {
        let ending = Path::new(&self.0).extension();
        ending.is_some_and(|ending| ending.eq_ignore_ascii_case("rpm"))
    }

    /// The names in the path.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The URL of the file below this one.
    pub(super) fn below(&self, base: &Url) -> Url {
        let mut url = base.clone();
        // A base is http or https, which always has path segments.
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
            ("../x.rpm", "leads out"),
            ("Packages/../../x.rpm", "leads out"),
            ("./x.rpm", "leads out"),
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
    fn the_url_has_the_same_names() {
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
        fn what_is_accepted_stays_inside(text in "[./a%~^+ -]{0,12}|.{0,30}") {
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
