//! Walks a whole file: its meta pages, its freelist, its tree, and lost pages.

use std::io;

use crate::bitmap::Bitmap;
use crate::fault::Faults;
use crate::freelist;
use crate::meta::{self, Meta};
use crate::page::HEADER;
use crate::read::{Pages, ReadAt};
use crate::tree::Tree;
use crate::types::{FileKind, Visitor};

/// The result of the walk.
#[derive(Debug)]
pub struct Report {
    /// The current meta page, or `None` if neither meta page is valid.
    pub meta: Option<Meta>,
    /// The number of pages in use.
    pub used: u64,
    /// Whether the walk checked the whole tree. The value is false if a fault may have hidden a
    /// part of the tree from the walk.
    pub complete: bool,
    /// The faults.
    pub faults: Faults,
}

/// Checks the first `len` bytes of a file as a database, and passes every key to the visitor.
///
/// # Errors
/// Fails only if the file cannot be read. The report contains the faults in the file.
pub fn check<R: ReadAt + ?Sized>(
    file: &R,
    len: u64,
    file_kind: FileKind,
    visit: &mut dyn Visitor,
) -> io::Result<Report> {
    let mut faults = Faults::default();
    let Some(meta) = meta::find(file, len, file_kind, &mut faults)? else {
        return Ok(Report {
            meta: None,
            used: 0,
            complete: false,
            faults,
        });
    };
    let size = u64::from(meta.page_size);
    let pages = length(&meta, len, file_kind, &mut faults);
    let mut used = Bitmap::default();
    for id in 0..pages.min(2) {
        used.insert(id);
    }
    let free = match meta.freelist {
        Some(id) => Some(freelist::read(
            file,
            id,
            size,
            pages,
            &mut used,
            &mut faults,
        )?),
        None => None,
    };
    let complete = pages == meta.pages;
    let pages = Pages::of(file, pages * size);
    let mut tree = Tree {
        pages,
        size,
        used,
        free,
        faults,
        complete,
        looked_at: 2,
        visit,
        spare: Vec::new(),
        held: 0,
    };
    tree.root(meta.root)?;
    let Tree {
        used,
        free,
        mut faults,
        complete,
        ..
    } = tree;
    if let Some(free) = free.filter(|_| complete) {
        report_leaked_pages(&used, &free, meta.pages, size, &mut faults);
    }
    Ok(Report {
        meta: Some(meta),
        used: used.count(),
        complete,
        faults,
    })
}

/// Compares the high-water mark with the file's length. Returns how many of the pages below the
/// high-water mark the file contains.
fn length(meta: &Meta, len: u64, file_kind: FileKind, faults: &mut Faults) -> u64 {
    let size = u64::from(meta.page_size);
    let there = len / size;
    let wanted = meta.pages.checked_mul(size);
    let said = format!(
        "{} pages of {size} bytes, as the meta page states",
        meta.pages
    );
    let right = match file_kind {
        FileKind::Snapshot => wanted == Some(len),
        FileKind::Live => wanted.is_some_and(|wanted| wanted <= len) && len.is_multiple_of(size),
    };
    if !right {
        // The fault's offset is the stated length or the file's length, whichever is smaller.
        let said = if file_kind == FileKind::Live {
            format!("{said}, or more whole pages")
        } else {
            said
        };
        faults.add(
            None,
            wanted.unwrap_or(len).min(len),
            said,
            format!("{len} bytes"),
        );
    }
    if meta.pages < 3 {
        faults.add(
            None,
            HEADER as u64 + 40,
            "a high-water mark of 3 or more",
            meta.pages.to_string(),
        );
    }
    meta.pages.min(there)
}

/// Reports pages that are neither reachable nor free. Combines consecutive pages, so that one fault
/// covers many pages.
fn report_leaked_pages(used: &Bitmap, free: &Bitmap, pages: u64, size: u64, faults: &mut Faults) {
    let mut id = 2;
    while id < pages {
        let next = [used.next(id), free.next(id)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(pages)
            .min(pages);
        if next > id {
            let run = next - id;
            let pages = if run == 1 {
                "the page".to_owned()
            } else {
                format!("{run} pages from here on")
            };
            faults.add(
                Some(id),
                id * size,
                format!("{pages} to be reachable or in the freelist"),
                "neither",
            );
        }
        id = next + 1;
    }
}
