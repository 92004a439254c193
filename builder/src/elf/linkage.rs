//! The results of the check: how a program is linked, or why CentOS 7 cannot run the program.

/// The dynamic linker of CentOS 7's x86-64 glibc.
pub(super) const INTERPRETER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The way in which a program that runs on CentOS 7 is linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// The program needs no library. A static-pie program counts as static.
    Static,
    /// The program uses libraries that CentOS 7 has.
    Dynamic {
        /// The newest `GLIBC_x.y` that the program needs (at most 2.17), or `None` if the program
        /// needs no versioned symbol of glibc.
        glibc: Option<Version>,
    },
}

/// A version of a library's symbols, such as 2.17 in `GLIBC_2.17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(super) Vec<u32>);

/// The reason why CentOS 7 cannot run a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotForCentos7 {
    /// The file is a script.
    #[error("it is a script (`#!…`), not an ELF program: name the compiled program itself")]
    Script,
    /// The file is not an ELF file.
    #[error(
        "it is not an ELF program: it starts with {found}, not with 7f 45 4c 46; name a Linux \
         x86-64 program"
    )]
    NotElf {
        /// The first bytes, in hexadecimal.
        found: String,
    },
    /// The file is shorter than its own headers state.
    #[error(
        "it is truncated: {what} ends at byte {needs}, but the file ends at {size}; copy or \
         download it again"
    )]
    Truncated {
        /// The part that is incomplete.
        what: &'static str,
        /// The end of the incomplete part according to the headers.
        needs: u64,
        /// The actual end of the file.
        size: u64,
    },
    /// The program is built for a different machine.
    #[error(
        "it is built for {found}, but the nodes are 64-bit x86-64: build it for the target \
         x86_64-unknown-linux-musl"
    )]
    Architecture { found: String },
    /// The program is built for a different system.
    #[error(
        "it is built for a system other than Linux (ELF OS ABI {0}): build it for x86_64-unknown-linux-musl"
    )]
    System(u8),
    /// The file is an ELF file but not a program, for example an object file or a core dump.
    #[error("it is not a program but {0}: name the linked program")]
    NotProgram(&'static str),
    /// The program needs a dynamic linker that CentOS 7 does not have.
    #[error("it requires the dynamic linker {found}, but CentOS 7 has {INTERPRETER}; {STATIC}")]
    Interpreter { found: String },
    /// The program needs symbols from a version of a library that is newer than CentOS 7's.
    #[error("it is linked against libraries newer than CentOS 7's (glibc 2.17): it needs {}; {STATIC}", .needs.join(", "))]
    TooNew {
        /// The symbol versions that CentOS 7 does not have, each with its library.
        needs: Vec<String>,
    },
    /// The program needs a library that a minimal CentOS 7 does not have.
    #[error("it needs {}, which a minimal CentOS 7 does not have; {STATIC}", .0.join(", "))]
    Libraries(Vec<String>),
    /// The program needs a kernel newer than CentOS 7's.
    #[error("it requires Linux {}.{}.{} or later (ABI note), but CentOS 7 has 3.10.0; {STATIC}", .0[0], .0[1], .0[2])]
    Kernel([u32; 3]),
    /// The file's headers cannot be parsed, or contradict each other.
    #[error("its ELF headers are damaged: {0}; build or download it again")]
    Damaged(&'static str),
}

/// The remedy for a binary that is linked against a newer system.
const STATIC: &str = "build a static binary: cargo build --release --target \
    x86_64-unknown-linux-musl (Go: CGO_ENABLED=0 go build)";
