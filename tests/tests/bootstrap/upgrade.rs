//! etcd is upgraded by a new image: each node is installed anew from it, one after the other, while clients write.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::client::{self, Client, Writers};
use tests::cluster::{boot_all, status, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, NEEDS, PATIENCE, listed, wait_said};

const OLD: &str = "3.5.33";
const NEW: &str = "3.6.14";

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [NEEDS, &[etcd::need(OLD), etcd::need(NEW)]].concat();
    vec![trial("the_next_minor_comes_by_a_new_image_and_the_old_image_does_not_go_back", &needs, upgrade)]
}

fn upgrade() -> Result<()> {
    let mut bed = Bed::with_etcd(OLD, 3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    let client = Client::new(&bed.provisioning)?;
    let addresses: Vec<_> = bed.hosts.iter().map(Host::address).collect();
    let writers = Writers::start(&client, &addresses, "w/");
    writers.go_on(10, PATIENCE)?;

    for at in 0..3 {
        bed.install_with(at, NEW)?;
        bed.hosts[at].boot()?;
        for host in &bed.hosts {
            wait_healthy(host, 3, PATIENCE)?;
        }
        writers.go_on(10, PATIENCE)?;
    }
    let written = writers.stop()?;
    for address in &addresses {
        written.kept_in(&client::insist(|| client.all(*address, "w/"))?)?;
    }
    let seen = status(&bed.hosts[0])?;
    ensure!(seen.iter().all(|member| member.version == NEW), "not {NEW}: {seen:?}");
    let minor = |version: &str| version.split('.').nth(1).map(str::to_owned);
    // etcd raises the version of its storage some seconds after that of the cluster (server/etcdserver/server.go,
    // monitorStorageVersion).
    let storage = format!("\"storageVersion\":\"3.{}", minor(NEW).unwrap_or_default());
    let raised = format!(". /etc/profile.d/etcdctl.sh && etcdctl endpoint status -w json | grep '{storage}'");
    bed.hosts[1].wait_for(&raised, PATIENCE)?;

    // Its member stays until an image comes that can join.
    let before = listed(&bed.hosts[0], "etcd-3")?;
    bed.install_with(2, OLD)?;
    bed.hosts[2].boot()?;
    let words = format!("and this image's 3.{} cannot join that", minor(OLD).unwrap_or_default());
    wait_said(&bed.hosts[2], &[&words])?;
    ensure!(before.is_some() && listed(&bed.hosts[0], "etcd-3")? == before, "its member was touched");
    bed.install_with(2, NEW)?;
    bed.hosts[2].boot()?;
    wait_healthy(&bed.hosts[2], 3, PATIENCE).map(drop)
}
