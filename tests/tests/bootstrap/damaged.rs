//! Tests nodes on which etcd cannot run: with a damaged log or database, a full volume, or a masked
//! unit. firstboot reports the cause in the status of its service and in `firstboot status`, and
//! the remedy in docs/troubleshooting.md loses no acknowledged write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client};
use tests::cluster::{boot_all, wait_healthy};
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, listed, wait_refused, wait_said};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_damaged_wal_or_database_is_named_and_rebuilt_without_loss",
            REQUIREMENTS,
            damaged,
        ),
        trial(
            "a_full_volume_is_named_and_etcd_returns_when_there_is_room",
            REQUIREMENTS,
            full,
        ),
        trial("a_masked_unit_is_named", REQUIREMENTS, masked),
    ]
}

/// The number of acknowledged writes that must be present at the end.
const KEYS: usize = 200;

fn written(bed: &Bed) -> Result<Client> {
    let client = Client::new(&bed.provisioning)?;
    for key in 0..KEYS {
        client::insist(|| client.put(bed.hosts[0].address(), &format!("kept/{key}"), "value"))?;
    }
    Ok(client)
}

/// Checks that the third node is a healthy member and has every acknowledged write.
fn nothing_lost(bed: &Bed, client: &Client) -> Result<()> {
    let host = &bed.hosts[2];
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    let found = client::insist(|| client.all(host.address(), "kept/"))?;
    ensure!(
        found.len() == KEYS,
        "of {KEYS} keys, only {} exist",
        found.len()
    );
    Ok(())
}

/// Checks that etcd does not start on the third node, and that firstboot logs the reason once. Also
/// checks that firstboot.service reports the failure, and that `firstboot status` shows it and
/// exits with code 5.
fn named(host: &Host, words: &[&str]) -> Result<()> {
    wait_said(host, words)?;
    let ran = host.run(&["firstboot", "status"])?;
    let row = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("etcd-3 "))
        .context("the status has no row for etcd-3")?;
    ensure!(
        ran.code() == 5 && words.iter().all(|word| row.contains(word)),
        "not {words:?}: {ran:?}"
    );
    // systemd restarts etcd every five seconds.
    std::thread::sleep(std::time::Duration::from_secs(15));
    let run = "journalctl _SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value firstboot)";
    let said = host.sh(run)?.ok()?;
    ensure!(
        said.matches("[etcd-ended]").count() == 1,
        "the reason is not reported exactly once:\n{said}"
    );
    Ok(())
}

fn change(path: &Path, how: impl FnOnce(&mut [u8])) -> Result<()> {
    let mut bytes = fs::read(path)?;
    how(&mut bytes);
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Damages a leaf page of keys and values, but not the pages from which firstboot reads the
/// database's progress.
fn damage_keys(page: &mut [u8]) {
    const LEAF: u8 = 2;
    let has = |words: &[u8]| page.windows(words.len()).any(|found| found == words);
    if page[8] == LEAF && !has(b"consistent_index") && !has(b"members_removed") {
        page[16..48].fill(0x55);
    }
}

fn newest_log(member: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(member.join("wal"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    let logs = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    logs.max().context("the data has no log")
}

fn damaged() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = written(&bed)?;
    let host = &bed.hosts[2];
    let member = host.path("/var/lib/etcd/data/member");
    let restart = "systemctl start --no-block etcd; systemctl restart --no-block firstboot";

    // If firstboot itself finds damage in the data, it archives the data and rebuilds the member,
    // because the other members have all of the data.
    for (id, log) in [("data-behind", true), ("data-incomplete", false)] {
        let (old, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
        host.check(&[
            "sh",
            "-c",
            "systemctl stop etcd; rm -rf /var/lib/etcd/aside",
        ])?;
        if log {
            change(&newest_log(&member)?, |bytes| {
                // The damage is in the middle of the records, because only zeros follow the last
                // record.
                let end = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .unwrap_or_default();
                bytes[end / 2..][..64]
                    .iter_mut()
                    .for_each(|byte| *byte ^= 0x55);
            })?;
        } else {
            change(&member.join("snap/db"), |bytes| bytes[..8192].fill(0))?;
        }
        host.sh(restart)?;
        host.wait_for(
            &format!("journalctl -u firstboot | grep -E 'etcd must not start: .*\\[{id}\\]'"),
            CONVERGENCE_TIMEOUT,
        )?;
        nothing_lost(&bed, &client).with_context(|| id.to_owned())?;
        let (new, _) = listed(&bed.hosts[0], "etcd-3")?.context("etcd-3 is not listed")?;
        ensure!(new != old, "{id}: etcd-3 keeps its old id {old}");
        host.check(&[
            "sh",
            "-c",
            "ls /var/lib/etcd/aside/lost-*/member/wal/*.wal /var/lib/etcd/aside/lost-*/member/snap/db",
        ])?;
    }

    // Only etcd finds this damage.
    host.check(&["systemctl", "stop", "etcd"])?;
    change(&member.join("snap/db"), |bytes| {
        bytes[8192..].chunks_mut(4096).for_each(damage_keys);
    })?;
    let found =
        host.sh("firstboot snapshot verify --skip-hash-check /var/lib/etcd/data/member/snap/db")?;
    ensure!(
        found.code() == 3 && found.stderr.contains("is not a good snapshot"),
        "{found:?}"
    );
    host.sh(restart)?;
    named(host, &["etcd exited at", "[etcd-ended]"])?;
    // Discard the damaged data as docs/troubleshooting.md describes.
    host.check(&[
        "sh",
        "-c",
        "systemctl stop etcd; mv /var/lib/etcd/data /root/damaged",
    ])?;
    host.sh("systemctl restart --no-block firstboot")?;
    nothing_lost(&bed, &client)
}

fn full() -> Result<()> {
    let mut bed = Bed::new(3)?;
    bed.hosts[2].nspawn_argument("--tmpfs=/var/lib/etcd:size=400M,mode=0700");
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let client = written(&bed)?;
    let host = &bed.hosts[2];
    let (old, _) = listed(host, "etcd-3")?.context("etcd-3 is not listed")?;
    let filled = host.sh("dd if=/dev/zero of=/var/lib/etcd/junk bs=1M")?;
    ensure!(
        filled.stderr.contains("No space left on device"),
        "{filled:?}"
    );
    client.fill(&[bed.hosts[0].address()], 100, 500_000)?;
    named(
        host,
        &[
            "etcd exited at",
            "/var/lib/etcd/",
            "No space left on device",
            "[etcd-ended]",
        ],
    )?;
    host.check(&["rm", "/var/lib/etcd/junk"])?;
    nothing_lost(&bed, &client)?;
    let (new, _) = listed(host, "etcd-3")?.context("etcd-3 is not listed")?;
    ensure!(new == old, "a full volume changed the member id of etcd-3");
    Ok(())
}

fn masked() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let host = &bed.hosts[2];
    refused_while_etcd_runs(host)?;
    // The unit file is at the path at which `systemctl mask` would create its link, so systemctl
    // refuses.
    let refused = host.sh("systemctl mask etcd")?;
    ensure!(refused.stderr.contains("already exists"), "{refused:?}");
    host.check(&[
        "sh",
        "-c",
        "mv /etc/systemd/system/etcd.service /root; ln -s /dev/null /etc/systemd/system/etcd.service
         systemctl daemon-reload; systemctl stop etcd",
    ])?;
    let ran = host.run(&["firstboot", "status"])?;
    ensure!(
        ran.code() == 5 && ran.stdout.contains("[etcd-masked]"),
        "{ran:?}"
    );
    host.sh("systemctl restart --no-block firstboot")?;
    wait_refused(
        host,
        &["etcd.service is a link to /dev/null", "[image-altered]"],
    )?;
    let ran = host.run(&["firstboot", "run"])?;
    ensure!(
        ran.code() == 3 && ran.stderr.contains("[image-altered]"),
        "{ran:?}"
    );
    host.check(&[
        "sh",
        "-c",
        "mv /root/etcd.service /etc/systemd/system/; systemctl daemon-reload; systemctl restart --no-block firstboot",
    ])?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Checks that, after a refusal, firstboot accepts the node's own running etcd. The other members
/// receive traffic from this etcd, but firstboot must not conclude that a second machine is
/// running.
fn refused_while_etcd_runs(host: &Host) -> Result<()> {
    let pid = |host: &Host| host.check(&["systemctl", "show", "--property=MainPID", "etcd"]);
    let before = pid(host)?;
    host.check(&["sh", "-c", "echo >> /etc/sysctl.d/95-etcd.conf"])?;
    let restarted = host.run(&["systemctl", "restart", "firstboot"])?;
    ensure!(restarted.code() != 0, "{restarted:?}");
    let ran = host.run(&["firstboot", "run"])?;
    ensure!(
        ran.code() == 3 && ran.stderr.contains("[image-altered]"),
        "{ran:?}"
    );
    host.check(&["sed", "-i", "$ d", "/etc/sysctl.d/95-etcd.conf"])?;
    host.check(&["systemctl", "restart", "firstboot"])?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    ensure!(pid(host)? == before, "etcd was restarted");
    host.check(&["test", "-e", "/run/firstboot/ready"])
        .map(drop)
}
