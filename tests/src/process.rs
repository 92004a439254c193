//! Runs programs: short programs, whose results are read, and long-running programs, which die with
//! the test.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

/// The result of a short program.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit status of the program.
    pub status: ExitStatus,
    /// The program's standard output, as text.
    pub stdout: String,
    /// The program's standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Returns whether the program ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Returns the standard output if the program succeeded, otherwise an error that shows both
    /// outputs.
    pub fn ok(self) -> Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        bail!(
            "`{}` failed: {}\n--- stderr\n{}\n--- stdout\n{}",
            self.command,
            self.status,
            self.stderr.trim_end(),
            self.stdout.trim_end()
        )
    }

    /// Returns the exit code or, if a signal ended the program, 128 plus the signal's number, as in
    /// a shell.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
}

/// Returns the program and its arguments as one line, without the environment.
pub fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

/// Runs a program to completion, with empty standard input. Returns its output for any exit code.
pub fn run(command: &mut Command) -> Result<Output> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    Ok(Output {
        command: line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program and returns its standard output. Fails if the program does not succeed.
pub fn check(program: &str, arguments: &[&str]) -> Result<String> {
    run(Command::new(program).args(arguments))?.ok()
}

/// A long-running child process. The child is killed on drop. If this process dies first, the
/// kernel kills the child.
#[derive(Debug)]
pub struct KillOnDrop {
    child: Child,
    line: String,
}

impl KillOnDrop {
    /// Starts the command under `setpriv --pdeathsig KILL`, and writes both outputs to a file.
    ///
    /// For the parent-death signal, the kernel treats the *thread* that started a child as the
    /// child's parent. If a test's own thread started a child, the child would die with that
    /// thread. Therefore, a single thread, which lives as long as the process, starts all children.
    pub fn spawn(command: &Command, log: &File) -> Result<KillOnDrop> {
        let line = describe(command);
        let twice = || {
            log.try_clone()
                .context("cannot duplicate the log's descriptor")
        };
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(twice()?)
            .stderr(twice()?);
        if let Some(folder) = command.get_current_dir() {
            tied.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => tied.env(name, value),
                None => tied.env_remove(name),
            };
        }
        let child = on_the_starter(tied)?;
        Ok(KillOnDrop { child, line })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the CPU time of the process and of its descendants that have ended and were waited
    /// for. Returns zero if the process is no longer in /proc.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        stat.ok().as_deref().and_then(cpu_time).unwrap_or_default()
    }

    /// Returns the exit status of the process, if the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for `{}`", self.line))
    }

    /// Kills the process and waits until it has ended. Does nothing if the process has already
    /// ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the sum of utime, stime, cutime and cstime in the text of /proc/PID/stat.
fn cpu_time(stat: &str) -> Option<Duration> {
    /// The unit of these fields is 1/USER_HZ, a hundredth of a second on every x86 kernel.
    const TICK: Duration = Duration::from_millis(10);
    // The program's name, in parentheses, can contain spaces. utime is the 14th field.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(4);
    let ticks: Option<u32> = ticks.map(|field| field.parse::<u32>().ok()).sum();
    Some(TICK * ticks?)
}

/// Returns the ids of the current children that the main thread of a process started.
pub fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

type Order = (Command, Sender<std::io::Result<Child>>);

fn on_the_starter(command: Command) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let line = describe(&command);
    let (answer, result) = channel();
    starter
        .lock()
        .map_err(|_| anyhow!("a test panicked while it started a process"))?
        .send((command, answer))
        .map_err(|_| anyhow!("the thread that starts processes has ended"))?;
    result
        .recv()
        .context("the thread that starts processes has ended")?
        .with_context(|| format!("cannot start `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_process_includes_that_of_its_children() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 9 0 0 0 3 2 100 50 20 0 1 0 77 0 0";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(1550)));
        assert_eq!(cpu_time("42 (sh) S 1"), Some(Duration::ZERO));
        assert_eq!(cpu_time(""), None);
    }
}
