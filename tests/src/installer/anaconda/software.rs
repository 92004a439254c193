//! Selects the packages and groups that anaconda requests from yum: yumpayload.py,
//! `_applyYumSelections`.

use std::collections::BTreeSet;

use super::super::hardware::Hardware;
use super::data::Data;
use super::types::{Plan, Selection};

/// Models `doInstall` in install.py.
pub(super) fn select(data: &Data, hardware: &Hardware, plan: &Plan) -> Selection {
    let mut packages = data.packages.clone();
    // Models `Timezone.setup` in kickstart.py.
    if !data.timezone.nontp && !data.excluded.contains("chrony") {
        packages.insert("chrony".into());
    }
    let mut required = BTreeSet::new();
    // Models Authconfig.setup and Firewall.setup.
    required.extend(data.authconfig.iter().map(|_| "authconfig".to_owned()));
    required.extend(data.firewall.seen.then(|| "firewalld".to_owned()));
    // The packages of GRUB2 and EFIGRUB in bootloader.py.
    if !data.boot.disabled && !plan.labels.is_empty() {
        let packages: &[&str] = if hardware.efi {
            &[
                "efibootmgr",
                "grub2",
                "grub2-efi-x64",
                "grub2-tools",
                "shim-x64",
            ]
        } else {
            &["grub2", "grub2-tools"]
        };
        required.extend(packages.iter().map(|name| (*name).to_owned()));
    }
    required.retain(|name| !data.excluded.contains(name));
    let mut groups = data.package_groups.clone();
    groups.sort();
    Selection {
        groups,
        packages,
        excluded: data.excluded.clone(),
        required,
        core: !data.nocore,
    }
}
