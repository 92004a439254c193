//! Reads, from the dynamic segment, the libraries and symbol versions that a program needs.

use object::elf::{self, ProgramHeader64, Vernaux, Verneed};
use object::read::elf::{Dyn as _, ProgramHeader as _};
use object::{LittleEndian, ReadRef as _};

use super::linkage::{Linkage, NotForCentos7, Version};

/// The libraries that a program can use on a minimal CentOS 7: glibc 2.17's libraries, and gcc
/// 4.8.5's libgcc.
const LIBRARIES: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
];

/// The newest symbol versions of CentOS 7's glibc and libgcc.
const NEWEST: [(&str, [u32; 3]); 2] = [("GLIBC_", [2, 17, 0]), ("GCC_", [4, 8, 0])];

/// The maximum number of records to read, so that the check does not hang on a corrupt table that
/// loops.
const MAX_SYMBOLS: usize = 4096;

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl Version {
    /// Returns the version after `prefix` in a name such as `GLIBC_2.2.5`, or `None` if the text
    /// after `prefix` is not a version.
    fn after(prefix: &str, name: &str) -> Option<Self> {
        let parts: Option<Vec<u32>> = name
            .strip_prefix(prefix)?
            .split('.')
            .map(|part| part.parse().ok())
            .collect();
        parts.map(Self)
    }
}

/// Checks the symbol versions and libraries that a program needs. Each symbol version is paired
/// with its library's name.
pub(super) fn check_versions(
    libraries: &[String],
    versions: &[(String, String)],
) -> Result<Linkage, NotForCentos7> {
    let mut glibc = None;
    let mut needs = Vec::new();
    for (library, name) in versions {
        let known = NEWEST
            .iter()
            .find_map(|(prefix, newest)| Some((Version::after(prefix, name)?, newest, prefix)));
        match known {
            Some((version, newest, prefix)) if version.0.as_slice() <= newest.as_slice() => {
                if *prefix == "GLIBC_" {
                    glibc = glibc.max(Some(version));
                }
            }
            // The symbol version is too new, is private (GLIBC_PRIVATE changes with each build), or
            // is a marker such as GLIBC_ABI_DT_RELR (2.36).
            _ => needs.push(format!("{name} of {library}")),
        }
    }
    // Report an unknown library before unknown symbol versions, because the symbol versions of that
    // library are unknown as well.
    let strange: Vec<_> = libraries
        .iter()
        .filter(|name| !LIBRARIES.contains(&name.as_str()))
        .cloned()
        .collect();
    if !strange.is_empty() {
        return Err(NotForCentos7::Libraries(strange));
    }
    if needs.is_empty() {
        Ok(Linkage::Dynamic { glibc })
    } else {
        Err(NotForCentos7::TooNew { needs })
    }
}

/// Reads and checks the libraries and symbol versions that a dynamically linked program needs.
pub(super) fn linkage(segments: &[Segment], bytes: &[u8]) -> Result<Linkage, NotForCentos7> {
    let damaged = NotForCentos7::Damaged;
    let table = segments
        .iter()
        .find_map(|segment| segment.dynamic(LittleEndian, bytes).transpose())
        .ok_or(damaged(
            "the file names a dynamic linker, but has no dynamic segment",
        ))?
        .map_err(|_| damaged("the dynamic segment cannot be parsed"))?;
    let value = |tag| {
        table
            .iter()
            .take(MAX_SYMBOLS)
            .find(|entry| entry.d_tag(LittleEndian) == tag)
            .map(|entry| entry.d_val(LittleEndian))
    };
    let strings = value(elf::DT_STRTAB)
        .and_then(|address| offset(segments, address))
        .ok_or(damaged("the dynamic segment does not name a string table"))?;
    let text = |at: u64| {
        text(bytes, strings.saturating_add(at))
            .ok_or(damaged("the position of a name is outside the file"))
    };

    let libraries = table
        .iter()
        .take_while(|entry| entry.d_tag(LittleEndian) != elf::DT_NULL)
        .filter(|entry| entry.d_tag(LittleEndian) == elf::DT_NEEDED)
        .map(|entry| text(entry.d_val(LittleEndian)))
        .collect::<Result<Vec<_>, _>>()?;

    let mut versions = Vec::new();
    if let Some(address) = value(elf::DT_VERNEED) {
        let lost = || damaged("the symbol version table is outside the file");
        let mut at = offset(segments, address).ok_or_else(lost)?;
        for _ in 0..MAX_SYMBOLS {
            let need = bytes
                .read_at::<Verneed<LittleEndian>>(at)
                .map_err(|()| lost())?;
            let library = text(need.vn_file.get(LittleEndian).into())?;
            let mut aux = at.saturating_add(need.vn_aux.get(LittleEndian).into());
            for _ in 0..need.vn_cnt.get(LittleEndian) {
                let entry = bytes
                    .read_at::<Vernaux<LittleEndian>>(aux)
                    .map_err(|()| lost())?;
                versions.push((
                    library.clone(),
                    text(entry.vna_name.get(LittleEndian).into())?,
                ));
                if versions.len() > MAX_SYMBOLS {
                    return Err(damaged("the symbol version table has too many entries"));
                }
                aux = aux.saturating_add(entry.vna_next.get(LittleEndian).into());
            }
            match need.vn_next.get(LittleEndian) {
                0 => break,
                next => at = at.saturating_add(next.into()),
            }
        }
    }
    check_versions(&libraries, &versions)
}

/// Returns the file offset of the byte that is loaded at this address.
fn offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD)
        .find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(LittleEndian))?;
            (into < segment.p_filesz(LittleEndian))
                .then(|| segment.p_offset(LittleEndian).saturating_add(into))
        })
}

/// Returns the text up to the next zero byte.
fn text(bytes: &[u8], at: u64) -> Option<String> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

/// A program header of a 64-bit ELF file, the only kind of ELF file that CentOS 7's x86-64 kernel
/// loads without 32-bit compatibility.
pub(super) type Segment = ProgramHeader64<LittleEndian>;
