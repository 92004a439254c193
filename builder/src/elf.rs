//! Would this program run on CentOS 7? Told from its ELF headers, before it is on a node where it does not.
//!
//! What counts is what the kernel and the dynamic linker of CentOS 7.9 look at: program headers and the dynamic
//! segment. Section headers may be stripped and are not asked.

mod dynamic;
#[cfg(test)]
pub(crate) mod specimen;
#[cfg(test)]
mod tests;

use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// A program header of the only kind CentOS 7's x86-64 kernel loads without 32-bit compatibility.
type Segment = ProgramHeader64<LittleEndian>;

/// The kernel of CentOS 7.9 is 3.10.0: a binary whose ABI note asks for more ends with "FATAL: kernel too old".
const KERNEL: [u32; 3] = [3, 10, 0];

/// The dynamic linker of CentOS 7's x86-64 glibc.
const INTERPRETER: &str = "/lib64/ld-linux-x86-64.so.2";

/// How a program that runs on CentOS 7 finds its libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// It brings everything along; static-pie counts.
    Static,
    /// It uses libraries that CentOS 7 has; `glibc` is the newest version of its symbols asked for (at most 2.17).
    Dynamic {
        /// The newest `GLIBC_x.y` asked for; none where it asks for unversioned symbols only.
        glibc: Option<Version>,
    },
}

/// A version of a library's symbols, as in the 2.17 of `GLIBC_2.17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u32>);

/// Why a program would not run on CentOS 7.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotForCentos7 {
    /// It is a script.
    #[error("it is a script (`#!…`), not an ELF program: give the compiled program itself")]
    Script,
    /// It is something else again.
    #[error("it is not an ELF program: it starts with {found}, not with 7f 45 4c 46; give a linux x86-64 program")]
    NotElf {
        /// Its first bytes, in hexadecimal.
        found: String,
    },
    /// It ends before its own headers say.
    #[error("it is cut short: {what} ends at byte {needs}, the file at {size}; copy or fetch it again")]
    Truncated {
        /// The part that is incomplete.
        what: &'static str,
        /// Where that part would end.
        needs: u64,
        /// Where the file ends.
        size: u64,
    },
    /// It is for another machine.
    #[error("it is built for {found}, the nodes are 64-bit x86-64: build it for the target x86_64-unknown-linux-musl")]
    Architecture {
        /// What it is built for.
        found: String,
    },
    /// It is for another system.
    #[error("it is built for another system than Linux (ELF OS ABI {0}): build it for x86_64-unknown-linux-musl")]
    System(u8),
    /// It is an object file, a core or the like.
    #[error("it is not a program but {0}: give the linked program")]
    NotProgram(&'static str),
    /// It asks for a dynamic linker that is not there.
    #[error("it asks for the dynamic linker {found}, CentOS 7 has {INTERPRETER}; {STATIC}")]
    Interpreter {
        /// The one asked for.
        found: String,
    },
    /// It asks for symbols that came later.
    #[error("it is linked against libraries newer than CentOS 7's (glibc 2.17): it needs {}; {STATIC}", .needs.join(", "))]
    TooNew {
        /// The symbol versions that CentOS 7 has not, each with its library.
        needs: Vec<String>,
    },
    /// It asks for a library that a minimal CentOS 7 has not.
    #[error("it needs {}, not on a minimal CentOS 7; {STATIC}", .0.join(", "))]
    Libraries(Vec<String>),
    /// It asks for a newer kernel.
    #[error("it asks for Linux {}.{}.{} or later (ABI note), CentOS 7 has 3.10.0; {STATIC}", .0[0], .0[1], .0[2])]
    Kernel([u32; 3]),
    /// Its headers contradict themselves.
    #[error("its ELF headers are damaged: {0}; build or fetch it again")]
    Damaged(&'static str),
}

/// What to do about a binary that is linked against too new a system.
const STATIC: &str =
    "build a static one: cargo build --release --target x86_64-unknown-linux-musl (Go: CGO_ENABLED=0 go build)";

/// Says whether the program with these bytes would run on a minimal CentOS 7.9, and how it is linked.
pub(crate) fn runs_on_centos7(bytes: &[u8]) -> Result<Linkage, NotForCentos7> {
    let header = header(bytes)?;
    let segments = segments(header, bytes)?;
    let mut interpreter = None;
    for segment in segments {
        match segment.p_type(LittleEndian) {
            elf::PT_INTERP => {
                let name = segment.data(LittleEndian, bytes).unwrap_or_default();
                interpreter = Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
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

/// The file header, once it is one that CentOS 7 would load.
fn header(bytes: &[u8]) -> Result<&FileHeader64<LittleEndian>, NotForCentos7> {
    if bytes.starts_with(b"#!") {
        return Err(NotForCentos7::Script);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        let first: Vec<_> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let found = if first.is_empty() { "nothing (the file is empty)".to_owned() } else { first.join(" ") };
        return Err(NotForCentos7::NotElf { found });
    }
    let size = bytes.len() as u64;
    let whole = NotForCentos7::Truncated { what: "the ELF header", needs: 64, size };
    let Ok((header, _)) = object::pod::from_bytes::<FileHeader64<LittleEndian>>(bytes) else { return Err(whole) };
    let ident = &header.e_ident;
    if ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
        let width = if ident.class == elf::ELFCLASS64 { "64-bit" } else { "32-bit" };
        let order = if ident.data == elf::ELFDATA2LSB { "little-endian" } else { "big-endian" };
        return Err(NotForCentos7::Architecture { found: format!("a {width} {order} machine") });
    }
    match header.e_machine(LittleEndian) {
        elf::EM_X86_64 => {}
        elf::EM_AARCH64 => return Err(NotForCentos7::Architecture { found: "arm64 (AArch64)".to_owned() }),
        elf::EM_PPC64 => return Err(NotForCentos7::Architecture { found: "ppc64le".to_owned() }),
        elf::EM_RISCV => return Err(NotForCentos7::Architecture { found: "riscv64".to_owned() }),
        other => return Err(NotForCentos7::Architecture { found: format!("ELF machine {}", other.0) }),
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

/// The program headers, once each is within the file.
fn segments<'a>(header: &FileHeader64<LittleEndian>, bytes: &'a [u8]) -> Result<&'a [Segment], NotForCentos7> {
    let size = bytes.len() as u64;
    let table = header
        .e_phoff
        .get(LittleEndian)
        .saturating_add(u64::from(header.e_phnum.get(LittleEndian)) * u64::from(header.e_phentsize.get(LittleEndian)));
    if table > size {
        return Err(NotForCentos7::Truncated { what: "the program header table", needs: table, size });
    }
    let segments = header
        .program_headers(LittleEndian, bytes)
        .map_err(|_| NotForCentos7::Damaged("the program header table cannot be read"))?;
    for segment in segments {
        let (offset, length) = segment.file_range(LittleEndian);
        let needs = offset.saturating_add(length);
        if segment.p_type(LittleEndian) == elf::PT_LOAD && needs > size {
            return Err(NotForCentos7::Truncated { what: "a loadable segment", needs, size });
        }
    }
    // A shared library has no entry point to jump to, a program without a segment nothing to run.
    if !segments.iter().any(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD) {
        return Err(NotForCentos7::Damaged("it has no loadable segment"));
    }
    if header.e_entry.get(LittleEndian) == 0 {
        return Err(NotForCentos7::NotProgram("a shared library (no entry point)"));
    }
    Ok(segments)
}

/// Checks the oldest kernel that a glibc program's ABI note names, where this note segment holds one.
fn kernel(segment: &Segment, bytes: &[u8]) -> Result<(), NotForCentos7> {
    let damaged = |_| NotForCentos7::Damaged("a note segment cannot be read");
    let Some(mut notes) = segment.notes(LittleEndian, bytes).map_err(damaged)? else { return Ok(()) };
    while let Some(note) = notes.next().map_err(damaged)? {
        if note.name() != elf::ELF_NOTE_GNU || note.n_type(LittleEndian) != elf::NT_GNU_ABI_TAG {
            continue;
        }
        let word = |nth: usize| {
            let bytes = note.desc().get(nth * 4..nth * 4 + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (Some(0), Some(major), Some(minor), Some(sub)) = (word(0), word(1), word(2), word(3)) else {
            return Err(NotForCentos7::Damaged("its ABI note is not Linux's"));
        };
        if [major, minor, sub] > KERNEL {
            return Err(NotForCentos7::Kernel([major, minor, sub]));
        }
    }
    Ok(())
}
