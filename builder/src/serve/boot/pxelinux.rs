//! The configurations for lpxelinux, the pxelinux that supports HTTP.
//!
//! pxelinux requests `pxelinux.cfg/UUID`, then `pxelinux.cfg/01-MAC`, and then names that do not
//! identify a machine (syslinux, core/fs/pxe/pxe.c). After a 404, pxelinux continues with the next
//! name.

use super::install::{Install, one_line};
use crate::serve::identify::Machine;

/// Returns the script that makes the machine repeat its request after a moment.
pub(super) fn retry_script(server: &str, machine: &Machine, next: u32) -> String {
    let macs = machine.macs.iter().map(|mac| format!("mac={mac}&"));
    let uuid = machine.uuid.iter().map(|uuid| format!("uuid={uuid}&"));
    let identity: String = macs.chain(uuid).collect();
    // With `PROMPT 1`, pxelinux waits for `TIMEOUT` tenths of a second.
    format!(
        "DEFAULT again\nPROMPT 1\nTIMEOUT 20\nLABEL again\nCONFIG {server}boot.pxelinux?{identity}again={next}\n"
    )
}

/// Returns the script that installs the node's machine. `SYSAPPEND 2` makes pxelinux add `BOOTIF`,
/// which names the network card from which the machine booted.
pub(super) fn install_script(install: Install<'_>) -> String {
    let tree = install.tree;
    format!(
        "SAY {}\nDEFAULT install\nPROMPT 0\nLABEL install\nLINUX {tree}images/pxeboot/vmlinuz\n\
         INITRD {tree}images/pxeboot/initrd.img\nSYSAPPEND 2\nAPPEND {}\nONERROR disk\n\
         LABEL disk\nLOCALBOOT -1\n",
        install.message(),
        install.kernel_words()
    )
}

/// Returns the script that shows `why`, and then boots the machine from its disk. `LOCALBOOT -1`
/// returns to the BIOS, which continues with the next device of its boot order (syslinux,
/// core/localboot.c).
pub(super) fn boot_disk_script(why: &str) -> String {
    format!(
        "SAY etcd-image: {}\nDEFAULT disk\nPROMPT 0\nLABEL disk\nLOCALBOOT -1\n",
        one_line(why)
    )
}

/// Returns the machine that a file name in `pxelinux.cfg/` identifies. Names that contain neither
/// an Ethernet address nor a UUID do not identify a machine.
pub(in crate::serve) fn machine(name: &str) -> Option<Machine> {
    let is_uuid = |name: &str| {
        let lengths: Vec<usize> = name.split('-').map(str::len).collect();
        lengths == [8, 4, 4, 4, 12] && name.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
    };
    if let Some(mac) = name.strip_prefix("01-") {
        let mac = mac.replace('-', ":").parse().ok()?;
        return Some(Machine {
            macs: vec![mac],
            ..Machine::default()
        });
    }
    is_uuid(name).then(|| Machine {
        uuid: name.parse().ok(),
        ..Machine::default()
    })
}

#[cfg(test)]
mod tests {
    use recipes::FirmwareId;

    use super::*;

    #[test]
    fn a_file_name_is_a_machine() {
        let mac = machine("01-52-54-00-00-00-01").unwrap();
        assert_eq!(
            mac,
            Machine::read([("mac", "52:54:00:00:00:01")].into_iter())
        );
        let name = "4c4c4544-0042-3010-8052-b4c04f563232";
        let uuid = machine(name).unwrap();
        assert_eq!(uuid, Machine::read([("uuid", name)].into_iter()));
        for other in [
            "default",
            "0A650F65",
            "01-52-54",
            "06-52-54-00-00-00-01",
            "",
        ] {
            assert_eq!(machine(other), None, "{other}");
        }
    }

    #[test]
    fn a_uuid_in_the_byte_order_of_smbios_identifies_the_machine() {
        let asked = machine("33221142-5544-7766-8899-aabbccddeeff").unwrap();
        let in_recipe = "42112233-4455-6677-8899-aabbccddeeff".parse().ok();
        assert!(FirmwareId::meets(asked.uuid.as_ref(), in_recipe.as_ref()));
    }

    #[test]
    fn a_machine_asks_again_with_its_identity() {
        let asked = machine("01-52-54-00-00-00-01").unwrap();
        let script = retry_script("http://s/", &asked, 2);
        assert!(
            script.contains("CONFIG http://s/boot.pxelinux?mac=52:54:00:00:00:01&again=2\n"),
            "{script}"
        );
    }
}
