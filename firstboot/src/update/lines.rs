//! The lines that differ between two texts, for people.

/// Longer texts are not compared line by line: what a person reads is short.
const LIMIT: usize = 2000;

/// The lines that went, with `-`, and those that came, with `+`; none where one of the two is not a short text.
pub(super) fn differences(old: &[u8], new: &[u8]) -> Option<Vec<String>> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
    let (old, new) = (text(old)?, text(new)?);
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    (old.len() <= LIMIT && new.len() <= LIMIT).then(|| compare(&old, &new))
}

/// By the longest common subsequence.
fn compare(old: &[&str], new: &[&str]) -> Vec<String> {
    // common[i][j]: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(format!("-{}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown_in_their_order() {
        let show = |old: &str, new: &str| differences(old.as_bytes(), new.as_bytes()).unwrap();
        assert_eq!(show("a = 1\nb = 2\nc\n", "a = 1\nb = 3\nc\n"), ["-b = 2", "+b = 3"]);
        assert_eq!(show("", "a\nb\n"), ["+a", "+b"]);
        assert_eq!(show("a\nb\nc\n", "c\na\nb\n"), ["+c", "-c"]);
        assert!(show("a\n", "a\n").is_empty());
        assert_eq!(differences(b"\x7fELF\0", b"a"), None);
        assert_eq!(differences(&b"\n".repeat(LIMIT + 1), b"a"), None);
    }
}
