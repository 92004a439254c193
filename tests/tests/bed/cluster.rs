//! Tests hosts (three with a real etcd, one with a disk, and one with a node's services), the
//! network faults that the bed can inject, and the etcd releases that it can make.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::disk::Disk;
use tests::harness::trial;
use tests::host::{Host, OffReason};
use tests::network::Network;
use tests::requirement::{NEEDS_CLUSTER, Requirement};
use tests::server::FileServer;
use tests::{base, etcd, process};

const VERSION: &str = "3.5.1";
const HOSTS: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "three_hosts_form_a_cluster_and_survive_faults",
            NEEDS_CLUSTER,
            cluster,
        ),
        trial(
            "two_partitioned_hosts_still_reach_the_third",
            &NEEDS_CLUSTER[..4],
            parted,
        ),
        trial(
            "a_host_mounts_its_own_disk",
            &[
                Requirement::Root,
                Requirement::Nspawn,
                Requirement::Debootstrap,
                Requirement::Network,
                Requirement::Xfs,
            ],
            disk,
        ),
        trial(
            "the_services_of_a_node_run_on_a_host",
            &NEEDS_CLUSTER[..4],
            services,
        ),
        trial(
            "other_etcd_releases_can_be_made",
            &[Requirement::Apt, Requirement::Go(25)],
            releases,
        ),
    ]
}

fn cluster() -> Result<()> {
    let network = Network::new()?;
    let began = Instant::now();
    let mut hosts = HOSTS
        .iter()
        .map(|name| etcd_host(&network, name))
        .collect::<Result<Vec<_>>>()?;
    for host in &mut hosts {
        host.boot()?;
    }
    for host in &mut hosts {
        host.wait_running(Duration::from_secs(180))?;
    }
    healthy(&network, &[101, 102, 103])?;
    println!(
        "three hosts are a healthy cluster after {:?}",
        began.elapsed()
    );
    etcdctl(&network, 101, &["put", "a", "1"])?;

    hosts[2].reboot()?;
    healthy(&network, &[101, 102, 103])?;

    network.unplug("etcd-3")?;
    healthy(&network, &[101, 102])?;
    ensure!(
        etcdctl(&network, 103, &["get", "a"]).is_err(),
        "a disconnected host still answers"
    );
    network.replug("etcd-3")?;
    healthy(&network, &[101, 102, 103])?;

    hosts[2].cut_power()?;
    let journal = hosts[2].journal("etcd")?;
    ensure!(
        journal.contains("ready to serve client requests"),
        "the journal of a dead host is not readable:\n{journal}"
    );
    etcdctl(&network, 101, &["put", "a", "2"])?;
    hosts[2].start()?;
    healthy(&network, &[101, 102, 103])?;
    ensure!(
        etcdctl(&network, 103, &["get", "a"])?.contains('2'),
        "the write of the other hosts has not arrived"
    );

    hosts[2].shutdown()?;
    ensure!(
        hosts[2].path("/var/lib/etcd/member").exists(),
        "etcd's data does not survive a shutdown"
    );
    hosts[2].wipe()?;
    ensure!(
        !hosts[2].path("/var/lib/etcd/member").exists(),
        "a wiped host still has etcd's data"
    );
    ensure!(
        !hosts[2].path("/usr/local/bin/etcd").exists(),
        "a wiped host still has etcd"
    );
    hosts[2].start()?;
    ensure!(hosts[2].run(&["systemctl", "reboot"]).is_ok());
    ensure!(hosts[2].wait_off(Duration::from_secs(120))? == OffReason::Rebooted);
    Ok(())
}

fn parted() -> Result<()> {
    let network = Network::new()?;
    for name in HOSTS {
        network.add(name)?;
    }
    let connects = |seconds: u8, from: &str, to: u8| -> Result<bool> {
        let mut ping = network.link(from)?.namespace.command("bash");
        // If the host refuses the connection, the network has delivered the request. If packets are
        // dropped, `timeout` exits with 124.
        ping.args([
            "-c",
            &format!(
                "timeout {seconds} bash -c 'exec 3<>/dev/tcp/10.101.15.{to}/9'; [ $? != 124 ]"
            ),
        ]);
        Ok(process::run(&mut ping)?.success())
    };
    // The kernel repeats a lost connection request after 1, 3 and 7 s.
    let reaches = |from: &str, to: u8| connects(10, from, to);
    let is_cut_off = |from: &str, to: u8| connects(2, from, to).map(|connects| !connects);
    ensure!(reaches("etcd-1", 102)? && reaches("etcd-1", 103)? && reaches("etcd-1", 1)?);
    network.drop_between("etcd-1", "etcd-2")?;
    ensure!(
        is_cut_off("etcd-1", 102)? && is_cut_off("etcd-2", 101)?,
        "the pair is not partitioned"
    );
    ensure!(
        reaches("etcd-1", 103)? && reaches("etcd-2", 103)?,
        "the third host is not reachable"
    );
    network.heal_all()?;
    ensure!(reaches("etcd-1", 102)?, "the partition has not ended");
    network.unplug("etcd-1")?;
    ensure!(
        is_cut_off("etcd-2", 101)?,
        "the cut link still passes packets"
    );
    network.replug("etcd-1")?;
    ensure!(reaches("etcd-2", 101)?, "the link is still cut");
    network.limit_rate("etcd-1", "1mbit")?;
    network.lift_rate_limit("etcd-1")?;

    let socket = network
        .link("etcd-2")?
        .namespace
        .listen("10.101.15.102:9")?;
    let took = |from: &str| -> Result<Duration> {
        network
            .link(from)?
            .namespace
            .within(|| {
                let begun = Instant::now();
                std::net::TcpStream::connect("10.101.15.102:9").map(|_| begun.elapsed())
            })?
            .context("cannot connect to the host")
    };
    network.add_latency("etcd-2", Duration::from_millis(100))?;
    ensure!(
        took("etcd-1")? >= Duration::from_millis(200),
        "the round trip is too short"
    );
    network.remove_latency("etcd-2")?;
    took("etcd-1")?;
    drop(socket);
    Ok(())
}

fn disk() -> Result<()> {
    let network = Network::new()?;
    let disk = Disk::xfs(512 << 20, "etcd")?;
    let mut host = Host::new(&network, "etcd-1", &base::base()?)?;
    host.nspawn_argument(format!("--bind={}", disk.device().display()));
    host.start()?;
    let device = disk.device().to_string_lossy().into_owned();
    host.check(&["mount", &device, "/mnt"])?;
    let kind = host.check(&["findmnt", "--noheadings", "--output", "FSTYPE", "/mnt"])?;
    ensure!(kind.trim() == "xfs", "/mnt is {kind}");
    host.shutdown()
}

fn services() -> Result<()> {
    let network = Network::new()?;
    network.add_address("169.254.169.254/32")?;
    let metadata = tempfile::tempdir()?;
    fs::write(metadata.path().join("hostname"), "etcd-1")?;
    let _server = FileServer::start(
        network.world().listen("169.254.169.254:80")?,
        metadata.path(),
    )?;
    let mut host = Host::new(&network, "etcd-1", &base::base()?)?;
    // Without this drop-in, systemd would skip chronyd's unit, because chronyd cannot set the clock
    // in the test bed.
    host.write(
        "/etc/systemd/system/chrony.service.d/bed.conf",
        "[Unit]\nConditionCapability=\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -d -x\nType=simple\nPIDFile=\n",
        0o644,
    )?;
    host.start()?;
    let answer = host.check(&["curl", "-sf", "http://169.254.169.254/hostname"])?;
    ensure!(answer == "etcd-1", "{answer}");
    host.check(&["systemctl", "start", "firewalld"])?;
    let state = host.run(&["firewall-cmd", "--state"])?;
    ensure!(
        state.stdout.trim() == "running",
        "{state:?}\n{}",
        host.journal("firewalld")?
    );
    host.check(&["firewall-cmd", "--add-port=2379/tcp"])?;
    ensure!(
        host.check(&["systemctl", "is-active", "ssh", "chrony"])? == "active\nactive\n",
        "sshd or chronyd does not run"
    );
    ensure!(host.console().contains("Started"), "the console is empty");
    host.shutdown()
}

fn releases() -> Result<()> {
    for version in ["3.4.23", "3.6.16"] {
        let release = etcd::release(version)?;
        println!("{}  {}", release.sha256, release.tarball.display());
    }
    Ok(())
}

fn etcd_host(network: &Network, name: &str) -> Result<Host> {
    let host = Host::new(network, name, &base::base()?)?;
    for program in etcd::PROGRAMS {
        let binary = etcd::binaries(VERSION)?.join(program);
        let bytes =
            fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
        host.write(&format!("/usr/local/bin/{program}"), bytes, 0o755)?;
    }
    let own = host.address();
    let members: Vec<String> = (1..=3)
        .map(|n| format!("etcd-{n}=http://10.101.15.{}:2380", 100 + n))
        .collect();
    let unit = format!(
        "[Unit]\nAfter=network.target\n[Service]\nType=notify\nTimeoutStartSec=0\nRestart=on-failure\n\
         ExecStart=/usr/local/bin/etcd --name {name} --data-dir /var/lib/etcd \
         --listen-peer-urls http://{own}:2380 --initial-advertise-peer-urls http://{own}:2380 \
         --listen-client-urls http://{own}:2379 --advertise-client-urls http://{own}:2379 \
         --initial-cluster {}\n[Install]\nWantedBy=multi-user.target\n",
        members.join(",")
    );
    host.write("/etc/systemd/system/etcd.service", unit, 0o644)?;
    fs::create_dir_all(host.path("/etc/systemd/system/multi-user.target.wants"))?;
    std::os::unix::fs::symlink(
        "../etcd.service",
        host.path("/etc/systemd/system/multi-user.target.wants/etcd.service"),
    )?;
    Ok(host)
}

fn etcdctl(network: &Network, host: u8, arguments: &[&str]) -> Result<String> {
    let mut etcdctl: Command = network
        .world()
        .command(&etcd::binaries(VERSION)?.join("etcdctl").to_string_lossy());
    etcdctl
        .args(["--dial-timeout=1s", "--command-timeout=2s"])
        .arg(format!("--endpoints=http://10.101.15.{host}:2379"))
        .args(arguments);
    process::run(&mut etcdctl)?.ok()
}

fn healthy(network: &Network, hosts: &[u8]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    for host in hosts {
        loop {
            match etcdctl(network, *host, &["endpoint", "health"]) {
                Ok(_) => break,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context("not healthy after 120 s"));
                }
                Err(_) => sleep(Duration::from_millis(100)),
            }
        }
    }
    Ok(())
}
