//! Tests that the wrong machine receives no identity. firstboot or the kickstart refuses each wrong
//! document, seed or overlay with the reason, and etcd does not start. A running member also
//! refuses clients that have no right to connect.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::disk::Disk;
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::installer::Outcome;
use tests::process;
use tests::programs::recipe;
use tests::server::Fault;

use crate::lifecycle::{ACCEPTED, NAMES, REQUIREMENTS};
use crate::refusal::{provisioned, refused, replace_document};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_wrong_document_is_refused_with_its_reason",
            REQUIREMENTS,
            documents,
        ),
        trial(
            "a_seed_disk_is_read_and_garbage_on_it_is_refused",
            REQUIREMENTS,
            seed_disk,
        ),
        trial(
            "a_cloned_disk_and_an_altered_file_are_refused",
            REQUIREMENTS,
            clone_and_altered,
        ),
        trial("a_member_refuses_strangers", REQUIREMENTS, strangers),
        trial(
            "an_overlay_with_another_digest_is_not_unpacked",
            REQUIREMENTS,
            wrong_overlay,
        ),
        trial(
            "a_user_script_that_alters_the_image_fails_the_installation",
            REQUIREMENTS,
            altering_script,
        ),
        trial(
            "a_host_uses_only_the_address_in_its_document",
            REQUIREMENTS,
            addresses,
        ),
    ]
}

fn documents() -> Result<()> {
    let ours = provisioned()?;
    let own = |node: &str, file: &str| fs::read(ours.out().join("nodes").join(node).join(file));
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;

    replace_document(&host, &own("etcd-2", "user-data")?)?;
    refused(
        &mut host,
        "etcd-2 must have the address 10.101.15.102, but eth0 has 10.101.15.101",
    )?;

    replace_document(&host, b"#cloud-config\n")?;
    refused(&mut host, "is not a node document")?;
    let altered = String::from_utf8(own("etcd-1", "user-data")?)?.replacen(
        "\"payload\": \"ey",
        "\"payload\": \"eY",
        1,
    );
    replace_document(&host, altered.as_bytes())?;
    refused(&mut host, "it was altered after signing")?;

    // A build of the same recipe with a new PKI folder has a different signing key.
    let stranger = tempfile::tempdir()?;
    let theirs = stranger.path().join("out");
    let built = tests::programs::run_builder(&[
        "build",
        &recipe("demo").display().to_string(),
        "--out",
        &theirs.display().to_string(),
        "--release",
        &etcd::release("3.5.1")?.tarball.display().to_string(),
        "--cache",
        &stranger.path().join("cache").display().to_string(),
    ])?;
    built.ok()?;
    replace_document(&host, &fs::read(theirs.join("nodes/etcd-1/user-data"))?)?;
    refused(&mut host, "but this image trusts")?;

    // The refusals have left no state behind. With the document of etcd-1, the machine becomes
    // etcd-1.
    replace_document(&host, &own("etcd-1", "user-data")?)?;
    let plan = {
        host.boot()?;
        host.wait_for(ACCEPTED, Duration::from_secs(180))?;
        host.wait_for("test -s /etc/etcd/tls/client.crt", Duration::from_secs(180))?;
        host.check(&["firstboot", "run", "--dry-run"])?
    };
    ensure!(
        plan.contains("etcd-1 of cluster demo at 10.101.15.101") && !plan.contains("/etc/hostname"),
        "{plan}"
    );
    let json = host.check(&["firstboot", "run", "--dry-run", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(
        json["node"] == "etcd-1" && json["next"] == "bootstrap-or-join",
        "{json}"
    );

    // From now on, the machine is etcd-1, and a different document does not change its identity.
    host.cut_power()?;
    replace_document(&host, &own("etcd-2", "user-data")?)?;
    refused(
        &mut host,
        "this disk was set up as etcd-1, but the node document is for etcd-2",
    )
}

fn seed_disk() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    let image = ours.out().join("nodes/etcd-1/seed.img");
    let disk = Disk::new(fs::metadata(&image)?.len())?;
    host.nspawn_argument(format!("--bind={}", disk.device().display()));

    fs::write(disk.device(), fs::read(&image)?)?;
    let mut garbage = fs::read(&image)?;
    // The test overwrites everything after the boot sector, including the allocation table. The
    // boot sector itself contains the label.
    garbage[512..].fill(0xA5);
    fs::write(disk.device(), &garbage)?;
    refused(
        &mut host,
        "is labelled cidata but does not contain user-data",
    )?;

    fs::write(disk.device(), fs::read(&image)?)?;
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(180))?;
    Ok(())
}

fn clone_and_altered() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.node("etcd-1")?;
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(180))?;
    host.cut_power()?;

    let journal = host.read("/var/lib/firstboot/journal")?;
    let mut clone = ours.node("etcd-2")?;
    // A second machine gets the first machine's disk.
    process::check(
        "cp",
        &[
            "-a",
            &path(&host, "/var/lib/firstboot/."),
            &path(&clone, "/var/lib/firstboot"),
        ],
    )?;
    process::check(
        "cp",
        &[
            "-a",
            &path(&host, "/var/lib/cloud/."),
            &path(&clone, "/var/lib/cloud"),
        ],
    )?;
    refused(&mut clone, "[machine-copied]")?;
    ensure!(
        clone.read("/var/lib/firstboot/journal")? == journal,
        "a refused clone wrote to its journal"
    );

    let conf = host.read("/etc/sysctl.d/95-etcd.conf")?;
    host.write(
        "/etc/sysctl.d/95-etcd.conf",
        conf.replacen("vm.swappiness = 1", "vm.swappiness = 9", 1),
        0o644,
    )?;
    refused(&mut host, "/etc/sysctl.d/95-etcd.conf was altered")?;
    fs::remove_file(host.path("/etc/firstboot/installed"))?;
    refused(&mut host, "the installation of this node did not finish")
}

fn path(host: &Host, path: &str) -> String {
    host.path(path).display().to_string()
}

fn strangers() -> Result<()> {
    let ours = provisioned()?;
    let mut hosts = NAMES
        .iter()
        .map(|name| ours.node(name))
        .collect::<Result<Vec<Host>>>()?;
    boot_all(&mut hosts)?;
    wait_healthy(&hosts[0], 3, Duration::from_secs(180))?;

    let curl = |arguments: &str| -> Result<process::Output> {
        let script = format!("curl -sS -m 5 {arguments}");
        process::run(ours.network.world().command("bash").args(["-c", &script]))
    };
    // The bridge's own address belongs to the network of allowed clients, so the firewall allows
    // connections from that address to port 2379.
    for port in [2379, 2380] {
        let plain = curl(&format!("http://10.101.15.101:{port}/version"))?;
        ensure!(
            !plain.success() && plain.stdout.is_empty(),
            "plain HTTP to {port}: {plain:?}"
        );
    }
    let bare = curl("-k https://10.101.15.101:2379/version")?;
    ensure!(
        !bare.success(),
        "a client without a certificate is served: {bare:?}"
    );
    let own = ours.pki().join("nodes/etcd-1");
    let with = |folder: &Path| {
        let folder = folder.display();
        format!(
            "-k --cert {folder}/client.crt --key {folder}/client.key https://10.101.15.101:2379/version"
        )
    };
    let good = curl(&with(&own))?;
    ensure!(
        good.stdout.contains("3.5.1"),
        "the cluster's own client is refused: {good:?}"
    );

    let other_ca = tempfile::tempdir()?;
    let command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=root \
                   -keyout client.key -out client.crt -days 1";
    let made = process::run(
        std::process::Command::new("bash")
            .args(["-c", command])
            .current_dir(other_ca.path()),
    )?;
    made.ok()?;
    let refused = curl(&with(other_ca.path()))?;
    ensure!(
        !refused.success(),
        "a client with a self-signed certificate is served: {refused:?}"
    );

    takes_only_peers(&ours, &hosts[1])
}

/// Checks that a member's peer port accepts only peers. The test connects from a peer's machine for
/// two reasons. The firewall drops packets from all other hosts, and etcd compares the addresses in
/// a certificate with the sender's address.
fn takes_only_peers(ours: &Provisioning, peer: &Host) -> Result<()> {
    let own = ours.pki().join("nodes/etcd-2");
    for (pair, served) in [("peer", true), ("client", false)] {
        let (cert, key) = (
            fs::read(own.join(format!("{pair}.crt")))?,
            fs::read(own.join(format!("{pair}.key")))?,
        );
        peer.write("/root/as", [cert, key].concat(), 0o600)?;
        let asked = peer.run(&[
            "curl",
            "-sSk",
            "--http1.1",
            "-m5",
            "--cert",
            "/root/as",
            "https://10.101.15.101:2380/version",
        ])?;
        ensure!(
            asked.stdout.contains("3.5.1") == served,
            "with the {pair}'s certificate a peer port answers {asked:?}"
        );
    }
    Ok(())
}

fn wrong_overlay() -> Result<()> {
    let ours = provisioned()?;
    let host = ours.machine("etcd-1")?;
    ours.server
        .fault("image/overlay.tar.gz", Fault::FlipByte(1000));
    let installation = ours.try_install(&host)?;
    ensure!(
        matches!(installation.outcome, Outcome::PoweredOff(_)),
        "{:?}\n{}",
        installation.outcome,
        installation.log()
    );
    let log = installation.log();
    ensure!(
        log.contains("but this kickstart expects") && log.contains("INSTALLATION FAILED"),
        "{log}"
    );
    ensure!(
        !host.path("/usr/local/bin/etcd").exists(),
        "a part of a wrong overlay was unpacked"
    );
    ensure!(!host.path("/etc/firstboot/installed").exists());
    ensure!(host.read("/etc/issue")?.contains("not an etcd node"));
    Ok(())
}

fn altering_script() -> Result<()> {
    let ours = provisioned()?;
    let own = tempfile::tempdir()?;
    fs::write(
        own.path().join("own.sh"),
        "echo '# mine' >> /etc/sysctl.d/95-etcd.conf\n",
    )?;
    let text = fs::read_to_string(recipe("demo"))? + "\n[files]\npost = [\"own.sh\"]\n";
    let path = own.path().join("own.toml");
    fs::write(&path, text)?;
    ours.build(&path)?;
    let host = ours.machine("etcd-1")?;
    let installation = ours.try_install(&host)?;
    let log = installation.log();
    ensure!(
        matches!(installation.outcome, Outcome::PoweredOff(_)),
        "{:?}\n{log}",
        installation.outcome
    );
    ensure!(
        log.contains("INSTALLATION FAILED")
            && log.contains("/etc/sysctl.d/95-etcd.conf was altered"),
        "{log}"
    );
    ensure!(!host.path("/etc/firstboot/installed").exists());
    Ok(())
}

fn addresses() -> Result<()> {
    let ours = provisioned()?;
    let fixed = tempfile::tempdir()?;
    let text = fs::read_to_string(recipe("demo"))?.replacen(
        "[network]",
        "[network]\nmode = \"static\"",
        1,
    );
    let path = fixed.path().join("static.toml");
    fs::write(&path, text)?;
    ours.build(&path)?;
    // etcd-1 has no address. A DHCP server has already assigned the address of etcd-2.
    for (name, address, is_assigned) in [
        ("etcd-1", "10.101.15.101", false),
        ("etcd-2", "10.101.15.102", true),
    ] {
        let mut host = ours.node(name)?;
        let file = "/etc/sysconfig/network-scripts/ifcfg-eth0";
        if is_assigned {
            fs::create_dir_all(host.path("/etc/sysconfig/network-scripts"))?;
            host.write(file, "DEVICE=eth0\nBOOTPROTO=dhcp\nUUID=\"kept\"\n", 0o644)?;
        } else {
            let mut ip = host.link().namespace.command("ip");
            process::run(ip.args(["address", "flush", "dev", "eth0"]))?.ok()?;
        }
        host.boot()?;
        host.wait_for(&ACCEPTED.replace("etcd-1", name), Duration::from_secs(180))?;
        let shown = host.check(&["ip", "-4", "-o", "address", "show", "dev", "eth0"])?;
        ensure!(shown.contains(&format!("{address}/24")), "{shown}");
        let ifcfg = host.read(file)?;
        ensure!(
            ifcfg.contains(&format!("IPADDR={address}"))
                && ifcfg.contains("GATEWAY=10.101.15.1")
                && ifcfg.contains("UUID=kept") == is_assigned
                && !ifcfg.contains("dhcp"),
            "{ifcfg}"
        );
    }
    Ok(())
}
