//! Tests faults around a member: a proxy, a route, another program, a file's owner, a drop-in, an
//! alarm, or an entry in the member list. etcd ignores the proxy. For each other fault, firstboot
//! reports the cause and the remedy, or repairs the fault.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::process;

use crate::bed::{
    Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, listed, retry_etcdctl, wait_said,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "etcd_ignores_the_systems_proxy_and_a_wrong_source_address_is_named",
            REQUIREMENTS,
            network,
        ),
        trial(
            "firstboot_reports_what_stops_etcd_and_corrects_its_owner",
            REQUIREMENTS,
            stopped,
        ),
        trial(
            "status_names_an_alarm_a_wrong_peer_url_and_a_stray_member",
            REQUIREMENTS,
            listed_wrong,
        ),
    ]
}

/// The systemd configuration that sets, for all programs, a proxy that does not answer.
const PROXY: &str = "[Manager]\nDefaultEnvironment=HTTPS_PROXY=http://10.101.15.1:3128 https_proxy=http://10.101.15.1:3128\n";

fn network() -> Result<()> {
    let mut bed = Bed::new(3)?;
    for host in &bed.hosts {
        host.write("/etc/systemd/system.conf.d/99-proxy.conf", PROXY, 0o644)?;
    }
    let third = bed.hosts[2].link().namespace.name().to_owned();
    let ip = |words: &str| {
        process::check(
            "ip",
            &[&["-n", &third], &words.split(' ').collect::<Vec<_>>()[..]].concat(),
        )
    };
    ip("addr add 10.101.99.3/32 dev lo")?;
    ip("route replace 10.101.15.0/24 dev eth0 src 10.101.99.3")?;
    boot_all(&mut bed.hosts)?;
    let route = "this node reaches etcd-1, etcd-2 from the address 10.101.99.3 instead of its own address 10.101.15.103";
    wait_said(&bed.hosts[2], &[route, "[wrong-source-address]"])?;
    has_no_etcd(&bed.hosts[2])?;
    ip("route replace 10.101.15.0/24 dev eth0 src 10.101.15.103")?;
    bed.wait_all_healthy()?;
    let system = bed.hosts[0].check(&["systemctl", "show", "--property=Environment"])?;
    ensure!(
        system.contains("HTTPS_PROXY"),
        "systemd does not set the proxy: {system}"
    );

    // The member still starts, because the other members reach it, and firstboot reports the fault.
    ip("route replace 10.101.15.0/24 dev eth0 src 10.101.99.3")?;
    bed.hosts[2].sh("systemctl restart --no-block firstboot etcd")?;
    let run = "_SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value firstboot)";
    bed.hosts[2].wait_for(
        &format!("journalctl {run} | grep -qF '{route}'"),
        CONVERGENCE_TIMEOUT,
    )?;
    let shown = bed.hosts[2].run(&["firstboot", "status"])?.stdout;
    ensure!(shown.contains(route), "{shown}");
    ip("route replace 10.101.15.0/24 dev eth0 src 10.101.15.103")?;
    wait_healthy(&bed.hosts[2], 3, CONVERGENCE_TIMEOUT).map(drop)
}

fn stopped() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let host = &bed.hosts[2];
    let (member, _) = listed(host, "etcd-3")?.context("etcd-3 is not listed")?;

    // Another program occupies etcd's port.
    host.check(&["systemctl", "stop", "etcd"])?;
    let socket = host.link().namespace.listen("10.101.15.103:2380")?;
    check_reported(
        host,
        &["etcd exited at", "address already in use [etcd-ended]"],
    )?;
    drop(socket);
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;

    // The scripts produce the state that results when root copies or repairs the data.
    for script in [
        "chown -R root:root data",
        "chown root:root data/member/wal data/member/snap/db; chmod 400 data/member/snap/db",
        "chown root:root .; chmod 700 .",
    ] {
        let script = format!(
            "systemctl stop etcd; cd /var/lib/etcd; {script}; systemctl start --no-block etcd"
        );
        host.check(&["sh", "-c", &script])?;
        wait_healthy(host, 3, CONVERGENCE_TIMEOUT).with_context(|| script.clone())?;
        let (now, _) = listed(host, "etcd-3")?.context("etcd-3 is not listed")?;
        ensure!(now == member, "{script}: etcd-3 is now a different member");
    }
    let journal = host.journal("etcd")?;
    ensure!(
        journal.contains("files and folders in /var/lib/etcd/data"),
        "{journal}"
    );

    // A drop-in changes the location of the data.
    host.write(
        "/etc/moved.env",
        "ETCD_DATA_DIR=/var/lib/etcd/elsewhere\n",
        0o644,
    )?;
    let drop_in = "[Service]\nEnvironmentFile=/etc/moved.env\n";
    host.write(
        "/etc/systemd/system/etcd.service.d/moved.conf",
        drop_in,
        0o644,
    )?;
    host.sh("systemctl daemon-reload; systemctl stop etcd")?;
    check_reported(
        host,
        &[
            "moves etcd's data to /var/lib/etcd/elsewhere",
            "[data-moved]",
            "etcd.service.d/moved.conf [etcd-drop-in]",
        ],
    )?;
    host.sh("rm -r /etc/systemd/system/etcd.service.d; systemctl daemon-reload")?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Tries to start etcd, and checks that firstboot.service and `firstboot status` report why etcd
/// does not start.
fn check_reported(host: &Host, words: &[&str]) -> Result<()> {
    host.sh("systemctl start --no-block etcd; systemctl restart --no-block firstboot")?;
    wait_said(host, words)?;
    let shown = host.run(&["firstboot", "status"])?.stdout;
    let row = shown
        .lines()
        .find(|line| line.starts_with("etcd-3 "))
        .context("the status has no row for etcd-3")?;
    ensure!(
        words.iter().all(|word| row.contains(word)),
        "status does not show {words:?}:\n{shown}"
    );
    Ok(())
}

/// A command that raises an alarm, as a member with a full database does.
const FULL: &str = "curl --silent --fail --cacert /etc/etcd/tls/ca.crt --cert /etc/etcd/tls/client.crt --key /etc/etcd/tls/client.key \
     https://127.0.0.1:2379/v3/maintenance/alarm --data";

fn listed_wrong() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.wait_all_healthy()?;
    let host = &bed.hosts[0];
    let (third, _) = listed(host, "etcd-3")?.context("etcd-3 is not listed")?;

    let id = u64::from_str_radix(&third, 16)?;
    let body = format!("{{\"action\":\"ACTIVATE\",\"memberID\":\"{id}\",\"alarm\":\"NOSPACE\"}}");
    host.sh(&format!("{FULL} '{body}'"))?.ok()?;
    let refused = etcdctl(host, "put key value").unwrap_err();
    ensure!(
        format!("{refused:#}").contains("space exceeded"),
        "{refused:#}"
    );
    let shown = degraded(
        host,
        "etcd-3",
        &[
            "alarm NOSPACE: its database size is",
            "the quota is",
            "[alarm-nospace]",
        ],
    )?;
    ensure!(
        shown.matches("NOSPACE").count() == 1 && !shown.contains("memberID:"),
        "{shown}"
    );
    etcdctl(host, "alarm disarm")?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;

    etcdctl(
        host,
        &format!("member update {third} --peer-urls=http://10.101.15.103:2380"),
    )?;
    let wrong = "the member list has http://10.101.15.103:2380 as this member's peer URL";
    let shown = degraded(host, "etcd-3", &[wrong, "[peer-url]"])?;
    ensure!(
        shown
            .lines()
            .filter(|line| line.starts_with("etcd-"))
            .count()
            == 3,
        "{shown}"
    );
    run_remedy(host, &shown)?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;

    retry_etcdctl(
        host,
        "member add stray --peer-urls=https://10.101.15.109:2380",
    )?;
    let list = etcdctl(host, "member list")?;
    let stray = list
        .lines()
        .find(|line| line.contains("10.101.15.109"))
        .and_then(|line| line.split(',').next());
    let stray = stray.with_context(|| format!("no stray member in {list}"))?;
    let cost = "it was added but never started. It counts as one of 4 voters, of which 3 must run";
    let shown = degraded(host, stray, &[cost, "[member-never-started]"])?;
    run_remedy(host, &shown)?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Checks that `firstboot status` shows these words in the member's row, and that there is a
/// quorum.
fn degraded(host: &Host, name: &str, words: &[&str]) -> Result<String> {
    let ran = host.run(&["firstboot", "status"])?;
    ensure!(ran.code() == 5, "{ran:?}");
    let row = ran
        .stdout
        .lines()
        .find(|line| line.starts_with(name))
        .with_context(|| format!("no {name}: {ran:?}"))?;
    ensure!(
        words.iter().all(|word| row.contains(word)),
        "not {words:?}:\n{}",
        ran.stdout
    );
    Ok(ran.stdout)
}

/// Runs the command that a remark in the status suggests.
fn run_remedy(host: &Host, shown: &str) -> Result<()> {
    let command = shown
        .split('`')
        .find_map(|part| part.strip_prefix("etcdctl member "));
    let command = command.with_context(|| format!("no command in\n{shown}"))?;
    retry_etcdctl(host, &format!("member {command}"))
}
