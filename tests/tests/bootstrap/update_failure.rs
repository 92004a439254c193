//! Tests releases that a node must refuse.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::status;
use tests::harness::trial;
use tests::host::Host;
use tests::repack::{self, Repack};

use crate::bed::REQUIREMENTS;
use crate::update::{bed, ends, update};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "an_image_that_is_not_the_next_image_of_this_cluster_changes_nothing",
        REQUIREMENTS,
        refused,
    )]
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

    needs_room(&bed.hosts[0])?;

    // The node refuses releases that are for a different cluster, are signed with a different key,
    // or have a different base.
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
    // The refused releases have not changed the node. The node then installs the valid release.
    ensure!(
        tests::cluster::fingerprint(&bed.hosts[0])? == before,
        "a refused release changed files"
    );
    repack::write(&out, &good, &key)?;
    ends(&update(&bed.hosts[0], "")?, 0, &[])?;

    // No node accepts an older image: neither a node with the newer image, nor a node that finds
    // the newer image's serial in the cluster.
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

/// Tests a disk without room for both images.
fn needs_room(host: &Host) -> Result<()> {
    let folder = "/var/lib/firstboot/update";
    let full = format!("mkdir -p {folder} && mount -t tmpfs -o size=8m tmpfs {folder}");
    host.sh(&full)?.ok()?;
    ends(&update(host, "")?, 4, &["[update-no-room]"])?;
    host.check(&["umount", folder]).map(drop)
}
