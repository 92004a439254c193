//! Defines the nonce of a member, which is unique to one agreement of the members.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use recipes::Label;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// The random number with which a member takes part in one agreement of the members: the id of its
/// disk for a bootstrap, or a number that firstboot generates for a restore order. firstboot writes
/// the nonce to the journal before it sends the nonce to any other member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Nonce(u128);

impl Nonce {
    pub(crate) fn draw() -> Result<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| anyhow!("the operating system returned no random bytes"))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    #[cfg(test)]
    pub(crate) fn of(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Nonce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        number
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not 32 hexadecimal digits"))
    }
}

impl TryFrom<String> for Nonce {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        nonce.to_string()
    }
}

/// The members that take part in an agreement, each with its nonce.
pub(crate) type Nonces = BTreeMap<Label, Nonce>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_written_and_read() {
        let nonce = Nonce::draw().unwrap();
        assert_ne!(nonce, Nonce::draw().unwrap());
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
        for wrong in ["", "1", &"+".repeat(32), &"0".repeat(33)] {
            assert!(wrong.parse::<Nonce>().is_err(), "{wrong}");
        }
    }
}
