//! The type of a damaged file.

use crate::image::{Image, PAGE, Used};

/// One damaged file: a description of the damage, and the bytes of the file.
pub(super) struct Case {
    pub(super) kind: &'static str,
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn free_pages(image: &Image, used: &[Used]) -> Vec<usize> {
    let taken = |id: usize| {
        id < 2
            || used
                .iter()
                .any(|page| (page.id..=page.id + page.overflow).contains(&id))
    };
    (0..image.0.len() / PAGE).filter(|id| !taken(*id)).collect()
}
