//! Writes small databases as bbolt does, or with small differences.

/// The length of a page, in bytes.
pub(crate) const PAGE: usize = 1024;
/// The page id that marks a freelist as not written.
pub(crate) const NONE: u64 = u64::MAX;

const LEAF: u16 = 2;
const BRANCH: u16 = 1;
const META: u16 = 4;
const FREELIST: u16 = 16;

/// One element of a leaf: flags, key, value.
pub(crate) type Element = (u32, Vec<u8>, Vec<u8>);

/// A database that grows page by page.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// The ranges of bytes that a reader interprets: headers, tables and pointers. The ranges
    /// exclude keys and values. The ranges also exclude the lengths of a page's last key and last
    /// value, because a wrong length there does not change the position of any other element.
    pub(crate) structure: Vec<std::ops::Range<usize>>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; 2 * PAGE],
            structure: Vec::new(),
        }
    }

    /// Returns the id that the next page will have.
    pub(crate) fn next(&self) -> u64 {
        (self.bytes.len() / PAGE) as u64
    }

    /// Adds an unused page, which contains arbitrary bytes.
    pub(crate) fn unused(&mut self) -> u64 {
        let id = self.next();
        self.bytes.resize(self.bytes.len() + PAGE, 0xAA);
        id
    }

    pub(crate) fn leaf(&mut self, elements: &[Element]) -> u64 {
        let start = self.bytes.len();
        let bytes = leaf(self.next(), elements);
        self.structure.push(start..start + 16);
        let mut at = start + 16 + elements.len() * 16;
        for (index, (flags, key, value)) in elements.iter().enumerate() {
            let row = start + 16 + index * 16;
            let last = index + 1 == elements.len();
            // Exclude the bucket flag from the ranges, because a bucket whose flag is missing is an
            // ordinary key.
            self.structure
                .push(row + usize::from(*flags == 1)..row + if last { 8 } else { 16 });
            at += key.len();
            if *flags == 1 {
                self.structure.push(at..at + 8);
                if value.len() > 16 {
                    let count = usize::from(u16::from_le_bytes([value[26], value[27]]));
                    self.structure.push(at + 16..at + 32 + count * 16);
                }
            }
            at += value.len();
        }
        self.push(bytes)
    }

    pub(crate) fn branch(&mut self, children: &[(&[u8], u64)]) -> u64 {
        let start = self.bytes.len();
        let last = start + children.len() * 16;
        self.structure
            .extend([start..last + 4, last + 8..last + 16]);
        let mut bytes = header(self.next(), BRANCH, children.len());
        let mut data = Vec::new();
        for (index, (key, child)) in children.iter().enumerate() {
            bytes.extend(word((children.len() - index) * 16 + data.len()));
            bytes.extend(word(key.len()));
            bytes.extend(child.to_le_bytes());
            data.extend_from_slice(key);
        }
        bytes.extend(data);
        self.push(bytes)
    }

    pub(crate) fn freelist(&mut self, free: &[u64]) -> u64 {
        let start = self.bytes.len();
        let full = free.len() >= 0xFFFF;
        let mut bytes = header(
            self.next(),
            FREELIST,
            if full { 0xFFFF } else { free.len() },
        );
        if full {
            bytes.extend((free.len() as u64).to_le_bytes());
        }
        bytes.extend(free.iter().flat_map(|id| id.to_le_bytes()));
        self.structure.push(start..start + bytes.len());
        self.push(bytes)
    }

    /// Returns the complete file. Both meta pages are from one transaction, as in a snapshot.
    pub(crate) fn finish(&mut self, root: u64, freelist: u64) -> Vec<u8> {
        let pages = self.next();
        for (id, txid) in [(0, 7), (1, 6)] {
            let at = id * PAGE;
            let page = meta(id as u64, root, freelist, pages, txid);
            self.structure.push(at..at + page.len());
            self.bytes[at..at + page.len()].copy_from_slice(&page);
        }
        self.bytes.clone()
    }

    fn push(&mut self, mut page: Vec<u8>) -> u64 {
        let id = self.next();
        let overflow = (page.len() - 1) / PAGE;
        page[12..16].copy_from_slice(&word(overflow));
        page.resize((overflow + 1) * PAGE, 0);
        self.bytes.extend(page);
        id
    }
}

/// Returns a meta page with its checksum.
pub(crate) fn meta(id: u64, root: u64, freelist: u64, pages: u64, txid: u64) -> Vec<u8> {
    let mut bytes = header(id, META, 0);
    bytes.extend(0xED0C_DAED_u32.to_le_bytes());
    bytes.extend(word(2));
    bytes.extend(word(PAGE));
    bytes.extend(word(0));
    for long in [root, 0, freelist, pages, txid] {
        bytes.extend(long.to_le_bytes());
    }
    let sum = sum(&bytes[16..]);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// Computes the 64-bit FNV-1a hash.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns a bucket whose root is a page.
pub(crate) fn bucket(name: &str, root: u64) -> Element {
    (
        1,
        name.into(),
        [root.to_le_bytes(), 0_u64.to_le_bytes()].concat(),
    )
}

/// Returns an inline bucket, which is stored in its parent's page.
pub(crate) fn inline(name: &str, elements: &[Element]) -> Element {
    (1, name.into(), [vec![0; 16], leaf(0, elements)].concat())
}

/// Returns a key with its value.
pub(crate) fn pair(key: &str, value: &str) -> Element {
    (0, key.into(), value.into())
}

fn leaf(id: u64, elements: &[Element]) -> Vec<u8> {
    let mut bytes = header(id, LEAF, elements.len());
    let mut data = Vec::new();
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        bytes.extend(flags.to_le_bytes());
        bytes.extend(word((elements.len() - index) * 16 + data.len()));
        bytes.extend(word(key.len()));
        bytes.extend(word(value.len()));
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    bytes.extend(data);
    bytes
}

fn header(id: u64, kind: u16, count: usize) -> Vec<u8> {
    let count = u16::try_from(count).expect("a page must not have more elements");
    [
        &id.to_le_bytes()[..],
        &kind.to_le_bytes(),
        &count.to_le_bytes(),
        &[0; 4],
    ]
    .concat()
}

fn word(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a small file").to_le_bytes()
}
