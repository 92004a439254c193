//! The named disaster "a clone of a node booted beside it", and a second machine that was told the same.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, etcdctl, wait_healthy};
use tests::harness::trial;
use tests::host::Host;
use tests::{client, etcd, process, programs};

use crate::bed::{Bed, NEEDS, PATIENCE, copy, has_no_etcd, listed, wait_refused};
use crate::disasters::plain;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_second_machine_with_a_members_identity_is_refused", NEEDS, twin),
        trial("a_second_machine_is_found_though_the_first_question_is_lost", NEEDS, question_lost),
    ]
}

/// A clone beside its node: with plain etcd it is the same member, and votes a second time. Here it finds the other by
/// its address before it says a word to anybody, or knows by its hardware that its disk is another machine's.
fn twin() -> Result<()> {
    let mut bed = Bed::new(3)?;
    boot_all(&mut bed.hosts)?;
    bed.whole()?;
    let before = listed(&bed.hosts[0], "etcd-3")?;
    let boots = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;

    // With an empty disk, and the same document.
    let mut twin = bed.twin("etcd-3")?;
    let mac = bed.hosts[2].link().mac.clone();
    twin.boot()?;
    wait_refused(&twin, &["another machine", &mac, "10.101.15.103", "switch the wrong one off"])?;
    has_no_etcd(&twin)?;
    ensure!(!twin.path("/var/lib/firstboot/journal").exists(), "it took the identity on");
    twin.pull_the_plug()?;

    // Whoever is not heard at once is heard when the others name it.
    bed.provisioning.network.lose_first_question(twin.name())?;
    twin.boot()?;
    wait_refused(&twin, &["another machine", &mac, "10.101.15.103", "switch the wrong one off"])?;
    has_no_etcd(&twin)?;
    twin.pull_the_plug()?;

    // With a copy of the member's disk, where it can hear nobody that has the address.
    for folder in ["/var/lib/firstboot", "/var/lib/etcd"] {
        copy(&bed.hosts[2].path(folder), &twin.path(folder))?;
    }
    divide(&bed, &twin)?;
    twin.boot()?;
    wait_refused(&twin, &["this disk is a copy, or was moved", &mac])?;
    bed.provisioning.network.heal_all()?;
    // And with a journal of that disk that knows no machine.
    process::check("rm", &[&twin.path("/var/lib/firstboot/journal").to_string_lossy()])?;
    twin.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    wait_refused(&twin, &["another machine", &mac])?;
    twin.pull_the_plug()?;
    // Its kernel is that of the bed, and answers for the address as long as the cable is in.
    bed.provisioning.network.cut(twin.name())?;

    wait_healthy(&bed.hosts[0], 3, PATIENCE)?;
    ensure!(listed(&bed.hosts[0], "etcd-3")? == before, "the member list has changed");
    let now = bed.hosts[2].check(&["systemctl", "show", "--property=MainPID", "etcd.service"])?;
    ensure!(now == boots, "etcd-3 was restarted");
    two_quorums(&mut bed, &mut twin)
}

/// Plain etcd with a copy of a member's disk: where the network is divided either half has one of the two, and both halves
/// are a quorum of one cluster, in which each acknowledges another value of one key.
fn two_quorums(bed: &mut Bed, twin: &mut Host) -> Result<()> {
    bed.power_fails()?;
    let client = plain(bed)?;
    bed.power_fails()?;
    for folder in ["/etc/etcd", "/var/lib/etcd", "/etc/systemd/system"] {
        copy(&bed.hosts[2].path(folder), &twin.path(folder))?;
    }
    divide(bed, twin)?;
    bed.provisioning.network.heal(twin.name())?;
    boot_all(&mut bed.hosts)?;
    twin.boot()?;
    let sides = [(0, "one"), (1, "two")].map(|(at, value)| (bed.hosts[at].address(), value));
    for (address, value) in sides {
        client::insist(|| client.put(address, "answer", value))
            .context("plain etcd was to have a quorum on each side")?;
    }
    for (address, value) in sides {
        let found = client::insist(|| client.all(address, "answer"))?;
        ensure!(found.get("answer").is_some_and(|own| own == value), "{address} reads {found:?}");
    }
    twin.pull_the_plug()
}

/// etcd-1 and etcd-3 hear each other, and etcd-2 and the twin do.
fn divide(bed: &Bed, twin: &Host) -> Result<()> {
    bed.provisioning.network.divide(&["etcd-1", "etcd-3"], &["etcd-2", twin.name()])
}

/// The lone member of its cluster has a twin with an empty disk. There is no other member to tell the twin of it, and the
/// first packet that asks for it is lost: only what is asked again in the background keeps the twin from beginning the
/// cluster a second time.
fn question_lost() -> Result<()> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::demo(1, "", "")?)?;
    let mut host = provisioning.node("etcd-1")?;
    host.boot()?;
    wait_healthy(&host, 1, PATIENCE)?;
    etcdctl(&host, "put answer 42")?;

    let mut twin = provisioning.twin("etcd-1")?;
    provisioning.network.lose_first_question(twin.name())?;
    twin.boot()?;
    wait_refused(&twin, &["another machine", &host.link().mac, "10.101.15.101"])?;
    has_no_etcd(&twin)?;
    let [asked, lost] = provisioning.network.questions()?;
    ensure!(lost == 1 && asked > 1, "of {asked} questions {lost} were lost");
    ensure!(etcdctl(&host, "get answer --print-value-only")?.trim() == "42");
    Ok(())
}
