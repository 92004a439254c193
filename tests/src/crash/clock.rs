//! Sets a wrong clock for a single program, because all hosts share one real-time clock, which no
//! namespace isolates.
//!
//! Programs read the clock from memory that the kernel maps into them (vDSO). If the vDSO is hidden
//! from a program, its libc makes a system call instead, and the tracer changes the result before
//! the program receives it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// A file that contains the error of the program's clock in seconds. The clock is wrong as long as
/// the file exists.
#[derive(Debug)]
pub(super) struct Clock {
    file: PathBuf,
}

/// From now on, makes a program's clock wrong by this many seconds. `folder` contains the orders
/// for the program.
pub fn set_off(folder: &Path, seconds: i64) -> Result<()> {
    // The file is replaced by a rename, because the tracer reads it while the program runs.
    let (new, file) = (folder.join("clock.new"), folder.join("clock"));
    fs::write(&new, seconds.to_string()).and_then(|()| fs::rename(&new, &file))?;
    Ok(())
}

/// Corrects the program's clock.
pub fn set_right(folder: &Path) -> Result<()> {
    Ok(fs::remove_file(folder.join("clock"))?)
}

impl Clock {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            file: folder.join("clock"),
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.file.exists()
    }

    /// If the clock is wrong, hides the vDSO from a newly loaded program. The auxiliary vector,
    /// which follows the arguments and the environment on the stack, contains the vDSO's address.
    pub(super) fn loaded(&self, pid: Pid) -> Result<()> {
        if !self.is_off() {
            return Ok(());
        }
        let word =
            |at: u64| ptrace::read(pid, at as ptrace::AddressType).map(libc::c_long::cast_unsigned);
        let stack = ptrace::getregs(pid)?.rsp;
        let arguments = word(stack)?;
        let mut at = stack + 8 * (arguments + 2);
        while word(at)? != 0 {
            at += 8;
        }
        at += 8;
        while word(at)? != libc::AT_NULL {
            if word(at)? == libc::AT_SYSINFO_EHDR {
                let ignore = libc::AT_IGNORE.cast_signed();
                ptrace::write(pid, at as ptrace::AddressType, ignore)
                    .context("cannot hide the vDSO")?;
            }
            at += 16;
        }
        Ok(())
    }

    /// If the clock is wrong and this call has read the clock, changes the time that the call
    /// returns.
    pub(super) fn returned(&self, pid: Pid, registers: &libc::user_regs_struct) -> Result<()> {
        let realtime = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE].map(i64::from);
        let asked = registers.orig_rax.cast_signed() == libc::SYS_clock_gettime
            && realtime.contains(&registers.rdi.cast_signed());
        if !asked || registers.rax != 0 || !self.is_off() {
            return Ok(());
        }
        let off: i64 = fs::read_to_string(&self.file)?
            .parse()
            .context("the clock's file does not contain whole seconds")?;
        let seconds = registers.rsi as ptrace::AddressType;
        let now = ptrace::read(pid, seconds)?;
        ptrace::write(pid, seconds, now + off)?;
        Ok(())
    }
}
