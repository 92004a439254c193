//! How a text becomes one word of a shell or a kickstart, whatever stands in it.

use minijinja::{Error, ErrorKind};

/// Whether a text means itself in a shell, a kickstart, a unit, chrony.conf and on a kernel's
/// command line.
pub(crate) fn is_word(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "_./:,@%+=-".contains(c))
}

/// One word in single quotes. pykickstart splits its lines with Python's shlex in POSIX mode, for
/// which, as for a shell, nothing within single quotes is special (pykickstart rhel7-branch,
/// parser.py).
pub(crate) fn shell(text: &str) -> Result<String, Error> {
    // A line break would end the command whatever the quotes, and `%end` on a line of its own the
    // whole section.
    if text.chars().any(char::is_control) {
        let message = format!("{text:?} has a control character, which no kickstart can hold");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The time of a timer, as systemd.time(7) has it.
pub(crate) fn calendar(text: &str) -> Result<String, Error> {
    if text.is_empty()
        || text
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"*:/-, ".contains(c))
    {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{text:?} is not a time of a timer"),
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_break_is_refused() {
        assert!(shell("a\n%end").is_err());
        assert_eq!(shell("it's").unwrap(), r"'it'\''s'");
    }

    proptest! {
        /// A shell is the judge: what it reads back is what was put in.
        #[test]
        fn a_shell_reads_one_word_back(text in "[^\\p{Cc}]{0,40}") {
            let script = format!("printf %s {}", shell(&text).unwrap());
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
