//! Determines from a program's ELF headers whether CentOS 7 can run the program.
//!
//! The check reads the same parts as the kernel and the dynamic linker of CentOS 7.9: the program
//! headers and the dynamic segment. The check does not need the section headers, which may be
//! stripped.

mod dynamic;
mod linkage;
#[cfg(test)]
pub(crate) mod test_elf;
#[cfg(test)]
mod tests;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use dynamic::Segment;
use linkage::INTERPRETER;
pub(crate) use linkage::{Linkage, NotForCentos7};

/// The kernel of CentOS 7.9. A binary whose ABI note requires a newer kernel exits with "FATAL:
/// kernel too old".
const KERNEL: [u32; 3] = [3, 10, 0];

/// Checks that a minimal CentOS 7.9 can run a program, and returns how the program is linked.
/// `bytes` is the content of the program's file.
pub(crate) fn runs_on_centos7(bytes: &[u8]) -> Result<Linkage, NotForCentos7> {
    let header = header(bytes)?;
    let segments = segments(header, bytes)?;
    let mut interpreter = None;
    for segment in segments {
        match segment.p_type(LittleEndian) {
            elf::PT_INTERP => {
                let name = segment.data(LittleEndian, bytes).unwrap_or_default();
                interpreter = Some(
                    String::from_utf8_lossy(name)
                        .trim_end_matches('\0')
                        .to_owned(),
                );
            }
            elf::PT_NOTE => kernel(segment, bytes)?,
            _ => {}
        }
    }
    match interpreter {
        None => Ok(Linkage::Static),
        Some(found) if found != INTERPRETER => Err(NotForCentos7::Interpreter { found }),
        Some(_) => dynamic::linkage(segments, bytes),
    }
}

/// Reads the file header, and checks the format, the machine, the system and the type of the file.
fn header(bytes: &[u8]) -> Result<&FileHeader64<LittleEndian>, NotForCentos7> {
    if bytes.starts_with(b"#!") {
        return Err(NotForCentos7::Script);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        let first: Vec<_> = bytes
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let found = if first.is_empty() {
            "nothing (the file is empty)".to_owned()
        } else {
            first.join(" ")
        };
        return Err(NotForCentos7::NotElf { found });
    }
    let size = bytes.len() as u64;
    let whole = NotForCentos7::Truncated {
        what: "the ELF header",
        needs: 64,
        size,
    };
    let Ok((header, _)) = object::pod::from_bytes::<FileHeader64<LittleEndian>>(bytes) else {
        return Err(whole);
    };
    let ident = &header.e_ident;
    if ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
        let width = if ident.class == elf::ELFCLASS64 {
            "64-bit"
        } else {
            "32-bit"
        };
        let order = if ident.data == elf::ELFDATA2LSB {
            "little-endian"
        } else {
            "big-endian"
        };
        return Err(NotForCentos7::Architecture {
            found: format!("a {width} {order} machine"),
        });
    }
    if let Some(found) = other_machine(header) {
        return Err(NotForCentos7::Architecture { found });
    }
    if ![elf::ELFOSABI_SYSV, elf::ELFOSABI_GNU].contains(&ident.os_abi) {
        return Err(NotForCentos7::System(ident.os_abi.0));
    }
    match header.e_type(LittleEndian) {
        elf::ET_EXEC | elf::ET_DYN => Ok(header),
        elf::ET_REL => Err(NotForCentos7::NotProgram("an object file (.o)")),
        elf::ET_CORE => Err(NotForCentos7::NotProgram("a core dump")),
        _ => Err(NotForCentos7::NotProgram("an ELF file of unknown type")),
    }
}

/// Returns the name of the machine, if it is not x86-64.
fn other_machine(header: &FileHeader64<LittleEndian>) -> Option<String> {
    match header.e_machine(LittleEndian) {
        elf::EM_X86_64 => None,
        elf::EM_AARCH64 => Some("arm64 (AArch64)".to_owned()),
        elf::EM_PPC64 => Some("ppc64le".to_owned()),
        elf::EM_RISCV => Some("riscv64".to_owned()),
        other => Some(format!("ELF machine {}", other.0)),
    }
}

/// Reads the program headers. Checks that the file has a loadable segment and an entry point, and
/// that each loadable segment is within the file.
fn segments<'a>(
    header: &FileHeader64<LittleEndian>,
    bytes: &'a [u8],
) -> Result<&'a [Segment], NotForCentos7> {
    let size = bytes.len() as u64;
    let table = header.e_phoff.get(LittleEndian).saturating_add(
        u64::from(header.e_phnum.get(LittleEndian))
            * u64::from(header.e_phentsize.get(LittleEndian)),
    );
    if table > size {
        return Err(NotForCentos7::Truncated {
            what: "the program header table",
            needs: table,
            size,
        });
    }
    let segments = header
        .program_headers(LittleEndian, bytes)
        .map_err(|_| NotForCentos7::Damaged("the program header table cannot be parsed"))?;
    for segment in segments {
        let (offset, length) = segment.file_range(LittleEndian);
        let needs = offset.saturating_add(length);
        if segment.p_type(LittleEndian) == elf::PT_LOAD && needs > size {
            return Err(NotForCentos7::Truncated {
                what: "a loadable segment",
                needs,
                size,
            });
        }
    }
    // A shared library usually has no entry point, and a program without a loadable segment has no
    // code to run.
    if !segments
        .iter()
        .any(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD)
    {
        return Err(NotForCentos7::Damaged("the file has no loadable segment"));
    }
    if header.e_entry.get(LittleEndian) == 0 {
        return Err(NotForCentos7::NotProgram(
            "a shared library (no entry point)",
        ));
    }
    Ok(segments)
}

/// If this note segment contains the ABI note of a glibc program, checks the minimum kernel version
/// in the note.
fn kernel(segment: &Segment, bytes: &[u8]) -> Result<(), NotForCentos7> {
    let damaged = |_| NotForCentos7::Damaged("a note segment cannot be parsed");
    let Some(mut notes) = segment.notes(LittleEndian, bytes).map_err(damaged)? else {
        return Ok(());
    };
    while let Some(note) = notes.next().map_err(damaged)? {
        if note.name() != elf::ELF_NOTE_GNU || note.n_type(LittleEndian) != elf::NT_GNU_ABI_TAG {
            continue;
        }
        let word = |nth: usize| {
            let bytes = note.desc().get(nth * 4..nth * 4 + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (Some(0), Some(major), Some(minor), Some(sub)) = (word(0), word(1), word(2), word(3))
        else {
            return Err(NotForCentos7::Damaged("the ABI note is not for Linux"));
        };
        if [major, minor, sub] > KERNEL {
            return Err(NotForCentos7::Kernel([major, minor, sub]));
        }
    }
    Ok(())
}
