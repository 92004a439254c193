//! Checks the list of free pages. etcd's databases do not contain this list, but databases of other
//! bbolt users may.

use std::io;

use crate::bitmap::Bitmap;
use crate::fault::Faults;
use crate::node::Header;
use crate::page::{self, HEADER};
use crate::read::{ReadAt, u64_at};

/// The maximum number of bytes of the list that are read at once.
const PIECE: usize = 64 << 10;
/// A count with this value means that the first word of the list contains the real count.
const OVERFULL: u16 = 0xFFFF;

/// The position of the page ids in a freelist.
struct Ids {
    /// The number of pages that the list occupies.
    span: u64,
    /// The file offset of the first id.
    from: u64,
    /// The number of ids.
    count: u64,
}

/// Reads the list, and marks the pages that contain the list as used. Does not mark these pages if
/// the reading stops before the list's end. bbolt has two kinds of freelist, array and hash map,
/// but both write the same bytes: the page ids in ascending order.
pub(crate) fn read<R: ReadAt + ?Sized>(
    file: &R,
    id: u64,
    size: u64,
    pages: u64,
    used: &mut Bitmap,
    faults: &mut Faults,
) -> io::Result<Bitmap> {
    let mut free = Bitmap::default();
    let Some(Ids { span, from, count }) = locate(file, id, size, pages, faults)? else {
        return Ok(free);
    };
    let mut piece = vec![0; PIECE];
    let mut before = 1;
    let mut at = from;
    let end = at + count * 8;
    // Stop after `Faults::KEPT` faults, because a list with so many faults is not a freelist, and
    // its stated length may be very large.
    while at < end && faults.count() < Faults::KEPT as u64 {
        let bytes = &mut piece[..usize::try_from(end - at).unwrap_or(PIECE).min(PIECE)];
        file.read_exact_at(bytes, at)?;
        for (index, word) in (0..).zip(bytes.chunks_exact(8)) {
            let (at, page) = (at + index * 8, u64_at(word, 0));
            if page >= pages || page < 2 {
                faults.add(
                    Some(id),
                    at,
                    format!("a free page from 2 to {}", pages - 1),
                    page.to_string(),
                );
                continue;
            }
            if page <= before {
                faults.add(
                    Some(id),
                    at,
                    format!("a free page above {before}, the previous free page"),
                    page.to_string(),
                );
            }
            if (id..id + span).contains(&page) {
                faults.add(
                    Some(id),
                    at,
                    "a free page outside the freelist itself",
                    page.to_string(),
                );
            }
            free.insert(page);
            before = page;
        }
        at += bytes.len() as u64;
    }
    if at >= end {
        (id..id + span).for_each(|page| _ = used.insert(page));
    }
    Ok(free)
}

/// Checks the page's header. Returns `None` if the page does not contain a readable list.
fn locate<R: ReadAt + ?Sized>(
    file: &R,
    id: u64,
    size: u64,
    pages: u64,
    faults: &mut Faults,
) -> io::Result<Option<Ids>> {
    if id < 2 || id >= pages {
        faults.add(
            None,
            HEADER as u64 + 32,
            format!(
                "the freelist on a page from 2 to {}",
                pages.saturating_sub(1)
            ),
            id.to_string(),
        );
        return Ok(None);
    }
    let start = id * size;
    let mut first = [0; HEADER + 8];
    file.read_exact_at(&mut first, start)?;
    let header = Header::parse(&first);
    if header.kind != page::FREELIST {
        faults.add(
            Some(id),
            start + 8,
            "a freelist page",
            page::kind(header.kind),
        );
        return Ok(None);
    }
    if header.id != id {
        faults.add(
            Some(id),
            start,
            format!("the page's id, {id}"),
            header.id.to_string(),
        );
    }
    Ok(extent(&header, &first, id, size, pages, faults))
}

/// Checks the numbers of pages and ids that the header of a list states. `first` contains the
/// list's first bytes.
fn extent(
    header: &Header,
    first: &[u8; HEADER + 8],
    id: u64,
    size: u64,
    pages: u64,
    faults: &mut Faults,
) -> Option<Ids> {
    let start = id * size;
    let span = u64::from(header.overflow) + 1;
    if span > pages - id {
        faults.add(
            Some(id),
            start + 12,
            format!("an overflow of at most {} pages", pages - id - 1),
            header.overflow.to_string(),
        );
        return None;
    }
    let (skip, count) = match header.count {
        OVERFULL => (HEADER as u64 + 8, u64_at(first, HEADER)),
        count => (HEADER as u64, u64::from(count)),
    };
    let room = (span * size - skip) / 8;
    if count > room {
        faults.add(
            Some(id),
            start + 10,
            format!("at most {room} free pages (there is no room for more)"),
            count.to_string(),
        );
        return None;
    }
    // bbolt first computes the length of the list, and then removes the list's own pages from the
    // list. The list may therefore contain fewer ids than fit into its pages: one id fewer for each
    // of its own pages.
    let needed = (skip + count * 8) / size + 1;
    if span > needed + 1 + span / 64 {
        let expected = format!(
            "an overflow of {} pages (the list contains the ids of {count} pages)",
            needed - 1
        );
        faults.add(Some(id), start + 12, expected, header.overflow.to_string());
        return None;
    }
    Some(Ids {
        span,
        from: start + skip,
        count,
    })
}
