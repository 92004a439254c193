//! Tests firstboot with hostile files that etcd's user can create on etcd's volume. Although
//! firstboot runs as root, it follows none of these files, changes nothing outside the volume, and
//! never hangs.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{etcdctl, wait_healthy};
use tests::harness::{is_all, trial};
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "etcd_can_write_only_in_its_data_directory",
            REQUIREMENTS,
            layout,
        ),
        trial(
            "hostile_files_on_etcds_volume_are_not_followed",
            REQUIREMENTS,
            planted,
        ),
    ]
}

/// Sets up etcd's data, and the files outside the volume.
const PREPARE: &str = "set -e
mkdir -p /outside/folder && echo precious > /outside/file && echo inner > /outside/folder/inner
chmod 0640 /outside/file && chmod 0750 /outside/folder
. /etc/profile.d/etcdctl.sh && etcdctl put answer 42 && etcdctl snapshot save /root/snapshot.db";

/// Hostile objects at $AT. etcd's user can create each of them except the device.
const KINDS: [(&str, &str); 10] = [
    ("a link to a file", "ln -s /outside/file $AT"),
    ("a link to a folder", "ln -s /outside/folder $AT"),
    ("a dangling link", "ln -s /outside/made $AT"),
    ("a hard link", "echo own > $AT.first && ln $AT.first $AT"),
    ("a FIFO", "mkfifo -m 0666 $AT"),
    (
        "a socket",
        "python3 -c 'import os,socket; socket.socket(socket.AF_UNIX).bind(os.environ[\"AT\"])' 2> /dev/null || mkfifo $AT",
    ),
    (
        "a folder",
        "mkdir $AT && echo own > $AT/inner && ln -s /outside/folder $AT/link",
    ),
    ("a file", "echo own > $AT"),
    ("a sparse file of a terabyte", "truncate -s 1T $AT"),
    (DEVICE, "mknod -m 0666 $AT c 1 5 && chown 450:450 $AT"),
];

/// A device that a reader can read without end (/dev/zero). A restored backup might contain such a
/// device. Only root can create a device.
const DEVICE: &str = "a device";

/// Every path that firstboot uses and to which etcd can write, or could write in earlier versions.
const PATHS: [&str; 12] = [
    "/var/lib/etcd/aside",
    "/var/lib/etcd/restore",
    "/var/lib/etcd/data",
    "/var/lib/etcd/firstboot-life",
    "/var/lib/etcd/.firstboot-life.new",
    "/var/lib/etcd/firstboot-progress",
    "/var/lib/etcd/.firstboot-progress.new",
    "/var/lib/etcd/data/member",
    "/var/lib/etcd/data/member/wal",
    "/var/lib/etcd/data/member/wal/0000000000000000-0000000000000000.wal",
    "/var/lib/etcd/data/member/snap",
    "/var/lib/etcd/data/member/snap/db",
];

/// A script that replaces a path with a hostile object, on a volume from an earlier version, and
/// then runs the commands of firstboot that use the path. `timeout` exits with 124 if a command
/// hangs.
const ATTACK: &str = "systemctl stop firstboot etcd
chown etcd:etcd /var/lib/etcd && chmod 0700 /var/lib/etcd
[ ! -e $AT ] || mv $AT /root/kept
$PLANTER sh -c \"$PLANT\" || exit 99
hung=0
run() { timeout 40 \"$@\"; [ $? != 124 ] || hung=1; }
run systemctl start firstboot
run firstboot guard
run firstboot guard --stopped
run firstboot run
run firstboot restore --list
run firstboot restore --prune 0
case $AT in */aside | */restore | */data)
    run firstboot restore /root/snapshot.db --deadline 20
    run firstboot restore --rollback --deadline 20 ;;
esac
[ $hung = 0 ]";

/// A script that restores the initial state before the next attack: a copy of the volume, and a
/// journal as an earlier version of firstboot wrote it. With such a journal, firstboot relies on
/// the ids in the WAL.
const CLEAR: &str = "systemctl stop firstboot etcd; rm -rf /var/lib/etcd /root/kept /run/firstboot/ready
cp -a /root/volume /var/lib/etcd && cp -a /root/journal /var/lib/firstboot/journal; systemctl reset-failed";

fn layout() -> Result<()> {
    let bed = Bed::new("", "")?;
    let host = &bed.host;
    let modes = host.check(&[
        "stat",
        "-c",
        "%a %U:%G",
        "/var/lib/etcd",
        "/var/lib/etcd/data",
        "/var/lib/etcd/firstboot-life",
    ])?;
    ensure!(
        modes
            .lines()
            .eq(["750 root:etcd", "700 etcd:etcd", "644 root:root"]),
        "{modes}"
    );
    for attempt in [
        "touch /var/lib/etcd/x",
        "ln -s /etc /var/lib/etcd/aside",
        "mv /var/lib/etcd/data /var/lib/etcd/x",
        "rm /var/lib/etcd/firstboot-life",
    ] {
        let tried = host.run(&[
            "setpriv",
            "--reuid=450",
            "--regid=450",
            "--clear-groups",
            "sh",
            "-c",
            attempt,
        ])?;
        ensure!(!tried.success(), "etcd's user can {attempt}");
    }

    takes_over_older(host)
}

/// Checks that firstboot converts a volume and a journal from earlier versions.
fn takes_over_older(host: &Host) -> Result<()> {
    host.check(&[
        "sh",
        "-c",
        "systemctl stop firstboot etcd; mkdir -p /var/lib/etcd/aside/before-restore-20261122T101112Z",
    ])?;
    host.check(&[
        "sh",
        "-c",
        "chown etcd:etcd /var/lib/etcd /var/lib/etcd/aside && chmod 0700 /var/lib/etcd /var/lib/etcd/aside",
    ])?;
    // Remove the record of the data from the journal, because earlier versions did not record the
    // data.
    host.check(&[
        "sed",
        "-i",
        "/\"data-made\"\\|\"data-begun\"/d",
        "/var/lib/firstboot/journal",
    ])?;
    host.check(&[
        "sh",
        "-c",
        "rm /var/lib/etcd/firstboot-progress /run/firstboot/ready; systemctl start firstboot",
    ])?;
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT)?;
    let modes = host.check(&[
        "stat",
        "-c",
        "%a %U:%G",
        "/var/lib/etcd",
        "/var/lib/etcd/aside",
        "/var/lib/etcd/data",
    ])?;
    ensure!(
        modes
            .lines()
            .eq(["750 root:etcd", "700 root:root", "700 etcd:etcd"]),
        "{modes}"
    );
    let journal = host.read("/var/lib/firstboot/journal")?;
    ensure!(journal.contains("\"data-begun\""), "{journal}");
    Ok(())
}

/// Returns the attacks to try. `make test-all` tries every kind of object at every path. `make
/// test` tries a quarter of these combinations, in which every kind and every path occurs.
fn attacks() -> impl Iterator<Item = (&'static str, (&'static str, &'static str))> {
    let step = if is_all() { 1 } else { 4 };
    PATHS.into_iter().enumerate().flat_map(move |(at, path)| {
        let kinds = KINDS.into_iter().skip(at % step).step_by(step);
        kinds.map(move |kind| (path, kind))
    })
}

fn planted() -> Result<()> {
    let bed = Bed::new("", "")?;
    let host = &bed.host;
    host.check(&["sh", "-c", PREPARE])?;
    host.check(&[
        "sh",
        "-c",
        "systemctl stop firstboot etcd && cp -a /var/lib/etcd /root/volume && sed '/data-made/d; /data-begun/d' /var/lib/firstboot/journal > /root/journal",
    ])?;
    host.sh(CLEAR)?;
    let before = outside(host)?;
    for (path, (kind, plant)) in attacks() {
        let planter = if kind == DEVICE {
            "env"
        } else {
            "setpriv --reuid=450 --regid=450 --clear-groups"
        };
        let plant = plant.replace('\'', "'\\''");
        let script = format!("export AT={path} PLANTER='{planter}' PLANT='{plant}'\n{ATTACK}");
        let ran = host.sh(&script)?;
        let what = format!("{kind} at {path}");
        ensure!(ran.code() != 99, "{what} could not be planted: {ran:?}");
        ensure!(ran.success(), "{what}: a command hangs: {ran:?}");
        ensure!(
            outside(host)? == before,
            "{what}: a file outside the volume has changed: {ran:?}\n{}",
            outside(host)?
        );
        host.sh(CLEAR)?;
    }
    // Check that the initial state of all attacks is the valid data of a member.
    host.check(&["systemctl", "start", "firstboot"])?;
    wait_healthy(host, 1, CONVERGENCE_TIMEOUT)
        .context("the saved volume is unusable, so the test proves nothing")?;
    ensure!(etcdctl(host, "get answer --print-value-only")?.trim() == "42");
    Ok(())
}

/// Returns a description of the test's files outside the volume, and of the system folders to which
/// a link could lead.
fn outside(host: &Host) -> Result<String> {
    host.check(&["sh", "-c", "find /outside /etc /root -maxdepth 1 -printf '%p %y %m %U:%G\\n' | grep -v '^/root/kept' | sort; cat /outside/file /outside/folder/*"])
}
