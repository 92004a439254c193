//! Tests the disaster in which something else answers on a peer port: a different machine has a
//! member's address, or another program answers on the member's port.

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::client::Client;
use tests::cluster::boot_all;
use tests::etcd;
use tests::harness::{tail, trial};
use tests::network::Namespace;
use tests::process::KillOnDrop;
use tests::run;
use tests::server::FileServer;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT, REQUIREMENTS, has_no_etcd, wait_said};
use crate::disasters::{answer, ours, start_plain_etcd, write};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "an_unknown_responder_on_a_peer_port_does_not_count_as_a_member",
        REQUIREMENTS,
        stranger,
    )]
}

/// The peer port of etcd-3.
const PORT: &str = "10.101.15.103:2380";

/// Only etcd-3 has the data, and another program answers at its address. If etcd-1 and etcd-2 run
/// plain etcd without firstboot, they mistake that program for a member that does not list them.
/// They then start with the initial cluster state `new`, form a quorum, and elect a leader that has
/// no data.
fn stranger() -> Result<()> {
    let mut bed = Bed::new(3)?;
    let folder = run::current()?.folder("stranger")?;
    let third = bed.hosts[2].link().namespace.clone();

    let client = start_plain_etcd(&mut bed)?;
    write(&client, &bed, 0)?;
    bed.cut_power()?;
    let other = Other::start(&bed, &third, &folder)?;
    bed.set_up_by_hand(0)?;
    bed.set_up_by_hand(1)?;
    boot_all(&mut bed.hosts[..2])?;
    let left = answer(&client, &bed, 0)?;
    ensure!(left.is_none(), "plain etcd did not lose the write");
    drop(other);

    let client = ours(&mut bed)?;
    write(&client, &bed, 0)?;
    bed.cut_power()?;
    bed.replace_disk(0)?;
    bed.replace_disk(1)?;
    let http = FileServer::start(third.listen(PORT)?, &folder)?;
    boot_all(&mut bed.hosts[..2])?;
    wait_for_both(
        &bed,
        &["an unexpected program has answered on etcd-3's peer port since"],
    )?;
    drop(http);

    // The responder is an etcd of a different cluster with the same CA. The nodes must not follow
    // this etcd or join its cluster.
    let other = Other::start(&bed, &third, &folder)?;
    wait_for_both(
        &bed,
        &["etcd-3 has run etcd in the cluster", "[wrong-responder]"],
    )?;
    let members = members(&bed)?;
    ensure!(
        members == ["other"],
        "a node joined the other cluster: {members:?}"
    );
    drop(other);

    bed.hosts[2].boot()?;
    wait_for_both(&bed, &["etcd-3 has run etcd in the cluster", "[no-quorum]"])?;
    let database = std::fs::read(bed.hosts[2].path("/var/lib/etcd/data/member/snap/db"))?;
    ensure!(
        database.windows(6).any(|bytes| bytes == b"answer"),
        "the database of etcd-3 does not contain the write"
    );
    Ok(())
}

/// Waits until both empty nodes report these words, and checks that neither node bootstraps a
/// cluster.
fn wait_for_both(bed: &Bed, words: &[&str]) -> Result<()> {
    bed.hosts[..2].iter().try_for_each(|host| {
        wait_said(host, words)?;
        has_no_etcd(host)
    })
}

/// An etcd of a different cluster at the third node's address, with the third node's certificates.
/// The etcd stops on drop.
struct Other(KillOnDrop);

impl Other {
    fn start(bed: &Bed, namespace: &Namespace, folder: &Path) -> Result<Self> {
        let own = bed.provisioning.pki().join("nodes/etcd-3");
        let (ca, data) = (bed.provisioning.pki().join("ca.crt"), folder.join("data"));
        let (peer, client) = (format!("https://{PORT}"), "https://10.101.15.103:2379");
        let mut etcd =
            namespace.command(&etcd::binaries(&bed.version)?.join("etcd").to_string_lossy());
        etcd.args([
            "--name",
            "other",
            "--initial-cluster",
            &format!("other={peer}"),
        ])
        .arg("--data-dir")
        .arg(data);
        etcd.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        etcd.args([
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
        ]);
        // Remove this variable, which is meant for the suite, because etcd would interpret the
        // variable as the flag --version.
        etcd.env_remove("ETCD_VERSION");
        for (prefix, pair) in [("", "server"), ("peer-", "peer")] {
            etcd.arg(format!("--{prefix}client-cert-auth"))
                .arg(format!("--{prefix}trusted-ca-file"))
                .arg(&ca);
            etcd.arg(format!("--{prefix}cert-file"))
                .arg(own.join(format!("{pair}.crt")));
            etcd.arg(format!("--{prefix}key-file"))
                .arg(own.join(format!("{pair}.key")));
        }
        let log = folder.join("log");
        let mut other = Self(KillOnDrop::spawn(
            &etcd,
            &File::create(&log).context("cannot make the log")?,
        )?);
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        while members(bed).is_err() {
            let ended = other.0.ended()?;
            let said = || tail(&std::fs::read_to_string(&log).unwrap_or_default(), 10);
            ensure!(
                ended.is_none() && Instant::now() < end,
                "the other etcd does not serve ({ended:?}):\n{}",
                said()
            );
            sleep(Duration::from_millis(100));
        }
        Ok(other)
    }
}

/// Returns the names of the members that the etcd at the third node's address lists.
fn members(bed: &Bed) -> Result<Vec<String>> {
    let list = Client::new(&bed.provisioning)?.members(bed.hosts[2].address())?;
    Ok(list.into_iter().map(|member| member.name).collect())
}
