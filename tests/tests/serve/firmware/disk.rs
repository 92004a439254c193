//! Makes a disk that BIOS and UEFI can boot. The disk prints a message on the first serial port, in
//! place of an installed system.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::Result;
use tests::process;

/// The message that the disk prints.
pub(super) const BOOTED: &str = "this is the disk";

/// Makes the disk: a FAT16 file system with a boot sector for BIOS, and with an EFI application at
/// UEFI's default path.
pub(super) fn make(path: &Path) -> Result<()> {
    let application = path.with_extension("efi");
    std::fs::write(&application, efi_application())?;
    make_fat(path, &["EFI", "EFI/BOOT"])?;
    copy(path, &application, "EFI/BOOT/BOOTX64.EFI")?;
    let mut disk = OpenOptions::new().write(true).open(path)?;
    // The sector starts with a jump over the 59 bytes that belong to the file system.
    disk.write_all(&[0xeb, 0x3c, 0x90])?;
    disk.seek(SeekFrom::Start(0x3e))?;
    disk.write_all(&boot_code())?;
    Ok(())
}

/// Makes a disk that firmware with Secure Boot boots: a signed shim and grub at the paths of
/// CentOS, and grub's configuration, which prints the message. Debian's signed grub reads its
/// configuration from `/EFI/debian`.
pub(super) fn make_signed(path: &Path, shim: &Path, grub: &Path) -> Result<()> {
    let script = path.with_extension("cfg");
    std::fs::write(&script, format!("echo '{BOOTED}'\nsleep 100000\n"))?;
    make_fat(path, &["EFI", "EFI/centos", "EFI/debian"])?;
    copy(path, shim, "EFI/centos/shimx64.efi")?;
    copy(path, grub, "EFI/centos/grubx64.efi")?;
    copy(path, &script, "EFI/debian/grub.cfg")
}

/// Makes a disk with a FAT16 file system and these folders.
fn make_fat(path: &Path, folders: &[&str]) -> Result<()> {
    File::create(path)?.set_len(16 << 20)?;
    let shown = path.to_string_lossy();
    process::check("mkfs.vfat", &["-F", "16", "-s", "4", &shown])?;
    for folder in folders {
        process::check("mmd", &["-i", &shown, &format!("::/{folder}")])?;
    }
    Ok(())
}

/// Copies a file to a path on the disk.
fn copy(disk: &Path, file: &Path, path: &str) -> Result<()> {
    process::check(
        "mcopy",
        &[
            "-i",
            &disk.to_string_lossy(),
            &file.to_string_lossy(),
            &format!("::/{path}"),
        ],
    )
    .map(drop)
}

/// Returns real-mode code that writes every byte of the message to the first serial port. The code
/// runs at the address 0x7c3e.
fn boot_code() -> Vec<u8> {
    let mut code = vec![
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x58, 0x7c, // mov si, 0x7c58: the message
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0xfe, // jz here, forever
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
    ];
    code.resize(0x58 - 0x3e, 0x90);
    code.extend(format!("\r\n{BOOTED}\r\n\0").bytes());
    code
}

/// Makes a PE32+ file with one section (UEFI 2.8, 2.1.1). The program prints the message and then
/// loops.
fn efi_application() -> Vec<u8> {
    const TEXT: u32 = 0x1000;
    let mut code = vec![
        0x48, 0x83, 0xec, 0x28, // sub rsp, 40
        0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx + 64]: the system table's ConOut
        0x48, 0x8d, 0x15, 5, 0, 0, 0, // lea rdx, [rip + 5]: the message
        0xff, 0x51, 0x08, // call [rcx + 8]: OutputString
        0xeb, 0xfe, // here: jmp here
    ];
    code.extend(
        format!("\r\n{BOOTED}\r\n\0")
            .encode_utf16()
            .flat_map(u16::to_le_bytes),
    );
    let mut out = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    // The optional header's size; the flags for an executable and for large addresses.
    put(0x54, &0x70_u16.to_le_bytes());
    put(0x56, &0x22_u16.to_le_bytes());
    let header = 0x58;
    put(header, &0x20b_u16.to_le_bytes());
    for (at, value) in [
        (4, 0x200),
        (16, TEXT),
        (20, TEXT),
        (32, 0x1000),
        (36, 0x200),
        (56, 0x2000),
        (60, 0x200),
    ] {
        put(header + at, &u32::to_le_bytes(value));
    }
    // An EFI application, without data directories.
    put(header + 68, &10_u16.to_le_bytes());
    let section = header + 0x70;
    put(section, b".text\0\0\0");
    for (at, value) in [
        (8, 0x200),
        (12, TEXT),
        (16, 0x200),
        (20, 0x200),
        (36, 0x6000_0020),
    ] {
        put(section + at, &u32::to_le_bytes(value));
    }
    put(0x200, &code);
    out
}
