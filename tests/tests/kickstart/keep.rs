//! Tests `data = "keep"`. `%pre` keeps etcd's volume only if there is no doubt that the volume
//! belongs to the node, and continues an interrupted installation from any point.

mod machine;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::requirement::Requirement;

pub(crate) use self::machine::kickstart;
use self::machine::{Machine, ROOT, Rendered, TRUST, VOLUME};

const REQUIREMENTS: &[Requirement] = &[];

/// The lines that `%pre` writes for the disk if it keeps etcd's volume.
const KEPT: [&str; 3] = [
    "clearpart --none",
    "part /boot --fstype=xfs --label=boot --onpart=sda1",
    "part / --fstype=xfs --label=root --onpart=sda2",
];

/// The fields of a restore order's event in the journal.
const TOLD: &str =
    r#""event":"told","nonce":"1","task":"new","without":[],"source":null,"until":9"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_volume_of_this_node_is_kept", REQUIREMENTS, kept),
        trial(
            "a_doubtful_volume_is_left_unchanged",
            REQUIREMENTS,
            doubtful,
        ),
        trial(
            "a_volume_on_another_disk_than_the_recipes_is_refused",
            REQUIREMENTS,
            other_disk,
        ),
        trial(
            "a_partition_that_is_too_small_for_the_recipe_is_refused",
            REQUIREMENTS,
            too_small,
        ),
        trial(
            "a_volume_whose_data_has_another_owner_is_refused",
            REQUIREMENTS,
            other_owner,
        ),
        trial(
            "an_interrupted_installation_that_keeps_the_volume_goes_on",
            REQUIREMENTS,
            interrupted,
        ),
        trial(
            "the_journal_is_complete_on_the_volume_or_on_the_new_root",
            REQUIREMENTS,
            restored,
        ),
    ]
}

/// Tests a node that is installed again, and machines that have nothing to keep.
fn kept() -> Result<()> {
    let rendered = Rendered::new()?;
    let machine = rendered.node("kept")?;
    machine.keeps(&KEPT)?;
    let copy = |name: &str| machine.read(VOLUME, &format!("firstboot-kept/{name}"));
    ensure!(copy("journal")? == machine.read(ROOT, "var/lib/firstboot/journal")?);
    ensure!(copy("keys.pem")? == "keys\n", "the node lost its keys");
    ensure!(copy("layout")? == "boot 2048 2097152\nroot 2099200 16777216\n");
    ensure!(machine.read("..", "run/etcd-image/keep")? == "/dev/sda3\n");

    // A journal with a torn last line counts as complete.
    let machine = rendered.node("torn")?;
    machine.append_to_journal("0123456789abcdef {\"at\":")?;
    machine.keeps(&KEPT)?;

    // The node left its cluster and joined again while it had a restore order.
    let machine = rendered.node("rejoined")?;
    machine.append_event(TOLD)?;
    machine.append_event(r#""event":"rejoin","member":1"#)?;
    machine.keeps(&KEPT)?;

    on_upgraded_hardware(&rendered)?;

    // This machine has UEFI, and an EFI system partition.
    let machine = rendered.node("uefi")?;
    machine.firmware_is_uefi()?;
    machine.partition(
        4,
        20_000_000,
        409_600,
        &[("LABEL", "ESP"), ("TYPE", "vfat")],
    )?;
    let efi = "part /boot/efi --fstype=efi --size=200 --label=ESP --onpart=sda4";
    machine.keeps(&[KEPT[0], efi, KEPT[1], KEPT[2]])?;
    ensure!(
        machine
            .read(VOLUME, "firstboot-kept/layout")?
            .ends_with("efi 20000000 409600\n")
    );

    // The volume has never been used.
    let machine = rendered.node("unused")?;
    machine.remove(VOLUME, "firstboot-life")?;
    machine.remove(VOLUME, "data")?;
    machine.remove(ROOT, "var/lib/firstboot/journal")?;
    machine.keeps(&KEPT)?;
    ensure!(machine.read(VOLUME, "firstboot-kept/journal").is_err());

    // The disk is new.
    let machine = rendered.machine("new")?;
    let lines = machine.run(None)?.map_err(anyhow::Error::msg)?;
    ensure!(
        lines.contains("clearpart --all --drives=sda --initlabel")
            && lines.contains("part /var/lib/etcd --fstype=xfs --size=4096 --grow --label=etcd"),
        "{lines}"
    );
    ensure!(machine.read("..", "run/etcd-image/keep").is_err());
    Ok(())
}

/// Tests a virtual machine whose hardware upgrade has changed the byte order of its UUID.
fn on_upgraded_hardware(rendered: &Rendered) -> Result<()> {
    let machine = rendered.node("upgraded")?;
    machine.append_event(r#""event":"accepted","name":"etcd-1","machine":{"macs":[],"serial":null,"uuid":"42112233-4455-6677-8899-aabbccddeeff"}"#)?;
    machine.uuid("33221142-5544-7766-8899-AABBCCDDEEFF")?;
    machine.keeps(&KEPT)
}

/// A function that changes a machine so that `%pre` must not keep the machine's volume.
type Change = fn(&Machine) -> Result<()>;

/// Returns the id of each refusal that depends on the partitions, with a change that causes the
/// refusal.
fn doubts() -> Vec<(&'static str, Change)> {
    vec![
        ("keep-two-volumes", |machine| {
            machine.partition(4, 30_000_000, 2048, &[("LABEL", "etcd"), ("TYPE", "xfs")])
        }),
        ("keep-layout", |machine| {
            machine.field(VOLUME, "TYPE", "ext4")
        }),
        ("keep-layout", |machine| {
            machine.field(ROOT, "LABEL", "other")
        }),
        ("keep-layout", |machine| {
            machine.partition(4, 30_000_000, 2048, &[("LABEL", "root"), ("TYPE", "xfs")])
        }),
        ("keep-layout", Machine::firmware_is_uefi),
        ("keep-layout", |machine| {
            machine.partition(4, 30_000_000, 2048, &[("LABEL", "ESP"), ("TYPE", "vfat")])
        }),
        ("keep-no-volume", |machine| {
            machine.field(VOLUME, "LABEL", "data")
        }),
        ("keep-volume", |machine| machine.unmountable(VOLUME)),
        ("keep-volume", |machine| machine.damaged(VOLUME)),
        ("keep-root", |machine| machine.unmountable(ROOT)),
    ]
}

/// Returns the id of each refusal that depends on the contents of the file systems, with a change
/// that causes the refusal.
fn doubtful_contents() -> Vec<(&'static str, Change)> {
    vec![
        ("keep-journal", |machine| {
            machine.remove(ROOT, "var/lib/firstboot/journal")
        }),
        ("keep-journal", |machine| {
            machine.append_to_journal("0123456789abcdef {}\n")?;
            machine.append_event(r#""event":"exchanged""#)
        }),
        ("keep-other-cluster", |machine| {
            machine.write(ROOT, "etc/firstboot/trust.pub", "another key\n")
        }),
        ("keep-other-cluster", |machine| {
            machine.remove(ROOT, "etc/firstboot/trust.pub")
        }),
        ("keep-other-node", |machine| {
            machine.append_event(r#""event":"accepted","name":"etcd-9","machine":{"macs":[],"serial":null,"uuid":null}"#)
        }),
        ("keep-other-machine", |machine| {
            machine.card("52:54:00:00:00:99")
        }),
        ("keep-other-machine", |machine| {
            machine.uuid("00000000-0000-0000-0000-000000000001")
        }),
        ("keep-other-volume", |machine| {
            machine.write(
                VOLUME,
                "firstboot-life",
                "00000000000000000000000000000002\n",
            )
        }),
        ("keep-other-volume", |machine| {
            machine.remove(VOLUME, "firstboot-life")
        }),
        ("keep-restore", |machine| machine.append_event(TOLD)),
    ]
}

fn doubtful() -> Result<()> {
    let rendered = Rendered::new()?;
    let all = doubts().into_iter().chain(doubtful_contents());
    for (number, (id, change)) in all.enumerate() {
        let machine = rendered.node(&format!("doubt-{number}"))?;
        change(&machine)?;
        machine
            .refuses(id)
            .with_context(|| format!("case {number}"))?;
    }
    let machine = rendered.node("damaged")?;
    machine.damaged(VOLUME)?;
    let why = machine.refuses("keep-volume")?;
    let expected = "is damaged: sb_fdblocks 12, counted 13. The data";
    ensure!(why.contains(expected), "{why}");
    // The disk is not empty, or might not be empty.
    for mark in ["TYPE", "PTTYPE", "ambivalent", "unreadable"] {
        let machine = rendered.machine(mark)?;
        machine.field("sda", mark, "x")?;
        machine
            .refuses("keep-no-volume")
            .with_context(|| mark.to_owned())?;
    }
    // The volume contains a copy of another journal.
    let machine = rendered.node("two-journals")?;
    machine.keeps(&KEPT)?;
    machine.rewrite_journal()?;
    machine.refuses("keep-two-journals")?;
    // The old root has lost its journal, and the copy on the volume might be older.
    let machine = rendered.node("lost-journal")?;
    machine.keeps(&KEPT)?;
    machine.remove(ROOT, "var/lib/firstboot/journal")?;
    machine.refuses("keep-root")?;
    machine.unmountable(ROOT)?;
    machine.refuses("keep-root").map(drop)
}

fn other_disk() -> Result<()> {
    let rendered = Rendered::with("disk = \"sdb\"")?;
    let why = rendered.node("other-disk")?.refuses("keep-other-disk")?;
    ensure!(
        why.contains("the volume of etcd is sda3, but the recipe requires sdb"),
        "{why}"
    );
    let rendered = Rendered::with("disk = \"sda\"")?;
    rendered.node("its-disk")?.keeps(&KEPT)
}

/// anaconda does not resize the partitions that `--onpart` names. Each partition of the machine
/// exactly fits the demo's recipe.
fn too_small() -> Result<()> {
    let rendered = Rendered::new()?;
    for (number, key, wanted) in [(1, "boot", 1024), (2, "root", 8192), (3, "etcd", 4096)] {
        let machine = rendered.node(key)?;
        machine.resize(number, (wanted - 9) * 2048)?;
        let why = machine.refuses("keep-size")?;
        let has = wanted - 9;
        for words in [
            format!("sda{number} has {has} MiB, but the recipe requires {wanted} MiB for {key}"),
            format!("Set {key} in [install.partitions] to at most {has} MiB"),
        ] {
            ensure!(why.contains(&words), "{words}: {why}");
        }
        machine.resize(number, (wanted - 8) * 2048)?;
        machine.keeps(&KEPT).context("an aligned partition")?;
    }
    // The recipe requires a larger partition for etcd than the machine has.
    let rendered = Rendered::with("partitions = { etcd = \"16 GiB\" }")?;
    let why = rendered.node("grown")?.refuses("keep-size")?;
    ensure!(
        why.contains("sda3 has 4096 MiB, but the recipe requires 16384 MiB for etcd"),
        "{why}"
    );
    let rendered = Rendered::with("partitions = { boot = \"512 MiB\", root = \"6 GiB\" }")?;
    rendered.node("shrunk")?.keeps(&KEPT)
}

/// `%post`, and not `%pre`, checks the owner of the data. `%pre` runs in the installer, which has
/// no command that shows a file's owner.
fn other_owner() -> Result<()> {
    let rendered = Rendered::new()?;
    let machine = rendered.node("owner")?;
    machine.keeps(&KEPT)?;
    let before = machine.disk_content()?;
    let data = fs::metadata(machine.path(VOLUME, "files/data"))?;
    let ids = format!("{}:{}", data.uid(), data.gid());
    let why = machine.mount_kept("450:451")?.err().unwrap_or_default();
    ensure!(
        why.contains(&format!(
            "the data belongs to {ids}, and etcd has the ids 450:451"
        )) && why.contains("[keep-owner]"),
        "{why}"
    );
    machine.mount_kept(&ids)?.map_err(anyhow::Error::msg)?;
    ensure!(machine.disk_content()? == before, "the disk was changed");
    // The next installation keeps the volume again.
    machine.keeps(&KEPT)
}

/// The power fails at each change that `%pre` makes, and in each state in which anaconda and
/// `%post` can leave the disk.
fn interrupted() -> Result<()> {
    let rendered = Rendered::new()?;
    let mut cut = 1;
    loop {
        let machine = rendered.node(&format!("cut-{cut}"))?;
        let journal = machine.read(ROOT, "var/lib/firstboot/journal")?;
        let ended = machine.run(Some(cut))?;
        if ended.is_ok() {
            break;
        }
        // The old system might boot before the next installation, and write to its journal.
        if cut % 2 == 0 {
            machine.append_event(r#""event":"exchanged""#)?;
        }
        machine.keeps(&KEPT)?;
        let copy = machine.read(VOLUME, "firstboot-kept/journal")?;
        ensure!(
            copy.starts_with(&journal)
                && copy == machine.read(ROOT, "var/lib/firstboot/journal")?,
            "cut {cut}: {copy}"
        );
        cut += 1;
    }
    ensure!(cut > 10, "only {cut} changes");

    let machine = rendered.node("formatting")?;
    machine.keeps(&KEPT)?;
    let journal = machine.read(VOLUME, "firstboot-kept/journal")?;
    // anaconda has erased the old file systems, and has not made new file systems yet.
    for part in ["sda1", ROOT] {
        machine.unmountable(part)?;
        for field in ["LABEL", "TYPE", "UUID"] {
            machine.field(part, field, "")?;
        }
    }
    machine.keeps(&KEPT)?;
    // The new root has no journal yet.
    machine.field(ROOT, "UUID", "new")?;
    machine.field(ROOT, "LABEL", "root")?;
    fs::create_dir_all(machine.path(ROOT, "files"))?;
    machine.keeps(&KEPT)?;
    ensure!(machine.read(VOLUME, "firstboot-kept/journal")? == journal);
    // `%post` has restored the journal, and might have removed a part of the copy.
    machine.write(ROOT, "var/lib/firstboot/journal", &journal)?;
    machine.write(ROOT, "etc/firstboot/trust.pub", TRUST)?;
    machine.keeps(&KEPT)?;
    machine.field("sda1", "LABEL", "boot")?;
    machine.remove(VOLUME, "firstboot-kept/journal")?;
    machine.keeps(&KEPT)?;
    ensure!(machine.read(VOLUME, "firstboot-kept/journal")? == journal);
    Ok(())
}

/// The power fails at each change with which `%post` moves the journal from the volume to the new
/// root.
fn restored() -> Result<()> {
    const FILES: [&str; 3] = ["keys.pem", "node.json", "journal"];
    let rendered = Rendered::new()?;
    let mut cut = 1;
    loop {
        let folder = rendered.folder(&format!("restore-{cut}"))?;
        let (copy, state) = (folder.join("volume/firstboot-kept"), folder.join("state"));
        fs::create_dir_all(&copy)?;
        fs::create_dir_all(&state)?;
        for file in FILES {
            fs::write(copy.join(file), format!("the content of {file}\n"))?;
        }
        let is_whole = |folder: &Path| {
            FILES.iter().all(|file| {
                fs::read_to_string(folder.join(file))
                    .is_ok_and(|text| text == format!("the content of {file}\n"))
            })
        };
        let done = rendered.restore(&folder, cut)?;
        // `%pre` uses the journal on the root file system if there is one, and otherwise the copy
        // of the journal on etcd's volume.
        let used = if state.join("journal").exists() {
            &state
        } else {
            &copy
        };
        ensure!(is_whole(used), "cut {cut}");
        ensure!(!done || used == &state && !copy.exists(), "cut {cut}");
        if done {
            break;
        }
        cut += 1;
    }
    ensure!(cut > 7, "only {cut} changes");
    Ok(())
}
