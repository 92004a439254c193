//! Tests a node that gets its document from its cloud's metadata service, and the ways in which the
//! service can fail.

use std::fs;
use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cloud::{Cloud, MetadataService};
use tests::cluster::Provisioning;
use tests::harness::trial;
use tests::host::Host;

use crate::lifecycle::{ACCEPTED, REQUIREMENTS};
use crate::refusal::{provisioned, refused, replace_document};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_node_on_openstack_waits_for_a_port_that_listens_for_50_s",
            REQUIREMENTS,
            openstack,
        ),
        trial(
            "a_node_on_ec2_sends_a_token_with_each_query",
            REQUIREMENTS,
            ec2,
        ),
        trial("a_node_on_gce_rejects_other_servers", REQUIREMENTS, gce),
        trial(
            "a_node_on_azure_is_named_by_the_kernels_command_line",
            REQUIREMENTS,
            azure,
        ),
        trial(
            "two_sources_that_disagree_are_refused",
            REQUIREMENTS,
            disagreement,
        ),
    ]
}

/// Replaces files that firstboot.service sees in /sys or /proc, because the test machine does not
/// have the firmware of a cloud.
fn set_platform(host: &Host, over: &str, files: &[(&str, &str)]) -> Result<()> {
    for (path, content) in files {
        host.write(&format!("/opt/shown/{path}"), format!("{content}\n"), 0o444)?;
    }
    let unit = format!("[Service]\nBindReadOnlyPaths=/opt/shown{over}:{over}\n");
    host.write(
        "/etc/systemd/system/firstboot.service.d/shown.conf",
        unit,
        0o644,
    )
}

fn has_firmware(host: &Host, field: &str, value: &str) -> Result<()> {
    set_platform(
        host,
        "/sys/class",
        &[(&format!("sys/class/dmi/id/{field}"), value)],
    )
}

/// Makes a machine without a seed.
fn machine(ours: &Provisioning) -> Result<Host> {
    let mut host = ours.machine("etcd-1")?;
    ours.install(&mut host)?;
    Ok(host)
}

fn user_data(ours: &Provisioning, node: &str) -> Result<Vec<u8>> {
    let path = ours.out().join("nodes").join(node).join("user-data");
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs `explain --sources --json`. Returns a source's outcome, its description, and the location
/// that firstboot uses.
fn explained(host: &Host, source: &str) -> Result<(String, String, Option<String>)> {
    let json: serde_json::Value =
        serde_json::from_str(&host.check(&["firstboot", "explain", "--sources", "--json"])?)?;
    let rows = json["sources"]
        .as_array()
        .context("the output lists no sources")?;
    let row = rows
        .iter()
        .find(|row| row["source"] == source)
        .with_context(|| format!("no {source}: {json}"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok((
        text(&row["outcome"]),
        text(&row["saw"]),
        json["taken"].as_str().map(str::to_owned),
    ))
}

fn openstack() -> Result<()> {
    let ours = provisioned()?;
    let service = MetadataService::start(
        &ours.network,
        Cloud::Openstack,
        Some(user_data(&ours, "etcd-1")?),
    )?;
    // The service first answers 503, because Nova fails, and then 404, because Neutron does not
    // have the port yet.
    service.state().failures = vec![404, 503];
    let mut host = machine(&ours)?;
    has_firmware(&host, "product_name", "OpenStack Nova")?;
    ours.network.unplug("etcd-1")?;
    host.boot()?;
    host.wait_for(
        "journalctl -u firstboot | grep -q 'waiting for the user data of openstack'",
        Duration::from_secs(90),
    )?;
    let (outcome, saw, taken) = explained(&host, "openstack")?;
    ensure!(
        outcome == "asking" && saw.contains("waiting") && taken.is_none(),
        "{outcome} {saw} {taken:?}"
    );
    sleep(Duration::from_secs(50));
    ensure!(service.requests().is_empty() && !host.sh(ACCEPTED)?.success());
    ours.network.replug("etcd-1")?;
    host.wait_for(ACCEPTED, Duration::from_secs(40))?;
    let restarts = host
        .journal("firstboot")?
        .matches("Scheduled restart")
        .count();
    ensure!(restarts == 0, "firstboot gave up {restarts} times");
    let requests = service.requests();
    let meta = "GET /openstack/latest/meta_data.json";
    ensure!(
        requests == [meta, meta, meta, "GET /openstack/latest/user_data"],
        "{requests:?}"
    );

    let (outcome, saw, taken) = explained(&host, "openstack")?;
    ensure!(
        outcome == "taken" && taken.as_deref() == Some("the user data of openstack"),
        "{outcome} {saw} {taken:?}"
    );
    let (outcome, saw, _) = explained(&host, "ec2")?;
    ensure!(
        outcome == "not-asked" && saw.contains("product_name is OpenStack Nova"),
        "{outcome} {saw}"
    );
    let text = host.check(&["firstboot", "explain", "--sources"])?;
    ensure!(
        text.ends_with("firstboot uses the node document from the user data of openstack.\n"),
        "{text}"
    );
    Ok(())
}

fn ec2() -> Result<()> {
    let ours = provisioned()?;
    let service =
        MetadataService::start(&ours.network, Cloud::Ec2, Some(user_data(&ours, "etcd-1")?))?;
    let mut host = machine(&ours)?;
    has_firmware(&host, "sys_vendor", "Amazon EC2")?;
    service.state().is_off = true;
    refused(&mut host, "switched off for this instance")?;
    ensure!(
        service.requests() == ["PUT /latest/api/token"],
        "{:?}",
        service.requests()
    );
    service.state().is_off = false;
    // Each token expires immediately. firstboot renews its token once, and then fails.
    service.state().token_life = Some(Duration::ZERO);
    refused(&mut host, "answered 401")?;
    let [new_token, instance, data] = [
        "PUT /latest/api/token",
        "GET /2021-03-23/meta-data/instance-id",
        "GET /2021-03-23/user-data",
    ];
    let asked = service.requests();
    ensure!(
        asked[1..] == [new_token, instance, new_token, instance],
        "{asked:?}"
    );
    service.state().token_life = None;
    host.boot()?;
    // Wait until the node has stored its own copy of the document, because the node is then set up.
    host.wait_for(
        "test -s /var/lib/firstboot/node.json",
        Duration::from_secs(60),
    )?;
    let asked = service.requests();
    ensure!(asked[5..] == [new_token, instance, data], "{asked:?}");

    // A node that is set up no longer needs the service.
    host.cut_power()?;
    host.boot()?;
    host.wait_for(
        "test -e /run/firstboot/sources.json",
        Duration::from_secs(30),
    )?;
    let (outcome, saw, taken) = explained(&host, "ec2")?;
    ensure!(
        outcome == "not-asked" && saw.contains("already has a document"),
        "{outcome} {saw}"
    );
    ensure!(
        taken.as_deref() == Some("/var/lib/firstboot/node.json"),
        "{taken:?}"
    );
    ensure!(
        service.requests().len() == asked.len(),
        "{:?}",
        service.requests()
    );
    Ok(())
}

fn gce() -> Result<()> {
    let ours = provisioned()?;
    // The user data is compressed, as some tools send it.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&user_data(&ours, "etcd-1")?)?;
    let service = MetadataService::start(&ours.network, Cloud::Gce, Some(gzip.finish()?))?;
    let mut host = machine(&ours)?;
    has_firmware(&host, "product_name", "Google Compute Engine")?;
    service.state().is_stranger = true;
    refused(&mut host, "not GCE's metadata server")?;
    service.state().is_stranger = false;
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(30))
}

fn azure() -> Result<()> {
    let ours = provisioned()?;
    let service = MetadataService::start(
        &ours.network,
        Cloud::Azure,
        Some(user_data(&ours, "etcd-1")?),
    )?;
    service.state().failures = vec![429, 410, 404];
    let mut host = machine(&ours)?;
    // Without the cloud's firmware and without a setting, firstboot queries no service.
    host.boot()?;
    host.wait_for(
        "journalctl -u firstboot | grep -q 'no node document for this machine'",
        Duration::from_secs(30),
    )?;
    let (outcome, saw, _) = explained(&host, "azure")?;
    ensure!(
        outcome == "not-asked" && saw.contains("names azure"),
        "{outcome} {saw}"
    );
    ensure!(service.requests().is_empty(), "{:?}", service.requests());
    host.cut_power()?;
    set_platform(
        &host,
        "/proc/cmdline",
        &[("proc/cmdline", "ro quiet firstboot.platform=azure")],
    )?;
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(30))
}

fn disagreement() -> Result<()> {
    let ours = provisioned()?;
    let service = MetadataService::start(
        &ours.network,
        Cloud::Openstack,
        Some(user_data(&ours, "etcd-2")?),
    )?;
    let mut host = machine(&ours)?;
    has_firmware(&host, "product_name", "OpenStack Nova")?;
    replace_document(&host, &user_data(&ours, "etcd-1")?)?;
    refused(
        &mut host,
        "two sources disagree: the user data of openstack and /var/lib/cloud/seed/nocloud/user-data are different documents",
    )?;
    service.state().user_data = Some(user_data(&ours, "etcd-1")?);
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(30))?;
    for (source, expected) in [("nocloud", "taken"), ("openstack", "agrees")] {
        let (outcome, saw, _) = explained(&host, source)?;
        ensure!(outcome == expected, "{source}: {outcome} {saw}");
    }
    Ok(())
}
