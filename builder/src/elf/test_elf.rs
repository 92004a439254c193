//! Minimal handmade ELF programs, for the tests of the modules `elf` and `release`.

/// A handmade program: the headers that a test needs, followed by zeros.
#[derive(Debug, Clone)]
pub(crate) struct TestElf {
    machine: u16,
    kind: u16,
    interpreter: Option<&'static str>,
    kernel: Option<[u32; 3]>,
}

impl TestElf {
    /// Returns a static x86-64 program like those of Go's linker.
    pub(crate) fn fixed() -> Self {
        Self {
            machine: 62,
            kind: 2,
            interpreter: None,
            kernel: None,
        }
    }

    /// Changes the machine (183: arm64).
    pub(crate) fn machine(self, machine: u16) -> Self {
        Self { machine, ..self }
    }

    /// Changes the file type (1: object, 3: shared or position independent).
    pub(crate) fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    /// Adds a header that names this dynamic linker.
    pub(crate) fn interpreter(self, path: &'static str) -> Self {
        Self {
            interpreter: Some(path),
            ..self
        }
    }

    /// Adds an ABI note that requires this version of the kernel.
    pub(crate) fn kernel(self, version: [u32; 3]) -> Self {
        Self {
            kernel: Some(version),
            ..self
        }
    }

    /// Returns the program's bytes, padded with zeros to `size` (at least 512).
    pub(crate) fn bytes(&self, size: usize) -> Vec<u8> {
        let size = size.max(512);
        let mut segments = vec![segment(1, 0, size as u64)];
        let mut body = vec![0; 64 + 56 * 3];
        if let Some(path) = self.interpreter {
            segments.push(segment(3, body.len() as u64, path.len() as u64 + 1));
            body.extend(path.as_bytes());
            body.push(0);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        if let Some(version) = self.kernel {
            segments.push(segment(4, body.len() as u64, 32));
            for word in [
                4,
                16,
                1,
                u32::from_le_bytes(*b"GNU\0"),
                0,
                version[0],
                version[1],
                version[2],
            ] {
                body.extend(word.to_le_bytes());
            }
        }
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend(self.kind.to_le_bytes());
        head.extend(self.machine.to_le_bytes());
        head.extend(1u32.to_le_bytes());
        head.extend(0x0040_1000u64.to_le_bytes());
        head.extend(64u64.to_le_bytes());
        head.extend(0u64.to_le_bytes());
        head.extend(0u32.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        for half in [64, 56, count, 64, 0, 0] {
            head.extend(half.to_le_bytes());
        }
        head.extend(segments.concat());
        body[..head.len()].copy_from_slice(&head);
        body.resize(size, 0);
        body
    }
}

/// Returns one program header: type, offset and length in the file.
fn segment(kind: u32, offset: u64, length: u64) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(4u32.to_le_bytes());
    for word in [
        offset,
        0x0040_0000 + offset,
        0x0040_0000 + offset,
        length,
        length,
        4,
    ] {
        out.extend(word.to_le_bytes());
    }
    out
}
