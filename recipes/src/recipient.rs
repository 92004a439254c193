//! The recipients for whom data is encrypted: age's X25519 recipients (age-encryption.org/v1).

use std::fmt;
use std::str::FromStr;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use serde::{Deserialize, Serialize};

/// A public age key, as `age-keygen` prints it: `age1…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient {
    text: String,
    key: [u8; 32],
}

/// The error for a string that is not a recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// The text is the secret key of the pair. The secret key may exist only on machines that
    /// restore snapshots.
    #[error(
        "this is a secret key: write the public key, as `age-keygen -y` prints it, and replace the \
         pair, which is no longer secret"
    )]
    Secret,
    /// The text does not have the format of an X25519 recipient. For example, the text is a
    /// plugin's recipient, an SSH key or a passphrase.
    #[error(
        "expected an X25519 recipient, as `age-keygen` prints it: `age1` and 58 letters and digits"
    )]
    Syntax,
    /// The checksum is wrong, for example because a character is mistyped.
    #[error("its checksum is wrong: at least one character is mistyped")]
    Checksum,
}

impl Recipient {
    /// Returns the key.
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

/// Returns the 32 bytes of a Bech32 key with this prefix, or `None` if the string is not a Bech32
/// key with this prefix. Ignores the case of the prefix.
pub fn key(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let read = CheckedHrpstring::new::<Bech32>(text).ok()?;
    let bytes: Vec<u8> = read.byte_iter().collect();
    let right =
        read.hrp().as_str().eq_ignore_ascii_case(prefix) && read.validate_segwit_padding().is_ok();
    right.then(|| bytes.try_into().ok()).flatten()
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(RecipientError::Secret);
        }
        let letters = text.strip_prefix("age1").filter(|rest| rest.len() == 58);
        let small = |rest: &str| {
            rest.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !letters.is_some_and(small) {
            return Err(RecipientError::Syntax);
        }
        let key = key(text, "age").ok_or(RecipientError::Checksum)?;
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Recipient {
    type Error = RecipientError;
    fn try_from(text: String) -> Result<Self, RecipientError> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_that_is_not_a_recipient_is_refused_with_the_reason() {
        let good = GOOD.parse::<Recipient>().unwrap();
        assert_eq!(good.to_string(), GOOD);
        assert_eq!(
            serde_json::from_str::<Recipient>(&serde_json::to_string(&good).unwrap()).unwrap(),
            good
        );
        for (bad, why) in [
            ("", RecipientError::Syntax),
            ("age1", RecipientError::Syntax),
            ("ssh-ed25519 AAAA", RecipientError::Syntax),
            (
                "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt",
                RecipientError::Syntax,
            ),
            (&GOOD.to_uppercase(), RecipientError::Syntax),
            (&GOOD.replace('q', "p"), RecipientError::Checksum),
            ("AGE-SECRET-KEY-1…", RecipientError::Secret),
        ] {
            assert_eq!(bad.parse::<Recipient>().unwrap_err(), why, "{bad}");
        }
    }

    /// `age-keygen` 1.1.1 generated this key.
    const GOOD: &str = "age15lp306z7aly3hwtvzc8mm90wjwkrf3slwk5nqpnxdjh293aae3esqjjpc0";

    proptest! {
        #[test]
        fn a_mistyped_letter_is_found(at in 4usize..62, letter in "[a-z0-9]") {
            let mut text = GOOD.to_owned();
            text.replace_range(at..=at, &letter);
            prop_assert_eq!(text.parse::<Recipient>().is_ok(), text == GOOD);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<Recipient>();
            let _ = key(&text, "age");
        }
    }
}
