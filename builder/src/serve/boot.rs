//! The scripts for iPXE. A machine must first identify itself. The server then installs the machine
//! if it belongs to a node that has not been installed. Otherwise, the machine boots from its disk.
//!
//! Each script ends with `exit 1`, a failure. After a success, UEFI firmware stays in its setup
//! menu. After a failure, UEFI firmware continues with the next entry of its boot order. BIOS
//! firmware continues in both cases (tried with OVMF and SeaBIOS).

use std::fmt::Write as _;

use recipes::Label;

/// The query with which a machine identifies itself. `netX` is the network card that iPXE booted
/// from, which need not be the first card. `:uristring` escapes a value for a query (iPXE,
/// settings).
const IDENTITY_QUERY: &str = "mac=${netX/mac}&serial=${serial:uristring}&uuid=${uuid}";

/// The maximum number of repeated requests from a machine whose network card is not known yet.
const MAX_RETRIES: u32 = 5;

/// One installation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Install<'a> {
    pub(super) node: &'a Label,
    /// This server's URL, with a trailing slash.
    pub(super) server: &'a str,
    /// The tree of CentOS 7.9, with a trailing slash.
    pub(super) tree: &'a str,
    /// The token that proves that a report belongs to this attempt.
    pub(super) token: &'a str,
    /// The number of this attempt, and the number of the last attempt allowed.
    pub(super) attempt: (u32, u32),
    /// Additional words for the installer's kernel.
    pub(super) append: &'a str,
}

/// Returns the first script, with which the machine requests a script again and states its
/// identity.
pub(super) fn identify_script(server: &str) -> String {
    // The URL is absolute, because in a relative URL iPXE would read the first colon of the
    // machine's hardware address as the end of a scheme.
    format!("#!ipxe\nchain {server}boot.ipxe?{IDENTITY_QUERY} || exit 1\n")
}

/// Returns the script that makes the machine request a script again after a short pause, or `None`
/// after too many requests.
pub(super) fn retry_script(server: &str, asked: u32) -> Option<String> {
    let next = asked.checked_add(1).filter(|next| *next <= MAX_RETRIES)?;
    Some(format!(
        "#!ipxe\nsleep 2\nchain {server}boot.ipxe?{IDENTITY_QUERY}&again={next} || exit 1\n"
    ))
}

/// Returns the script that installs the node's machine from a tree of CentOS 7.9, with this
/// server's kickstart.
pub(super) fn install_script(install: Install<'_>) -> String {
    let Install {
        node,
        server,
        tree,
        token,
        attempt: (attempt, last),
        append,
    } = install;
    let mut script = format!(
        "#!ipxe\necho etcd-image: installing {node} (attempt {attempt} of {last}), which wipes this machine's disk\n"
    );
    // UEFI kernels find the initrd by the name in `initrd=`. `BOOTIF` makes the installer use the
    // card that booted, by which this server identifies the machine (anaconda,
    // dracut/parse-anaconda-net.sh). `etcd-image.report` is for the kickstart's scripts. dracut
    // appends a slash to the tree's URL (dracut/anaconda-netroot.sh), and not every server accepts
    // two slashes.
    let stage2 = tree.trim_end_matches('/');
    let words = format!(
        "initrd=initrd.img BOOTIF=01-${{netX/mac:hexhyp}} inst.ks={server}image/centos7.ks?node={node} \
         etcd-image.report={server}report?node={node}&token={token} inst.stage2={stage2} ip=dhcp inst.nosave=all_ks"
    );
    let _ = writeln!(
        script,
        "kernel {tree}images/pxeboot/vmlinuz {} || exit 1",
        [&words, append].join(" ").trim_end()
    );
    let _ = writeln!(
        script,
        "initrd {tree}images/pxeboot/initrd.img || exit 1\nboot || exit 1"
    );
    script
}

/// Returns the script that boots the machine from its disk, after showing `why`.
pub(super) fn boot_disk_script(why: &str) -> String {
    // The reason becomes one line, without the characters that are special to iPXE.
    let words: String = why
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !"${}|&;\\\"'".contains(c) {
                c
            } else {
                ' '
            }
        })
        .collect();
    format!("#!ipxe\necho etcd-image: {words}\nexit 1\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_installed_from_the_tree_by_the_kickstart_and_reports() {
        let node = "etcd-1".parse().unwrap();
        let script = install_script(Install {
            node: &node,
            server: "http://10.0.0.5:8080/",
            tree: "http://10.0.0.5/tree/",
            token: "abc",
            attempt: (2, 4),
            append: "console=ttyS0",
        });
        let kernel = script
            .lines()
            .find(|line| line.starts_with("kernel "))
            .unwrap();
        assert_eq!(
            kernel,
            "kernel http://10.0.0.5/tree/images/pxeboot/vmlinuz initrd=initrd.img BOOTIF=01-${netX/mac:hexhyp} \
             inst.ks=http://10.0.0.5:8080/image/centos7.ks?node=etcd-1 \
             etcd-image.report=http://10.0.0.5:8080/report?node=etcd-1&token=abc inst.stage2=http://10.0.0.5/tree ip=dhcp \
             inst.nosave=all_ks console=ttyS0 || exit 1"
        );
        assert!(
            script.starts_with("#!ipxe\n") && script.contains("(attempt 2 of 4)"),
            "{script}"
        );
    }

    #[test]
    fn no_script_ends_in_success_which_would_stop_uefi_in_its_menu() {
        let node = "etcd-1".parse().unwrap();
        let all = Install {
            node: &node,
            server: "s/",
            tree: "t/",
            token: "",
            attempt: (1, 1),
            append: "",
        };
        for script in [
            identify_script("s/"),
            retry_script("s/", 0).unwrap(),
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

    #[test]
    fn a_machine_asks_again_a_bounded_number_of_times() {
        assert!(retry_script("s/", 0).unwrap().contains("&again=1 "));
        assert_eq!(retry_script("s/", MAX_RETRIES), None);
        assert_eq!(retry_script("s/", u32::MAX), None);
    }

    #[test]
    fn text_in_a_script_cannot_become_a_command() {
        let script = boot_disk_script("no node is ${x} || boot\nkernel http://evil");
        assert_eq!(script.lines().count(), 3, "{script}");
        assert!(!script.contains('$') && !script.contains('|'), "{script}");
    }
}
