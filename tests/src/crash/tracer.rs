//! Runs a program and intercepts each of its system calls before the kernel carries it out. At the
//! crash point, the tracer kills or suspends the program, so the kernel never carries out that
//! call.
//!
//! strace's fault injection is unsuitable, because strace identifies a call by its position among
//! all calls of one kind. This position differs between runs, because the number of firstboot's
//! queries to a peer depends on how long that peer takes to start. The tracer identifies a point by
//! the action and its object.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::{Call, Process};
use super::clock::Clock;
use super::order::{Point, TracerOrder};

/// A shell script that waits until the tracer is attached, and then executes the program.
const GATE: &str = r#"read -r _; exec "$@" < /dev/null"#;

/// Runs the command according to the folder's order. If the folder contains no order and the clock
/// is right, this process itself executes the command.
pub fn run(folder: &Path, command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command to run")?;
    let clock = Clock::new(folder);
    let Some(order) = TracerOrder::take(folder)?.or(clock.is_off().then_some(TracerOrder::List))
    else {
        return Err(Command::new(program).args(arguments).exec())
            .with_context(|| format!("cannot run {program}"));
    };
    let mut child = Command::new("sh")
        .args(["-c", GATE, "gate", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run sh")?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    // The program dies with the tracer, so that systemd can stop both. If the program starts other
    // programs, the calls of those programs do not count.
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).context("cannot trace")?;
    ptrace::interrupt(pid)?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(b"\n")?;
    let points = File::options()
        .create(true)
        .append(true)
        .open(folder.join("points"));
    let tracer = Tracer {
        main: pid,
        process: None,
        points: points.context("cannot list the points")?,
        passed: HashMap::new(),
        order,
        clock,
        reached: folder.join("reached"),
    };
    tracer.watch()
}

struct Tracer {
    main: Pid,
    /// The traced process, or `None` until the gate script has executed the program.
    process: Option<Process>,
    points: File,
    passed: HashMap<String, usize>,
    order: TracerOrder,
    clock: Clock,
    reached: std::path::PathBuf,
}

impl Tracer {
    fn watch(mut self) -> Result<ExitCode> {
        loop {
            let (pid, signal) = match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Exited(pid, code) if pid == self.main => {
                    return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.main => {
                    return Ok(ExitCode::from(128 + u8::try_from(signal as i32)?));
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    match &mut self.process {
                        Some(process) => process.renew()?,
                        none => *none = Some(Process::new(pid)?),
                    }
                    self.clock.loaded(pid)?;
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, ..) => (pid, None),
                WaitStatus::PtraceSyscall(pid) => {
                    // Ignore an error, because the thread may have been killed together with the
                    // other threads of its process.
                    let _ = self.call(pid);
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            match ptrace::syscall(pid, signal) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error).context("cannot let the program continue"),
            }
        }
    }

    /// Handles a thread that is about to make a call or has made one.
    fn call(&mut self, pid: Pid) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let info = ptrace::syscall_info(pid)?;
        let registers = ptrace::getregs(pid)?;
        let number = registers.orig_rax.cast_signed();
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            process.returned(number, registers.rax.cast_signed());
            return self.clock.returned(pid, &registers);
        }
        let registers_of_arguments = [
            registers.rdi,
            registers.rsi,
            registers.rdx,
            registers.r10,
            registers.r8,
            registers.r9,
        ];
        let Some(what) = process.change(Call {
            number,
            arguments: registers_of_arguments,
        }) else {
            return Ok(());
        };
        let nth = self.passed.entry(what.clone()).or_default();
        *nth += 1;
        let point = Point { what, nth: *nth };
        writeln!(self.points, "{point}")?;
        match &self.order {
            TracerOrder::Kill(at) if *at == point => {
                std::fs::write(&self.reached, "")?;
                // The signal alone should prevent the call. An invalid call number guarantees that
                // the kernel does not carry out the call.
                ptrace::setregs(
                    pid,
                    libc::user_regs_struct {
                        orig_rax: u64::MAX,
                        ..registers
                    },
                )?;
                kill(self.main, Signal::SIGKILL)?;
            }
            TracerOrder::Hold(at) if *at == point => {
                std::fs::write(&self.reached, "")?;
                loop {
                    std::thread::sleep(std::time::Duration::from_secs(3600));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
