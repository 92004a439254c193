//! The contents of a snapshot, which can be read from its pages and written to new pages.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bolt::{Entry, Faults, FileKind, Offset, Path, Visitor};

use crate::image::{Image, PAGE};

/// The keys of a bucket and their values.
pub(crate) type Bucket = BTreeMap<Vec<u8>, Vec<u8>>;

/// An element of a leaf: its flags, key and value.
type Element = (u32, Vec<u8>, Vec<u8>);

/// The buckets of a snapshot, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents(pub(crate) BTreeMap<Vec<u8>, Bucket>);

impl Visitor for Contents {
    fn bucket(&mut self, bucket: &Path<'_>, _: Offset, _: &mut Faults) {
        self.0.entry(bucket.name.to_vec()).or_default();
    }

    fn entry(&mut self, entry: &Entry<'_>, _: &mut Faults) {
        self.bucket(&String::from_utf8_lossy(entry.bucket.name))
            .insert(entry.key.to_vec(), entry.value.to_vec());
    }
}

impl Contents {
    /// Reads the contents of an image. Fails if the image is damaged.
    pub(crate) fn of(image: &Image) -> Result<Self> {
        let mut contents = Self::default();
        let report = bolt::check(
            &image.0[..],
            image.0.len() as u64,
            FileKind::Snapshot,
            &mut contents,
        )?;
        ensure!(report.faults.count() == 0, "{:?}", report.faults.first());
        Ok(contents)
    }

    /// Returns a bucket, and creates it if it does not exist.
    pub(crate) fn bucket(&mut self, name: &str) -> &mut Bucket {
        self.0.entry(name.as_bytes().to_vec()).or_default()
    }

    /// Writes the contents as bbolt would: first the leaves in order, then the pages that point to
    /// them.
    pub(crate) fn image(&self) -> Image {
        let mut pages = Pages(vec![0; 2 * PAGE]);
        let root: Vec<Element> = self
            .0
            .iter()
            .map(|(name, bucket)| {
                let root = pages.bucket(bucket) as u64;
                (1, name.clone(), [root.to_le_bytes(), [0; 8]].concat())
            })
            .collect();
        let root = pages.leaf(&root);
        let count = pages.0.len() / PAGE;
        let mut image = Image(pages.0);
        for (id, at) in [(0, 0), (1, PAGE)] {
            image.set_long(at, id);
            image.0[at + 8] = 4;
            image.set_long(at + 16, 0x2_ED0C_DAED);
            image.0[at + 24..at + 28].copy_from_slice(&word(PAGE));
        }
        image.set_meta(16, root);
        image.set_meta(32, usize::MAX);
        image.set_meta(40, count);
        image.set_long(16 + 48, 7);
        image.set_long(PAGE + 16 + 48, 6);
        image.sum_metas();
        image
    }
}

fn word(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

struct Pages(Vec<u8>);

impl Pages {
    fn bucket(&mut self, bucket: &Bucket) -> usize {
        let mut leaves: Vec<Vec<Element>> = vec![Vec::new()];
        let mut size = 0;
        for (key, value) in bucket {
            let own = 16 + key.len() + value.len();
            if size > 0 && size + own > PAGE / 2 {
                leaves.push(Vec::new());
                size = 0;
            }
            size += own;
            leaves
                .last_mut()
                .unwrap_or(&mut Vec::new())
                .push((0, key.clone(), value.clone()));
        }
        let mut level: Vec<(Vec<u8>, usize)> = leaves
            .iter()
            .map(|leaf| {
                (
                    leaf.first()
                        .map(|(_, key, _)| key.clone())
                        .unwrap_or_default(),
                    self.leaf(leaf),
                )
            })
            .collect();
        while level.len() > 1 {
            level = level
                .chunks(50)
                .map(|part| (part[0].0.clone(), self.branch(part)))
                .collect();
        }
        level[0].1
    }

    fn leaf(&mut self, elements: &[Element]) -> usize {
        let (mut table, mut data) = (Vec::new(), Vec::new());
        for (index, (flags, key, value)) in elements.iter().enumerate() {
            table.extend(flags.to_le_bytes());
            for number in [
                (elements.len() - index) * 16 + data.len(),
                key.len(),
                value.len(),
            ] {
                table.extend(word(number));
            }
            data.extend_from_slice(key);
            data.extend_from_slice(value);
        }
        self.push(2, elements.len(), &[table, data].concat())
    }

    fn branch(&mut self, children: &[(Vec<u8>, usize)]) -> usize {
        let (mut table, mut data) = (Vec::new(), Vec::new());
        for (index, (key, child)) in children.iter().enumerate() {
            table.extend(word((children.len() - index) * 16 + data.len()));
            table.extend(word(key.len()));
            table.extend((*child as u64).to_le_bytes());
            data.extend_from_slice(key);
        }
        self.push(1, children.len(), &[table, data].concat())
    }

    fn push(&mut self, kind: u8, count: usize, rest: &[u8]) -> usize {
        let id = self.0.len() / PAGE;
        let overflow = (16 + rest.len() - 1) / PAGE;
        self.0.extend((id as u64).to_le_bytes());
        self.0.extend([kind, 0]);
        self.0.extend(&word(count)[..2]);
        self.0.extend(word(overflow));
        self.0.extend_from_slice(rest);
        self.0.resize((id + overflow + 1) * PAGE, 0);
        id
    }
}
