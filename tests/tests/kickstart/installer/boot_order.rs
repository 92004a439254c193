//! Tests the firmware's boot order after an installation.

use anyhow::{Result, ensure};
use tests::installer::{BootEntries, Hardware};

use super::bed::Bed;

/// The kernel arguments of an installation by `builder serve`. No server answers the reports.
const SERVED: &str = "initrd=initrd.img etcd-image.report=http://10.101.15.1:1/report?node=etcd-1";
const UNCHANGED: &str = "the boot order is unchanged";

/// The kernel command line, the boot entries, the order after the installation, and a text that the
/// log contains.
type OrderCase = (&'static str, BootEntries, &'static [u16], &'static str);

/// anaconda adds the entry 0000, and puts this entry first.
fn cases() -> Vec<OrderCase> {
    let usual = BootEntries::default;
    let named = "BootOrder 0003,0000,0001";
    let stale = BootEntries {
        order: vec![3, 7, 1],
        ..usual()
    };
    // anaconda removes the entry of the earlier installation, and gives the number of that entry to
    // the new entry.
    let installed_before = BootEntries {
        entries: vec![(0, "CentOS"), (1, "UEFI disk"), (3, "UEFI PXEv4")],
        order: vec![3, 0, 1],
        ..usual()
    };
    let not_listed = BootEntries {
        current: 9,
        ..usual()
    };
    let own = BootEntries {
        current: 0,
        ..usual()
    };
    let unreadable = BootEntries {
        unreadable: true,
        ..usual()
    };
    vec![
        (SERVED, usual(), &[3, 0, 1], named),
        (SERVED, stale, &[3, 0, 1], named),
        (SERVED, installed_before, &[3, 0, 1], named),
        (SERVED, not_listed, &[0, 3, 1], ""),
        (SERVED, own, &[0, 3, 1], ""),
        (SERVED, unreadable, &[0, 3, 1], UNCHANGED),
        // An operator started this installation without the server.
        ("initrd=initrd.img", usual(), &[0, 3, 1], ""),
    ]
}

pub(super) fn boot_order() -> Result<()> {
    let bed = Bed::new()?;
    let kickstart = Bed::kickstart("")?;
    for (words, boot, expected, text) in cases() {
        let hardware = Hardware {
            boot: boot.clone(),
            ..Hardware::default().uefi()
        };
        let installation = bed.run(&kickstart, words, &hardware)?;
        let log = installation.log();
        ensure!(
            installation.boot_order.as_deref() == Some(expected),
            "{words} {boot:?}: {:?}\n{log}",
            installation.boot_order
        );
        // The order is also correct if a later command of `%post` fails.
        ensure!(log.contains("no server has the overlay"), "{boot:?}\n{log}");
        ensure!(log.contains(text), "{boot:?}: no {text} in\n{log}");
        ensure!(
            log.contains(UNCHANGED) == boot.unreadable,
            "{boot:?}\n{log}"
        );
    }
    // anaconda fails after it has installed the boot loader, and before it runs `%post`.
    let kickstart_with_error = format!("authconfig --enableldap\n{kickstart}");
    let failed = bed.run(&kickstart_with_error, SERVED, &Hardware::default().uefi())?;
    let log = failed.log();
    ensure!(
        failed.boot_order == Some(vec![3, 0, 1]) && !log.contains("%post at"),
        "{:?}\n{log}",
        failed.boot_order
    );
    let bios = bed.run(&kickstart, SERVED, &Hardware::default())?;
    let log = bios.log();
    ensure!(bios.boot_order.is_none(), "{:?}", bios.boot_order);
    ensure!(
        log.contains("no server has the overlay")
            && !log.contains("EFI")
            && !log.contains(UNCHANGED),
        "{log}"
    );
    Ok(())
}
