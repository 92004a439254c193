//! The scripts for iPXE.
//!
//! Each script ends with `exit 1`, a failure. After a success, UEFI firmware stays in its setup
//! menu. After a failure, UEFI firmware continues with the next entry of its boot order. BIOS
//! firmware continues after a success and after a failure (tried with OVMF and SeaBIOS).

use std::fmt::Write as _;

use super::install::{Install, one_line};

/// The query with which a machine identifies itself. `netX` is the network card that iPXE booted
/// from, which need not be the first card. `:uristring` escapes a value for a query (iPXE,
/// settings).
const IDENTITY_QUERY: &str = "mac=${netX/mac}&serial=${serial:uristring}&uuid=${uuid}";

/// Returns the first script, which makes the machine state its identity and request the next
/// script.
pub(super) fn identify_script(server: &str) -> String {
    // The URL is absolute, because in a relative URL iPXE would read the first colon of the
    // machine's hardware address as the end of a scheme.
    format!("#!ipxe\nchain {server}boot.ipxe?{IDENTITY_QUERY} || exit 1\n")
}

/// Returns the script that makes the machine repeat its request after a moment.
pub(super) fn retry_script(server: &str, next: u32) -> String {
    format!("#!ipxe\nsleep 2\nchain {server}boot.ipxe?{IDENTITY_QUERY}&again={next} || exit 1\n")
}

/// Returns the script that installs the node's machine.
pub(super) fn install_script(install: Install<'_>) -> String {
    let tree = install.tree;
    let mut script = format!("#!ipxe\necho {}\n", install.message());
    // A UEFI kernel finds the initrd by the name in `initrd=`. `BOOTIF` makes the installer use the
    // network card from which the machine booted (anaconda, dracut/parse-anaconda-net.sh), because
    // this server identifies the machine by the MAC address of this card.
    let _ = writeln!(
        script,
        "kernel {tree}images/pxeboot/vmlinuz initrd=initrd.img BOOTIF=01-${{netX/mac:hexhyp}} {} || exit 1",
        install.kernel_words()
    );
    let _ = writeln!(
        script,
        "initrd {tree}images/pxeboot/initrd.img || exit 1\nboot || exit 1"
    );
    script
}

/// Returns the script that boots the machine from its disk, after showing `why`.
pub(super) fn boot_disk_script(why: &str) -> String {
    format!("#!ipxe\necho etcd-image: {}\nexit 1\n", one_line(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_installed_from_the_tree_by_the_kickstart_and_reports() {
        let node = "etcd-1".parse().unwrap();
        let script = install_script(Install::example(&node));
        let kernel = script
            .lines()
            .find(|line| line.starts_with("kernel "))
            .unwrap();
        assert_eq!(
            kernel,
            "kernel http://10.0.0.5/tree/images/pxeboot/vmlinuz initrd=initrd.img BOOTIF=01-${netX/mac:hexhyp} \
             inst.ks=http://10.0.0.5:8080/image/centos7.ks?node=etcd-1&image=abababababababababababababababababababababababababababababababab \
             etcd-image.report=http://10.0.0.5:8080/report?node=etcd-1&token=abc inst.stage2=http://10.0.0.5/tree ip=dhcp \
             inst.nosave=all_ks panic=60 console=ttyS0 || exit 1"
        );
        assert!(
            script.starts_with("#!ipxe\n") && script.contains("(attempt 2 of 4)"),
            "{script}"
        );
    }

    #[test]
    fn no_script_ends_in_success_which_would_stop_uefi_in_its_menu() {
        let node = "etcd-1".parse().unwrap();
        let all = Install::example(&node);
        for script in [
            identify_script("s/"),
            retry_script("s/", 1),
            install_script(all),
            boot_disk_script("why"),
        ] {
            let exits: Vec<&str> = script
                .lines()
                .filter(|line| line.contains("exit"))
                .collect();
            assert!(
                !exits.is_empty() && exits.iter().all(|line| line.ends_with("exit 1")),
                "{script}"
            );
            assert!(
                script.lines().last().unwrap().ends_with("exit 1"),
                "{script}"
            );
        }
    }
}
