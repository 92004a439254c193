//! Models the storage commands other than `part`: the `execute` functions in kickstart.py, in the
//! order of doKickstartStorage. For thin pools and snapshots, which need LVM's own programs, this
//! module models only the checks.

use std::collections::BTreeMap;

use super::super::kickstart::Command;
use super::commands::{format, part_size, words};
use super::data::Data;
use super::types::{Plan, Volume};

/// A partition or device from which a volume can be made.
#[derive(Debug)]
struct Member {
    format: String,
    /// The disk of the partition, or the device itself.
    shown: String,
    mib: u64,
}

/// The devices that have been made so far.
struct Devices<'a> {
    plan: &'a mut Plan,
    /// The partitions and devices by their names in the kickstart, such as `pv.01`.
    members: BTreeMap<String, Member>,
    /// The free space of each volume group, in MiB.
    free: BTreeMap<String, u64>,
}

/// Makes the devices from the partitions. `first` is the disk of partitions that do not name a
/// disk, and `free` is the space that each disk has left.
pub(super) fn make(
    data: &Data,
    first: &str,
    free: &BTreeMap<String, u64>,
    plan: &mut Plan,
) -> Result<(), String> {
    let mut devices = Devices {
        plan,
        members: BTreeMap::new(),
        free: BTreeMap::new(),
    };
    for part in &data.parts {
        devices.part(part, first, free)?;
    }
    let of = |name: &'static str| {
        data.volumes
            .iter()
            .filter(move |command| command.name == name)
    };
    for command in of("raid") {
        devices.raid(command)?;
    }
    for command in of("volgroup") {
        devices.volume_group(command)?;
    }
    for command in of("logvol") {
        devices.logical_volume(command)?;
    }
    for command in of("btrfs") {
        devices.btrfs(command)?;
    }
    for command in of("mount") {
        mount(command, devices.plan)?;
    }
    for command in of("snapshot") {
        devices.snapshot(command)?;
    }
    plan.volumes.sort();
    Ok(())
}

impl Devices<'_> {
    /// Models PartitionData.execute, for names that begin with `pv.`, `raid.` or `btrfs.`. blivet
    /// divides the free space among the partitions that grow; here, each of these partitions gets
    /// all the free space.
    fn part(
        &mut self,
        command: &Command,
        first: &str,
        free: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let name = words(command).first().copied().unwrap_or_default();
        if !["pv.", "raid.", "btrfs."]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            return Ok(());
        }
        let disk = command.option("--ondisk").unwrap_or(first);
        let grown = free.get(disk).filter(|_| command.has("--grow"));
        let member = Member {
            format: format(command, name)?,
            shown: disk.to_owned(),
            mib: part_size(command) + grown.unwrap_or(&0),
        };
        match self.members.insert(name.to_owned(), member) {
            Some(_) => Err(format!("partition \"{name}\" is defined multiple times.")),
            None => Ok(()),
        }
    }

    /// Returns the members of an array, a volume group or a Btrfs volume, and their sizes in MiB.
    fn members(&self, command: &Command, format: &str) -> Result<(Vec<String>, Vec<u64>), String> {
        let mut found = (Vec::new(), Vec::new());
        for name in words(command).iter().skip(1) {
            let member = self
                .members
                .get(*name)
                .ok_or_else(|| format!("Tried to use undefined partition \"{name}\""))?;
            if member.format != format {
                return Err(format!("\"{name}\" has a format of \"{}\"", member.format));
            }
            found.0.push(member.shown.clone());
            found.1.push(member.mib);
        }
        found.0.sort();
        Ok(found)
    }

    fn is_made(&self, name: &str) -> bool {
        self.plan.volumes.iter().any(|volume| volume.name == name)
    }

    fn push(&mut self, volume: Volume) {
        self.plan.volumes.push(volume);
    }

    /// Models RaidData.execute, and min_members in blivet's devicelibs/raid.py.
    fn raid(&mut self, command: &Command) -> Result<(), String> {
        let mount = words(command).first().copied().unwrap_or_default();
        let name = command.option("--device").unwrap_or_default();
        existing(command, name)?;
        place(mount, &["swap", "pv.", "btrfs."])?;
        let (on, sizes) = self.members(command, "mdmember")?;
        if self.is_made(name) {
            return Err(format!(
                "The RAID volume name \"{name}\" is already in use."
            ));
        }
        let level = command.option("--level").unwrap_or_default().to_uppercase();
        let (needed, lost) = match level.trim_start_matches("RAID") {
            "0" => (2, 0),
            "1" => (2, on.len().saturating_sub(1)),
            "4" | "5" => (3, 1),
            "6" => (4, 2),
            _ => (4, on.len() / 2),
        };
        if on.len() < needed {
            return Err(format!("A {level} set requires at least {needed} members"));
        }
        let least = sizes.iter().copied().min().unwrap_or_default();
        let data_members = u64::try_from(on.len() - lost).unwrap_or_default();
        let kind = format(command, mount)?;
        if mount.starts_with("pv.") || mount.starts_with("btrfs.") {
            let member = Member {
                format: kind.clone(),
                shown: name.to_owned(),
                mib: (least.saturating_sub(8)) * data_members,
            };
            self.members.insert(mount.to_owned(), member);
        }
        let volume = mounted(command, name.to_owned(), "mdarray", kind, mount, on);
        self.push(volume);
        Ok(())
    }

    /// Models VolGroupData.execute. Each physical volume provides its size minus one MiB, rounded
    /// down to whole extents of 4 MiB.
    fn volume_group(&mut self, command: &Command) -> Result<(), String> {
        let name = words(command).first().copied().unwrap_or_default();
        existing(command, name)?;
        let (on, sizes) = self.members(command, "lvmpv")?;
        let extent = command
            .option("--pesize")
            .and_then(|text| text.parse::<u64>().ok());
        if extent.is_some_and(|kib| kib != 0 && (!kib.is_power_of_two() || kib > 16 << 20)) {
            return Err("Volume group given physical extent size must be a power of two".into());
        }
        if self.is_made(name) {
            return Err(format!(
                "The volume group name \"{name}\" is already in use."
            ));
        }
        let free = sizes.iter().map(|mib| mib.saturating_sub(1) / 4 * 4).sum();
        self.free.insert(name.to_owned(), free);
        self.push(plain(name.to_owned(), "lvmvg", on));
        Ok(())
    }

    /// Models LogVolData.execute, and the check in blivet's devices/lvm.py that the group has room
    /// for the volume.
    fn logical_volume(&mut self, command: &Command) -> Result<(), String> {
        let mount = words(command).first().copied().unwrap_or_default();
        let option = |name: &str| command.option(name).unwrap_or_default().to_owned();
        let (group, short) = (option("--vgname"), option("--name"));
        let (thin_pool, thin) = (command.has("--thinpool"), command.has("--thin"));
        if !thin_pool {
            place(mount, &["swap"])?;
        }
        let Some(free) = self.free.get_mut(&group) else {
            return Err(format!("No volume group exists with the name \"{group}\"."));
        };
        let name = format!("{group}-{short}");
        let pool = format!("{group}-{}", option("--poolname"));
        if thin && !self.plan.volumes.iter().any(|volume| volume.name == pool) {
            return Err(format!("No thin pool exists with the name \"{pool}\"."));
        }
        existing(command, &name)?;
        if self.plan.volumes.iter().any(|volume| volume.name == name) {
            return Err(format!("Logical volume name \"{short}\" is already in use"));
        }
        if !thin {
            *free = free
                .checked_sub(number(command, "--size"))
                .ok_or("new lv is too large to fit in free space")?;
        }
        let volume = match (thin_pool, thin) {
            (true, _) => plain(name, "lvmthinpool", vec![group]),
            (_, true) => mounted(
                command,
                name,
                "lvmthinlv",
                format(command, mount)?,
                mount,
                vec![pool],
            ),
            _ => mounted(
                command,
                name,
                "lvmlv",
                format(command, mount)?,
                mount,
                vec![group],
            ),
        };
        self.push(volume);
        Ok(())
    }

    /// Models BTRFSData.execute. A subvolume names its parent with LABEL=.
    fn btrfs(&mut self, command: &Command) -> Result<(), String> {
        let mount = words(command).first().copied().unwrap_or_default();
        let label = command.option("--label").map(str::to_owned);
        let name = command.option("--name").map(str::to_owned);
        let place_of = (mount != "none").then(|| mount.to_owned());
        if let Some(parent) = words(command)
            .iter()
            .find_map(|word| word.strip_prefix("LABEL="))
        {
            if !self.is_made(parent) {
                return Err(format!("Tried to use undefined partition \"{parent}\""));
            }
            let name = name.unwrap_or_default();
            self.push(Volume {
                format: Some("btrfs".into()),
                mount: place_of,
                options: Some(format!("subvol={name}")),
                ..plain(name, "btrfs-subvolume", vec![parent.to_owned()])
            });
            return Ok(());
        }
        let (on, _) = self.members(command, "btrfs")?;
        self.push(Volume {
            format: Some("btrfs".into()),
            mount: place_of,
            label: label.clone(),
            options: Some("defaults".into()),
            ..plain(label.unwrap_or_default(), "btrfs-volume", on)
        });
        Ok(())
    }

    /// Models SnapshotData.setup, for a snapshot that is made after the installation.
    /// SnapshotData.execute runs after `%post`.
    fn snapshot(&self, command: &Command) -> Result<(), String> {
        let origin = words(command).first().copied().unwrap_or_default();
        let name = origin.replace('-', "--").replace('/', "-");
        let thin = |volume: &Volume| volume.name == name && volume.device == "lvmthinlv";
        if command.option("--when") == Some("post-install") && !self.plan.volumes.iter().any(thin) {
            return Err(format!(
                "Snapshot: origin \"{origin}\" is not a valid thin LV device."
            ));
        }
        Ok(())
    }
}

/// Models MountData.execute. Without --reformat, the function fails with an UnboundLocalError on
/// every known device.
fn mount(command: &Command, plan: &Plan) -> Result<(), String> {
    let device = words(command).first().copied().unwrap_or_default();
    let device = device.strip_prefix("/dev/").unwrap_or(device);
    if !plan.labels.iter().any(|(disk, _)| disk == device) {
        return Err(format!("Unknown or invalid device '{device}' specified"));
    }
    if !command
        .arguments
        .iter()
        .any(|word| word.starts_with("--reformat"))
    {
        return Err("UnboundLocalError: local variable 'fmt' referenced before assignment".into());
    }
    // In this model, the device can only be a whole disk.
    Err("Failed to find a suitable stage1 device".into())
}

/// Refuses to reuse an array, a volume group or a logical volume, because the machines have none
/// before the installation.
fn existing(command: &Command, name: &str) -> Result<(), String> {
    if command.has("--useexisting") || command.has("--noformat") {
        return Err(format!(
            "\"{name}\" given in {} command does not exist.",
            command.name
        ));
    }
    Ok(())
}

fn place(mount: &str, others: &[&str]) -> Result<(), String> {
    if mount.starts_with('/') || others.iter().any(|other| mount.starts_with(other)) {
        return Ok(());
    }
    Err(format!(
        "The mount point \"{mount}\" is not valid.  It must start with a /."
    ))
}

fn number(command: &Command, option: &str) -> u64 {
    let text = command.option(option).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// Returns a device without a file system.
pub(super) fn plain(name: String, device: &'static str, on: Vec<String>) -> Volume {
    Volume {
        name,
        device,
        format: None,
        mount: None,
        label: None,
        options: None,
        on,
    }
}

fn mounted(
    command: &Command,
    name: String,
    device: &'static str,
    format: String,
    mount: &str,
    on: Vec<String>,
) -> Volume {
    let is_mounted = mount.starts_with('/');
    let options = command.option("--fsoptions").unwrap_or("defaults");
    Volume {
        format: Some(format),
        mount: is_mounted.then(|| mount.to_owned()),
        label: command.option("--label").map(str::to_owned),
        options: is_mounted.then(|| options.to_owned()),
        ..plain(name, device, on)
    }
}
