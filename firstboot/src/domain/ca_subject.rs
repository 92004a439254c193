//! Represents the subject of a CA. A TLS server names the CAs that it trusts, but only by their
//! subjects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A CA's subject in DER, which the journal stores in base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct CaSubject(Vec<u8>);

impl CaSubject {
    /// Creates the subject from its DER form.
    pub(crate) fn new(der: &[u8]) -> Self {
        Self(der.to_vec())
    }

    /// Returns the value of an attribute of a distinguished name. The value directly follows the
    /// attribute's type, an object identifier below `id-at` (55 04 in DER).
    fn attribute(&self, kind: u8) -> Option<String> {
        let kind = [6, 3, 0x55, 4, kind];
        let at = self.0.windows(kind.len()).position(|bytes| bytes == kind)?;
        let [_string, length, rest @ ..] = &self.0[at + kind.len()..] else {
            return None;
        };
        let text = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

impl From<CaSubject> for String {
    fn from(name: CaSubject) -> Self {
        STANDARD.encode(name.0)
    }
}

impl TryFrom<String> for CaSubject {
    type Error = base64::DecodeError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

impl std::fmt::Display for CaSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const COMMON_NAME: u8 = 3;
        const ORGANIZATION: u8 = 10;
        match self
            .attribute(COMMON_NAME)
            .or_else(|| self.attribute(ORGANIZATION))
        {
            Some(text) => f.write_str(&text),
            None => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
