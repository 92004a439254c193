//! The version that the builder and firstboot print when called with `--version`.

use std::sync::LazyLock;

static VERSION: LazyLock<String> =
    LazyLock::new(|| describe(env!("CARGO_PKG_VERSION"), option_env!("ETCD_IMAGE_COMMIT")));

/// Returns the version of the programs, with the commit from which they were built: `0.1.0
/// (5bb42b72a94e)`.
///
/// The Makefile passes the commit to the build in the environment variable `ETCD_IMAGE_COMMIT`.
/// This crate does not read the commit itself. Cargo does not rebuild the crate after a new commit,
/// or after a change to a file outside the crate, so the crate would then report an old commit.
/// Without the variable, for example outside a git repository, this function returns only the
/// version.
pub fn program_version() -> &'static str {
    &VERSION
}

fn describe(version: &str, commit: Option<&str>) -> String {
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_commit_of_a_build_from_git() {
        assert_eq!(
            describe("1.2.3", Some("5bb42b72a94e")),
            "1.2.3 (5bb42b72a94e)"
        );
    }

    #[test]
    fn a_build_outside_git_has_only_the_version() {
        assert_eq!(describe("1.2.3", None), "1.2.3");
        assert_eq!(describe("1.2.3", Some("")), "1.2.3");
    }
}
