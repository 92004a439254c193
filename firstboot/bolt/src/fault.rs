//! Describes faults in a file and their locations.

use std::fmt;

use serde::Serialize;

/// One difference between a file and what bbolt would have written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The page, or `None` if the fault concerns the whole file or a field of the current meta
    /// page.
    pub page: Option<u64>,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The part of the page that is wrong, and its expected value.
    pub expected: String,
    /// The value that was found instead of the expected value.
    pub found: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(page) = self.page {
            write!(f, "page {page}, ")?;
        }
        write!(
            f,
            "byte {}: expected {}, found {}",
            self.offset, self.expected, self.found
        )
    }
}

/// The first faults of a file, and the total number of its faults.
#[derive(Debug, Default)]
pub struct Faults {
    first: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// The maximum number of faults that are kept. One damaged area causes many similar faults, so
    /// a longer list would not help the reader.
    pub const KEPT: usize = 100;

    /// Records a fault.
    pub fn add(
        &mut self,
        page: Option<u64>,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(Fault {
                page,
                offset,
                expected: expected.into(),
                found: found.into(),
            });
        }
    }

    /// Returns the first faults, at most [`Self::KEPT`].
    pub fn first(&self) -> &[Fault] {
        &self.first
    }

    /// Returns the total number of faults.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Formats a key for a message, in hexadecimal. Truncates a long key.
pub(crate) fn shown(key: &[u8]) -> String {
    use fmt::Write as _;
    const LONG: usize = 32;
    let mut text = String::new();
    for byte in &key[..key.len().min(LONG)] {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    if key.len() > LONG {
        let _ = write!(text, "… ({} bytes)", key.len());
    }
    text
}
