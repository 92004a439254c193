//! Reads a page of the tree with its overflow.

use std::io;

use super::{DEEPEST, Expected, LONGEST, Tree, inside};
use crate::node::Header;
use crate::page::{self, HEADER};
use crate::read::ReadAt;
use crate::types::Offset;

impl<R: ReadAt + ?Sized> Tree<'_, R> {
    /// Reads a branch or leaf page with its overflow. Returns false if the page is invalid, or if
    /// another pointer leads to the same page.
    pub(super) fn load(
        &mut self,
        bytes: &mut Vec<u8>,
        id: u64,
        expected: Expected<'_>,
    ) -> io::Result<bool> {
        if id < 2 || id >= self.end() {
            self.wrong(
                expected.from,
                format!("a page from 2 to {}", self.end().saturating_sub(1)),
                id.to_string(),
            );
            return Ok(false);
        }
        if expected.depth > DEEPEST {
            self.wrong(
                expected.from,
                format!("a tree of at most {DEEPEST} levels"),
                "more",
            );
            return Ok(false);
        }
        if !self.used.insert(id) {
            self.wrong(
                expected.from,
                "a page that nothing else points to",
                format!("another pointer to page {id}"),
            );
            return Ok(false);
        }
        bytes.resize(usize::try_from(self.size).unwrap_or(0), 0);
        let start = Offset {
            page: id,
            offset: id * self.size,
        };
        self.pages.read(bytes, start.offset)?;
        let header = Header::parse(bytes);
        if header.id != id {
            self.wrong(start, format!("the page's id, {id}"), header.id.to_string());
            return Ok(false);
        }
        if !header.is_node() {
            self.wrong(
                inside(start, 8),
                "a branch or leaf page",
                page::kind(header.kind),
            );
            return Ok(false);
        }
        if !self.overflow(bytes, header, start)? {
            return Ok(false);
        }
        self.is_free(id, u64::from(header.overflow), expected.from);
        self.looked_at += 1 + u64::from(header.overflow);
        self.visit.progress(self.looked_at * self.size);
        Ok(true)
    }

    /// Reads the overflow of a page, but only if the overflow's length matches the page's elements.
    /// A wrong length in the header therefore cannot cause a longer read than the elements require.
    fn overflow(&mut self, bytes: &mut Vec<u8>, header: Header, start: Offset) -> io::Result<bool> {
        let at = inside(start, 12);
        let span = u64::from(header.overflow) + 1;
        if span > self.end() - start.page {
            let most = self.end() - start.page - 1;
            self.wrong(
                at,
                format!("an overflow of at most {most} pages"),
                header.overflow.to_string(),
            );
            return Ok(false);
        }
        let end = header.table_end();
        if end as u64 > span * self.size {
            let most = (span * self.size - HEADER as u64) / 16;
            self.wrong(
                inside(start, 10),
                format!("at most {most} elements in {span} pages"),
                header.count.to_string(),
            );
            return Ok(false);
        }
        if end > bytes.len() {
            self.extend(bytes, end, start)?;
        }
        let extent = header.extent(bytes);
        // bbolt rounds the size up to whole pages. Early versions of bbolt added a page even if the
        // size was already a multiple of the page size.
        let (least, most) = (extent.saturating_sub(1) / self.size, extent / self.size);
        if !(least..=most).contains(&u64::from(header.overflow)) {
            let expected =
                format!("an overflow of {least} pages (the last element ends at byte {extent})");
            self.wrong(at, expected, header.overflow.to_string());
            return Ok(false);
        }
        let held = self.held + span * self.size;
        if held > LONGEST {
            self.wrong(
                at,
                format!("at most {LONGEST} bytes in the pages from the root to this one"),
                held.to_string(),
            );
            return Ok(false);
        }
        let mut own = true;
        for id in start.page + 1..start.page + span {
            own &= self.used.insert(id);
        }
        if !own {
            self.wrong(
                at,
                format!(
                    "{} overflow pages that nothing else points to",
                    header.overflow
                ),
                "some in use",
            );
            return Ok(false);
        }
        let whole = usize::try_from(span * self.size).unwrap_or(0);
        self.extend(bytes, whole, start)?;
        Ok(true)
    }

    fn extend(&mut self, bytes: &mut Vec<u8>, to: usize, start: Offset) -> io::Result<()> {
        let from = bytes.len();
        if to > from {
            // Reserve exactly the memory that is needed, because `reserve` may double the buffer,
            // and the buffer of a long page is large.
            bytes.reserve_exact(to - from);
            bytes.resize(to, 0);
            self.pages
                .read(&mut bytes[from..], start.offset + from as u64)?;
        }
        Ok(())
    }

    fn is_free(&mut self, id: u64, overflow: u64, from: Offset) {
        let Some(free) = &self.free else { return };
        if let Some(freed) = (id..=id + overflow).find(|id| free.contains(*id)) {
            self.faults.add(
                Some(from.page),
                from.offset,
                "a page that is not free",
                format!("page {freed}, in the freelist"),
            );
        }
    }
}
