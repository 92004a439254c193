//! Looks up a value by its bucket and its key. The lookup reads only the few pages on the path to
//! the value.

use std::io;

use crate::fault::Faults;
use crate::meta;
use crate::node::{Header, Node};
use crate::page::HEADER;
use crate::read::{ReadAt, u64_at};
use crate::types::FileKind;

/// The maximum depth of a tree. Real trees are much shallower.
const DEEPEST: usize = 64;
/// The maximum length of a page with its overflow. Pages with buckets and small values are far
/// shorter.
const LONGEST: u64 = 16 << 20;
/// The length of the header of a bucket's value: the id of the root page (8 bytes) and the sequence
/// number (8). If the id is 0, a leaf page follows the sequence number.
const BUCKET: usize = 16;

/// Returns the value of a key in a top-level bucket, or `None` if the bucket or the key does not
/// exist. No process may write to the database during the call.
///
/// # Errors
/// Fails if the file cannot be read, or if a page on the path differs from what bbolt writes.
pub fn get<R: ReadAt + ?Sized>(
    file: &R,
    len: u64,
    bucket: &[u8],
    key: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let Some(meta) = meta::find(file, len, FileKind::Live, &mut Faults::default())? else {
        return Err(damaged("neither meta page is valid"));
    };
    let size = u64::from(meta.page_size);
    let pages = Pages {
        file,
        size,
        count: meta.pages.min(len / size),
    };
    let Some((true, value)) = pages.find(meta.root, bucket)? else {
        return Ok(None);
    };
    if value.len() < BUCKET {
        return Err(damaged("a bucket is too short"));
    }
    let found = match u64_at(&value, 0) {
        0 => leaf(&value[BUCKET..], key)?,
        root => pages.find(root, key)?,
    };
    Ok(found
        .filter(|(is_bucket, _)| !is_bucket)
        .map(|(_, value)| value))
}

/// The result of a lookup: whether the value is a bucket, and the value itself. The result is
/// `None` if the key does not exist.
type Found = Option<(bool, Vec<u8>)>;

struct Pages<'f, R: ReadAt + ?Sized> {
    file: &'f R,
    size: u64,
    count: u64,
}

impl<R: ReadAt + ?Sized> Pages<'_, R> {
    /// Looks for a key in the tree below a page.
    fn find(&self, root: u64, key: &[u8]) -> io::Result<Found> {
        let mut id = root;
        for _ in 0..DEEPEST {
            let bytes = self.load(id)?;
            let node = Node::parse(&bytes)
                .map_err(|(_, expected, found)| damaged(&format!("{expected}: {found}")))?;
            if !node.is_branch() {
                return Ok(search(&node, key));
            }
            // Descend into the last child whose first key is not above the wanted key.
            let after = (0..node.count())
                .find(|at| node.key(*at) > key)
                .unwrap_or(node.count());
            let Some(child) = after.checked_sub(1) else {
                return Ok(None);
            };
            id = node.child(child);
        }
        Err(damaged("its tree is too deep"))
    }

    fn load(&self, id: u64) -> io::Result<Vec<u8>> {
        if id < 2 || id >= self.count {
            return Err(damaged("the id of a page is out of range"));
        }
        let mut head = [0; HEADER];
        self.file.read_exact_at(&mut head, id * self.size)?;
        let header = Header::parse(&head);
        let pages = u64::from(header.overflow) + 1;
        if header.id != id
            || !header.is_node()
            || pages > self.count - id
            || pages * self.size > LONGEST
        {
            return Err(damaged(
                "a page's header has an unexpected id, kind or length",
            ));
        }
        let mut bytes = vec![0; usize::try_from(pages * self.size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, id * self.size)?;
        Ok(bytes)
    }
}

/// Looks for a key in an inline bucket, whose only page is stored in its parent's page.
fn leaf(bytes: &[u8], key: &[u8]) -> io::Result<Found> {
    if bytes.len() < HEADER {
        return Err(damaged("an inline bucket's page is too short"));
    }
    let node = Node::parse(bytes)
        .map_err(|(_, expected, found)| damaged(&format!("{expected}: {found}")))?;
    if node.is_branch() {
        Err(damaged("an inline bucket's page is not a leaf"))
    } else {
        Ok(search(&node, key))
    }
}

fn search(node: &Node<'_>, key: &[u8]) -> Found {
    let found = (0..node.count())
        .map(|at| node.pair(at))
        .find(|pair| pair.key == key)?;
    Some((found.is_bucket, found.value.to_vec()))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a database that bbolt wrote: {what}"),
    )
}
