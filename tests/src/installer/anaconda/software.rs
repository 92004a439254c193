//! Which packages are asked of yum: yumpayload.py, `_applyYumSelections`.

use std::collections::BTreeSet;
use std::fmt;

use super::super::hardware::Hardware;
use super::{Data, Plan};

/// What is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Groups, each with what of it: `mandatory`, `default` or `all`.
    pub groups: Vec<(String, &'static str)>,
    /// Packages that the kickstart lists: one that is missing ends the installation.
    pub packages: BTreeSet<String>,
    /// Names and patterns that are taken out again, whoever asked for them.
    pub excluded: BTreeSet<String>,
    /// What anaconda needs: it is missing as fatally.
    pub required: BTreeSet<String>,
    /// Whether the group core is installed in any case.
    pub core: bool,
}

/// install.py, doInstall.
pub(super) fn select(data: &Data, hardware: &Hardware, plan: &Plan) -> Selection {
    let mut packages = data.packages.clone();
    // kickstart.py, Timezone.setup.
    if !data.timezone.nontp && !data.excluded.contains("chrony") {
        packages.insert("chrony".into());
    }
    let mut required = BTreeSet::new();
    // Authconfig.setup, Firewall.setup.
    required.extend(data.authconfig.iter().map(|_| "authconfig".to_owned()));
    required.extend(data.firewall.seen.then(|| "firewalld".to_owned()));
    // bootloader.py, packages of GRUB2 and EFIGRUB.
    if !data.boot.disabled && !plan.labels.is_empty() {
        let packages: &[&str] = if hardware.efi {
            &["efibootmgr", "grub2", "grub2-efi-x64", "grub2-tools", "shim-x64"]
        } else {
            &["grub2", "grub2-tools"]
        };
        required.extend(packages.iter().map(|name| (*name).to_owned()));
    }
    required.retain(|name| !data.excluded.contains(name));
    let mut groups = data.package_groups.clone();
    groups.sort();
    Selection { groups, packages, excluded: data.excluded.clone(), required, core: !data.nocore }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(" ");
        let groups: Vec<String> = self.groups.iter().map(|(name, what)| format!("{name} ({what})")).collect();
        writeln!(f, "core {}", self.core)?;
        writeln!(f, "groups {}", groups.join(" "))?;
        writeln!(f, "packages {}", line(&self.packages))?;
        writeln!(f, "excluded {}", line(&self.excluded))?;
        writeln!(f, "required {}", line(&self.required))
    }
}
