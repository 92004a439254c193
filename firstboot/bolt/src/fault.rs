//! What is wrong, and where.

use std::fmt;

use serde::Serialize;

/// One thing that is not as bbolt writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The page; none where it concerns the whole file.
    pub page: Option<u64>,
    /// The byte of the file.
    pub offset: u64,
    /// Which part of the page, and what was expected there.
    pub expected: String,
    /// What is there instead.
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

/// The first faults, and how many there are in all.
#[derive(Debug, Default)]
pub struct Faults {
    first: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// So many are kept: damage repeats itself, and nobody reads a million lines.
    pub const KEPT: usize = 100;

    /// Notes one.
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

    /// The first [`Self::KEPT`] of them.
    pub fn first(&self) -> &[Fault] {
        &self.first
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A key as a message shows it: hexadecimal, and cut where it is long.
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
