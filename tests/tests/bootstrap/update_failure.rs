//! Releases that a node must refuse, and power cuts during an update.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{status, wait_healthy};
use tests::harness::trial;
use tests::repack::{self, Repack};

use crate::bed::{CONVERGENCE_TIMEOUT, REQUIREMENTS};
use crate::update::{bed, ends, is_at_rest, update};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "an_image_that_is_not_the_next_of_this_cluster_changes_nothing",
            REQUIREMENTS,
            refused,
        ),
        trial(
            "power_lost_during_an_update_leaves_one_complete_image",
            REQUIREMENTS,
            cut,
        ),
    ]
}

fn refused() -> Result<()> {
    let bed = bed()?;
    let (out, key) = (bed.provisioning.out(), bed.provisioning.signing_key()?);
    let before = tests::cluster::fingerprint(&bed.hosts[0])?;
    let own = repack::read(&out)?;
    let image = Repack::of(&out)?;
    fs::write(image.path("etc/chrony.conf"), "# another\n")?;
    image.pack(2, &key)?;
    let good = repack::read(&out)?;
    let overlay = out.join("image/overlay.tar.gz");
    let refused = |id: &str| ends(&update(&bed.hosts[0], "")?, 3, &[id]);

    let mut bytes = fs::read(&overlay)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&overlay, &bytes)?;
    refused("[update-altered]")?;
    bytes[middle] ^= 1;
    fs::write(&overlay, &bytes)?;

    // Releases for a different cluster, signed with a different key, and with a different base.
    let with = |cluster: &str, serial, base: recipes::ImageBase| {
        let cluster = cluster.parse().map_err(|_| anyhow::anyhow!("no name"))?;
        anyhow::Ok(recipes::ReleaseDocument::new(
            cluster,
            serial,
            good.image,
            good.overlay,
            good.etcd,
            base,
        ))
    };
    repack::write(&out, &with("other", 2, good.base_parts.clone())?, &key)?;
    refused("it is for the cluster other")?;
    let stranger = recipes::SigningKey::from_pkcs8(&recipes::SigningKey::generate()?)?;
    repack::write(&out, &good, &stranger)?;
    refused("[update-release]")?;
    let mut base = good.base_parts.clone();
    base.add("packages", ["@core".to_owned(), "vim".to_owned()]);
    repack::write(&out, &with("demo", 2, base)?, &key)?;
    refused("[update-base]")?;
    // No node has changed, and the release itself is valid.
    ensure!(
        tests::cluster::fingerprint(&bed.hosts[0])? == before,
        "a refused release changed files"
    );
    repack::write(&out, &good, &key)?;
    ends(&update(&bed.hosts[0], "")?, 0, &[])?;

    // No node accepts an older image: neither the node that had a newer one, nor a node that learns
    // about the newer one from the cluster.
    let older = Repack::of(&out)?;
    fs::write(older.path("etc/chrony.conf"), "# a third\n")?;
    older.pack(1, &key)?;
    for host in &bed.hosts[..2] {
        ends(&update(host, "--deadline 30")?, 3, &["[update-older]"])?;
    }
    ensure!(
        own.serial == 1,
        "the first image has the serial {}",
        own.serial
    );
    let seen = status(&bed.hosts[0])?;
    ensure!(seen.iter().all(|member| member.healthy), "{seen:?}");
    Ok(())
}

/// Cuts the power of the node that carries out the order while the order is in this phase.
fn cut() -> Result<()> {
    let mut bed = bed()?;
    let mut serial = 1;
    for phase in ["exchanging", "proving", "waiting", "exchanging"] {
        serial += 1;
        let image = Repack::of(&bed.provisioning.out())?;
        fs::write(image.path("etc/chrony.conf"), format!("# {serial}\n"))?;
        image.pack(serial, &bed.provisioning.signing_key()?)?;
        let host = &bed.hosts[0];
        host.sh("nohup firstboot update > /dev/null 2>&1 &")?.ok()?;
        let state = host.path("/var/lib/firstboot/update/state.json");
        let end = Instant::now() + CONVERGENCE_TIMEOUT;
        while !fs::read_to_string(&state)
            .unwrap_or_default()
            .contains(&format!("\"phase\":\"{phase}\""))
        {
            ensure!(
                Instant::now() < end,
                "no phase {phase}: {}",
                host.journal("firstboot-update")?
            );
        }
        bed.hosts[0].cut_power()?;
        println!(
            "power failed while {phase}: {}",
            fs::read_to_string(&state).unwrap_or_default()
        );
        bed.hosts[0].boot()?;
        wait_healthy(&bed.hosts[0], 3, CONVERGENCE_TIMEOUT)?;
        let host = &bed.hosts[0];
        host.wait_for(
            "! test -e /var/lib/firstboot/update/state.json",
            CONVERGENCE_TIMEOUT,
        )?;
        is_at_rest(host)?;
        let outcome = host.read("/var/lib/firstboot/update/outcome.json")?;
        println!("{outcome}");
        let expected = if phase == "exchanging" {
            "taken-back"
        } else {
            "updated"
        };
        ensure!(
            outcome.contains(expected),
            "after power failed while {phase}: {outcome}"
        );
        // An update that was rolled back because of a power cut is tried again.
        ends(&update(host, "")?, 0, &[]).context(phase)?;
        is_at_rest(host)?;
    }
    Ok(())
}
