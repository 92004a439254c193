//! Reads and writes SHA256SUMS in the format of sha256sum and shasum.

use std::fmt::Write as _;

use recipes::Sha256;

/// Returns the digest that SHA256SUMS lists for the file with this name. A line that is not `DIGEST
/// NAME` is skipped, because upstream's file may contain a comment or a signature. Returns `None`
/// if the file is not listed.
pub(crate) fn find(sums: &str, name: &str) -> Option<Sha256> {
    lines(sums)
        .find(|(_, found)| *found == name)
        .map(|(digest, _)| digest)
}

/// Returns all the digests, each with its file name.
pub(crate) fn lines(sums: &str) -> impl Iterator<Item = (Sha256, &str)> {
    sums.lines().filter_map(|line| {
        let (digest, name) = line.split_once(' ')?;
        // The second character of the separator is a space (text mode) or a star (binary mode).
        let name = name.strip_prefix([' ', '*'])?;
        Some((digest.parse().ok()?, name.trim_end_matches('\r')))
    })
}

/// Formats these digests and names as text that `sha256sum -c` can read.
pub(crate) fn write<'a>(lines: impl IntoIterator<Item = (Sha256, &'a str)>) -> String {
    lines
        .into_iter()
        .fold(String::new(), |mut text, (digest, name)| {
            let _ = writeln!(text, "{digest}  {name}");
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_modes_are_read_and_other_lines_are_skipped() {
        let digest = Sha256::of(b"a");
        let text = format!("# made by hand\n{digest}  a\n{digest} *b\r\nnonsense\n{digest} c\n");
        assert_eq!(find(&text, "a"), Some(digest));
        assert_eq!(find(&text, "b"), Some(digest));
        assert_eq!(find(&text, "c"), None);
        assert_eq!(find(&text, "nonsense"), None);
    }

    #[test]
    fn written_sums_are_read_back_unchanged() {
        let text = write([(Sha256::of(b"1"), "etcd"), (Sha256::of(b"2"), "etcdctl")]);
        assert_eq!(
            lines(&text).collect::<Vec<_>>(),
            [(Sha256::of(b"1"), "etcd"), (Sha256::of(b"2"), "etcdctl")]
        );
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "([0-9a-f]{62,66}|  | \\*|\\r?\n|etcd|\\PC){0,20}") {
            let count = lines(&text).count();
            prop_assert!(count <= text.lines().count());
            prop_assert_eq!(find(&text, "a\n"), None);
        }
    }
}
