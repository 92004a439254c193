//! Defines the length of a page's header, and the kinds of pages.

/// The length of the header of every page: id (8 bytes), kind (2), count (2), overflow (4).
pub(crate) const HEADER: usize = 16;

/// The kinds of pages, as in their headers.
pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// Describes a page's kind in words.
pub(crate) fn kind(flags: u16) -> String {
    match flags {
        BRANCH => "a branch page".to_owned(),
        LEAF => "a leaf page".to_owned(),
        META => "a meta page".to_owned(),
        FREELIST => "a freelist page".to_owned(),
        other => format!("a page of unknown kind {other:#06x}"),
    }
}
