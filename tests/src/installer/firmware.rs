//! The boot entries of a machine with UEFI. Each variable of the firmware is a text file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The name that anaconda gives its entry (`productName` without its version).
const PRODUCT: &str = "CentOS";

/// The boot entries of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntries {
    /// The entry that started the installer.
    pub current: u16,
    /// All entries with their names.
    pub entries: Vec<(u16, &'static str)>,
    /// The order in which the firmware tries the entries.
    pub order: Vec<u16>,
    /// Whether efibootmgr fails as if the kernel had no access to the firmware's variables.
    pub unreadable: bool,
}

impl Default for BootEntries {
    /// Returns a machine whose firmware tries the network first.
    fn default() -> Self {
        Self {
            current: 3,
            entries: vec![(1, "UEFI disk"), (3, "UEFI PXEv4")],
            order: vec![3, 1],
            unreadable: false,
        }
    }
}

impl BootEntries {
    /// Writes the variables to the folder `firmware`, which stands for /sys/firmware.
    pub(super) fn lay_out(&self, firmware: &Path) -> Result<()> {
        let folder = variables(firmware);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (number, name) in &self.entries {
            write(&folder.join(format!("Boot{number:04X}")), name)?;
        }
        write(&folder.join("BootOrder"), &joined(&self.order))?;
        if self.unreadable {
            return Ok(());
        }
        write(
            &folder.join("BootCurrent"),
            &format!("{:04X}", self.current),
        )
    }
}

/// Models `EFIGRUB.install` (bootloader.py): removes the entries of earlier installations, and adds
/// an entry that becomes the first in the order (efibootmgr.c, `add_to_order`).
pub(super) fn install_boot_loader(firmware: &Path) -> Result<()> {
    let folder = variables(firmware);
    if !folder.exists() {
        return Ok(());
    }
    let mut order = read_order(firmware)?.unwrap_or_default();
    let entry = |number: u16| folder.join(format!("Boot{number:04X}"));
    for number in order.clone() {
        if fs::read_to_string(entry(number)).is_ok_and(|name| name.trim() == PRODUCT) {
            fs::remove_file(entry(number))?;
            order.retain(|known| *known != number);
        }
    }
    let free = (0..=u16::MAX).find(|number| !entry(*number).exists());
    let free = free.context("the firmware has no free entry")?;
    write(&entry(free), PRODUCT)?;
    order.insert(0, free);
    write(&folder.join("BootOrder"), &joined(&order))
}

/// Returns the boot order, or `None` for a machine with a BIOS.
pub(super) fn read_order(firmware: &Path) -> Result<Option<Vec<u16>>> {
    let path = variables(firmware).join("BootOrder");
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let numbers = text
        .trim()
        .split(',')
        .map(|text| u16::from_str_radix(text, 16));
    let order: Result<Vec<u16>, _> = numbers.collect();
    order
        .map(Some)
        .with_context(|| format!("the boot order is {text}"))
}

fn variables(firmware: &Path) -> PathBuf {
    firmware.join("efi/variables-of-the-bed")
}

fn joined(order: &[u16]) -> String {
    let texts: Vec<String> = order.iter().map(|number| format!("{number:04X}")).collect();
    texts.join(",")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))
}
