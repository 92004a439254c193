//! A job, which is the unit of work of the suite: one end-to-end test, or all tests of a program.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::programs::Program;
use crate::process::{self, KillOnDrop};
use crate::{harness, run};

/// The time after which a running job is considered hung. The longest job, which installs three
/// virtual machines, takes 22 minutes if other programs also use the CPUs.
const JOB_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The interval at which the suite checks whether a job has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Test programs whose tests are short or share the result of the first test. All tests of each of
/// these programs form one job.
const SINGLE_JOB_PROGRAMS: [&str; 4] = ["builder", "dist", "kickstart", "verify"];

/// The jobs that start first: two jobs that need no host, so that they use the CPUs while the first
/// run on a machine makes the hosts' base system, and then the jobs that take the longest, in
/// descending order of their time.
const FIRST_JOBS: [&str; 23] = [
    "verify",
    "firstboot",
    "crash::power_lost_at_any_point_with_all_unflushed_writes",
    "serve::short_lived_certificates_are_renewed_while_clients_write",
    "serve::vm_becomes_a_member_from_an_empty_disk",
    "kickstart",
    "bootstrap::an_image_rolls_through_a_cluster_while_clients_write",
    "crash::firstboot_killed_at_any_point_finishes_the_same_job",
    "bootstrap::etcd_3_6_16_ten_writes_survive_lost_data_and_a_partition",
    "builder",
    "backup::a_scheduled_snapshot_is_taken_once_whichever_member_is_down",
    "bootstrap::a_node_with_a_new_address_replaces_its_old_member_after_the_old_machine_is_off",
    "cluster::a_node_on_openstack_waits_for_a_port_that_listens_for_50_s",
    "bootstrap::rebuilds_under_load_lose_no_write",
    "restore::three_members_of_3_7_3_go_to_a_snapshot_and_back",
    "backup::an_existing_snapshot_is_good_and_a_failed_snapshot_leaves_no_files",
    "bootstrap::nodes_update_themselves_one_after_the_other_in_their_window_only",
    "bootstrap::an_image_that_fails_is_rolled_back_and_not_tried_again",
    "bootstrap::an_update_reboots_the_node_and_a_failed_update_reboots_it_again",
    "restore::power_may_fail_at_any_step_of_a_restore",
    "bootstrap::etcd_3_5_1_a_member_without_data_is_rebuilt_and_never_starts_under_its_old_id",
    "restore::after_two_separate_restores_a_new_disk_joins_neither_until_one_gives_way",
    "bootstrap::etcd_3_4_23_lives_a_whole_life_on_an_old_kernel",
];

/// A process that runs tests.
#[derive(Debug)]
pub(super) struct Job {
    program: Program,
    /// The only test that the process runs. `None` means that the process runs all tests of the
    /// program.
    test: Option<String>,
    /// The file that receives the output.
    log: PathBuf,
    /// The file in which the harness records how long each test took.
    times: PathBuf,
}

/// The result of a job.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    /// Whether the exit code is 0.
    pub(super) is_good: bool,
    pub(super) output: String,
    /// The name of each test, and the time that it took.
    pub(super) times: Vec<(String, Duration)>,
    /// The time that the whole job took.
    pub(super) took: Duration,
    /// The CPU time that the job and its hosts used.
    pub(super) cpu: Duration,
}

/// Returns the jobs of these programs. The last job in the list runs first.
pub(super) fn list(programs: &[Program], logs: &Path) -> Result<Vec<Job>> {
    let mut tests = Vec::new();
    for program in programs {
        if program.is_unit || SINGLE_JOB_PROGRAMS.contains(&program.name.as_str()) {
            tests.push((program, None));
        } else {
            tests.extend(
                names(program)?
                    .into_iter()
                    .map(|name| (program, Some(name))),
            );
        }
    }
    let mut jobs: Vec<Job> = tests
        .into_iter()
        .enumerate()
        .map(|(number, (program, test))| Job {
            program: program.clone(),
            test,
            log: logs.join(format!("{number}.log")),
            times: logs.join(format!("{number}.times")),
        })
        .collect();
    for first in FIRST_JOBS {
        ensure!(
            jobs.iter().any(|job| job.name() == first),
            "FIRST_JOBS names {first}, which is not a job"
        );
    }
    jobs.sort_by_key(Job::rank);
    Ok(jobs)
}

fn names(program: &Program) -> Result<Vec<String>> {
    let mut list = Command::new(&program.path);
    let said = process::run(
        list.args(["--list", "--format", "terse"])
            .current_dir(&program.folder),
    )?
    .ok()?;
    let names = said.lines().filter_map(|line| line.strip_suffix(": test"));
    // In the output of `--list`, a trial's kind precedes the trial's name.
    Ok(names
        .map(|name| name.rsplit(' ').next().unwrap_or(name).to_owned())
        .collect())
}

impl Job {
    /// Returns the job's name, such as `bootstrap::two_wait`, or only the program's name if the job
    /// runs all tests of the program.
    pub(super) fn name(&self) -> String {
        match &self.test {
            Some(test) => format!("{}::{test}", self.program.name),
            None => self.program.name.clone(),
        }
    }

    /// Returns the job's priority. Jobs with a higher priority run earlier: first [`FIRST_JOBS`], then
    /// the end-to-end tests, then the unit tests.
    fn rank(&self) -> usize {
        let name = self.name();
        match FIRST_JOBS.iter().position(|first| *first == name) {
            Some(at) => 2 + FIRST_JOBS.len() - at,
            None => usize::from(!self.program.is_unit),
        }
    }

    pub(super) fn run(&self) -> Result<Ended> {
        let started = Instant::now();
        let log = File::create(&self.log)
            .with_context(|| format!("cannot make {}", self.log.display()))?;
        let mut process = KillOnDrop::spawn(&self.command(), &log)?;
        let mut cpu = Duration::ZERO;
        let status = loop {
            cpu = cpu.max(process.cpu_time());
            if let Some(status) = process.ended()? {
                break Some(status);
            }
            if started.elapsed() > JOB_TIMEOUT {
                process.kill();
                break None;
            }
            sleep(POLL_INTERVAL);
        };
        let output =
            fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let mut output = String::from_utf8_lossy(&output).into_owned();
        if status.is_none() {
            let _ = writeln!(output, "\nthe job was killed after {JOB_TIMEOUT:?}");
        }
        let times = if self.program.is_unit {
            unit_times(&output)
        } else {
            self.end_to_end_times()?
        };
        let is_good = status.is_some_and(|status| status.success());
        Ok(Ended {
            name: self.name(),
            is_good,
            output,
            times,
            took: started.elapsed(),
            cpu,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program.path);
        command
            .current_dir(&self.program.folder)
            .env(harness::TIMES, &self.times);
        if let Some(test) = &self.test {
            command.args(["--exact", test]);
        }
        run::share_with(&mut command);
        if self.program.is_unit {
            // The harness of a stable compiler reports times only if this variable is set. The
            // variable does not affect the compilation, because the test programs are already
            // built.
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["-Z", "unstable-options", "--report-time"]);
            if harness::is_all() {
                command.arg("--include-ignored");
            }
        }
        command
    }

    fn end_to_end_times(&self) -> Result<Vec<(String, Duration)>> {
        if !self.times.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&self.times)
            .with_context(|| format!("cannot read {}", self.times.display()))?;
        text.lines().map(harness::time).collect()
    }
}

/// Parses the output of `--report-time`, with lines such as `test a::b ... ok <0.012s>`.
fn unit_times(output: &str) -> Vec<(String, Duration)> {
    let time = |line: &str| {
        let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let seconds = rest.strip_suffix("s>")?.rsplit_once('<')?.1.parse().ok()?;
        Some((name.to_owned(), Duration::try_from_secs_f64(seconds).ok()?))
    };
    output.lines().filter_map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_unit_test_is_read() {
        let output = "test a::b ... ok <0.250s>\ntest c - should panic ... FAILED <1.500s>\ntest d ... ignored\n";
        let times = [("a::b", 250), ("c - should panic", 1500)];
        assert_eq!(
            unit_times(output),
            times.map(|(name, time)| (name.to_owned(), Duration::from_millis(time)))
        );
    }
}
