//! Tests `firstboot leave`. A member leaves, the other members stay healthy, and the member that
//! left stays out until an operator rejoins it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, status, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::process::{self, Output};
use tests::requirement::Requirement;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, listed, wait_refused};

const WITH_STRACE: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Strace,
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_member_leaves_and_returns_and_the_last_member_stays",
        WITH_STRACE,
        leave,
    )]
}

fn leave() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    etcdctl(&bed.hosts[0], "put answer 42")?;
    let leads = status(&bed.hosts[0])?
        .iter()
        .position(|member| member.leader)
        .context("no member leads")?;
    let [one, other] = [(leads + 1) % 3, (leads + 2) % 3];
    let name = bed.hosts[leads].name().to_owned();

    let shown = bed.hosts[leads].check(&["firstboot", "leave", "--dry-run"])?;
    ensure!(
        shown.contains("would transfer the leadership")
            && shown.contains("would remove this node's member"),
        "{shown}"
    );
    let json = bed.hosts[leads].check(&["firstboot", "leave", "--dry-run", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(
        json["left"] == false
            && json["planned"]
                .as_array()
                .is_some_and(|steps| steps.len() == 4),
        "{json}"
    );
    ensure!(
        listed(&bed.hosts[one], &name)?.is_some(),
        "a dry run removed the member"
    );

    waits_for_a_restart(&bed, leads, other)?;
    killed_leader_leaves(&mut bed, leads, one)?;

    // The member that left stays out after a reboot.
    bed.hosts[leads].shutdown()?;
    bed.hosts[leads].boot()?;
    wait_refused(
        &bed.hosts[leads],
        &["has left its cluster", "firstboot run --rejoin"],
    )?;

    // With two members, a member may not leave while the other member is down.
    bed.hosts[other].cut_power()?;
    let stays = bed.hosts[one].run(&["firstboot", "leave", "--deadline", "3"])?;
    ensure!(
        stays.code() == 4 && stays.stderr.contains("remains a member"),
        "{stays:?}"
    );
    bed.hosts[other].boot()?;
    wait_healthy_but(&bed.hosts[one], &name)?;

    bed.hosts[leads].check(&["firstboot", "run", "--rejoin"])?;
    bed.hosts
        .iter()
        .try_for_each(|host| wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop))?;
    ensure!(
        etcdctl(
            &bed.hosts[leads],
            "get answer --print-value-only --consistency=s"
        )?
        .trim()
            == "42"
    );

    // More members leave, without a power cut, until one member remains.
    leave_down_to_one(&bed, one, leads, other)?;
    Ok(())
}

/// Checks that a member does not leave while another member has the restart lock.
fn waits_for_a_restart(bed: &Bed, leaving: usize, restarting: usize) -> Result<()> {
    let lock = format!("put /etcd-image/restart {}", bed.hosts[restarting].name());
    etcdctl(&bed.hosts[restarting], &lock)?;
    let waits = bed.hosts[leaving].run(&["firstboot", "leave", "--deadline", "3"])?;
    ensure!(
        waits.code() == 4 && waits.stderr.contains("another member is restarting"),
        "{waits:?}"
    );
    etcdctl(&bed.hosts[restarting], "del /etcd-image/restart").map(drop)
}

/// Makes the leader leave. Kills firstboot after firstboot has written the order to the journal,
/// and before it carries out the order.
fn killed_leader_leaves(bed: &mut Bed, leads: usize, one: usize) -> Result<()> {
    let name = bed.hosts[leads].name().to_owned();
    // Kill the program at its eighth flush. For each of two locks, the program flushes the locks'
    // folder and its parent (flushes 1 to 4). The program flushes the journal and its folder when
    // it opens the journal (flushes 5 and 6), and again after it has written the new line (7 and
    // 8).
    let killed = killed_at_flush(&bed.hosts[leads], 8, &["firstboot", "leave"])?;
    let journal = bed.hosts[leads].read("/var/lib/firstboot/journal")?;
    ensure!(
        journal
            .lines()
            .last()
            .is_some_and(|line| line.contains("\"leave\"")),
        "{killed:?}\n{journal}"
    );
    ensure!(
        killed.stdout.contains("transferring the leadership"),
        "{killed:?}"
    );
    ensure!(
        listed(&bed.hosts[one], &name)?.is_some(),
        "firstboot was killed too late"
    );
    bed.hosts[leads].cut_power()?;
    bed.hosts[leads].boot()?;
    check_left(&bed.hosts[leads], &bed.hosts[one])?;
    let story = bed.hosts[leads].check(&["firstboot", "explain"])?;
    ensure!(
        story.contains("was removed from its cluster")
            && story.contains("Moving the data directory to"),
        "{story}"
    );
    wait_healthy_but(&bed.hosts[one], &name)?;
    Ok(())
}

fn leave_down_to_one(bed: &Bed, one: usize, leads: usize, other: usize) -> Result<()> {
    for at in [one, leads] {
        bed.hosts[at].check(&["firstboot", "leave"])?;
        check_left(&bed.hosts[at], &bed.hosts[other])?;
        let again = bed.hosts[at].check(&["firstboot", "leave"])?;
        ensure!(again.contains("has left its cluster"), "{again}");
    }
    let last = bed.hosts[other].run(&["firstboot", "leave"])?;
    ensure!(
        last.code() == 3 && last.stderr.contains("[last-voter]"),
        "{last:?}"
    );
    ensure!(etcdctl(&bed.hosts[other], "get answer --print-value-only")?.trim() == "42");
    Ok(())
}

/// Checks that the node is not a member, that etcd is down, and that etcd's data is archived.
fn check_left(host: &Host, other: &Host) -> Result<()> {
    host.wait_for(
        "systemctl is-failed --quiet firstboot.service",
        CONVERGENCE_TIMEOUT,
    )?;
    ensure!(
        listed(other, host.name())?.is_none(),
        "{} is still a member",
        host.name()
    );
    let state = host
        .run(&["systemctl", "is-active", "etcd.service"])?
        .stdout;
    ensure!(
        state.trim() == "inactive",
        "etcd on {} is {state}",
        host.name()
    );
    host.check(&[
        "sh",
        "-c",
        "! test -e /var/lib/etcd/data && ls -d /var/lib/etcd/aside/left-*/member/wal",
    ])
    .map(drop)
}

/// Waits until the node `name` is no longer a member and the two other members are healthy.
fn wait_healthy_but(host: &Host, name: &str) -> Result<()> {
    let script = format!(
        "firstboot status --json | tr -d ' \\n' | grep -q '\"name\":\"{name}\"[^}}]*\"member\":false' && \
         [ $(firstboot status --json | grep -c '\"healthy\": true') = 2 ]"
    );
    host.wait_for(&script, CONVERGENCE_TIMEOUT)
}

/// Runs a program on a host, and kills it at its `nth` flush of a file.
fn killed_at_flush(host: &Host, nth: usize, program: &[&str]) -> Result<Output> {
    let inner = host.command(program)?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]);
    strace.args(["-e", &format!("inject=fsync:signal=KILL:when={nth}")]);
    strace.arg(inner.get_program()).args(inner.get_args());
    process::run(&mut strace)
}
