//! Quotes text as one word of a shell or a kickstart, and checks text that is used without quotes.

use minijinja::{Error, ErrorKind};

/// Returns whether a string needs no quoting in a shell, a kickstart, a unit or chrony.conf, or on
/// the kernel's command line.
pub(crate) fn is_word(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "_./:,@%+=-".contains(c))
}

/// Puts one word in single quotes. Between single quotes, only the single quote itself is special
/// to a shell and to Python's shlex. pykickstart splits its lines with shlex in POSIX mode
/// (pykickstart rhel7-branch, parser.py).
pub(crate) fn shell(text: &str) -> Result<String, Error> {
    // In a kickstart, a line break would end the command despite the quotes, and a line with only
    // `%end` would end the whole section.
    if text.chars().any(char::is_control) {
        let message = format!("{text:?} has a control character, which a kickstart cannot contain");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Checks the characters of a timer's schedule, which has the format of systemd.time(7), and
/// returns the schedule unchanged.
pub(crate) fn calendar(text: &str) -> Result<String, Error> {
    if text.is_empty()
        || text
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"*:/-, ".contains(c))
    {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{text:?} is not the schedule of a timer"),
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
        /// Passes the quoted text to a shell, which must read back the original text.
        #[test]
        fn a_shell_reads_the_quoted_text_as_one_word(text in "[^\\p{Cc}]{0,40}") {
            let script = format!("printf %s {}", shell(&text).unwrap());
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
