//! What iPXE is told: to install a node's machine that was not, and to leave every other one alone.

use std::fmt::Write as _;

use recipes::Label;

/// What is said first, before it is known who asks: come again, and say who you are.
pub(super) fn who(server: &str) -> String {
    // The whole URL: in one that begins with a name iPXE takes the first colon of the address for the end of a scheme.
    // `:uristring` makes a value fit for a query (iPXE, settings).
    format!("#!ipxe\nchain {server}boot.ipxe?mac=${{net0/mac}}&serial=${{serial:uristring}}&uuid=${{uuid}} || exit\n")
}

/// Install this node's machine: from a tree of CentOS 7.9, by the kickstart of this server.
pub(super) fn install(node: &Label, tree: &str, server: &str, append: &str) -> String {
    let mut script = format!("#!ipxe\necho etcd-image: installing {node}, which wipes this machine's disk\n");
    // `initrd=`: UEFI's kernels find it by its name. `inst.ks.sendmac`: by it the server knows whose kickstart it hands out.
    let words = format!(
        "initrd=initrd.img inst.ks={server}image/centos7.ks inst.ks.sendmac inst.stage2={tree} ip=dhcp inst.nosave=all_ks"
    );
    let _ = writeln!(script, "kernel {tree}images/pxeboot/vmlinuz {} || exit", [&words, append].join(" ").trim_end());
    let _ = writeln!(script, "initrd {tree}images/pxeboot/initrd.img || exit\nboot || exit");
    script
}

/// Boot what is on the disk; `why`.
pub(super) fn leave(why: &str) -> String {
    // A line of iPXE's: nothing that it would take for more than words.
    let words: String =
        why.chars().map(|c| if c.is_ascii_graphic() && !"${}|&;\\\"'".contains(c) { c } else { ' ' }).collect();
    format!("#!ipxe\necho etcd-image: {words}\nexit\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_installed_from_the_tree_by_the_kickstart() {
        let script =
            install(&"etcd-1".parse().unwrap(), "http://10.0.0.5/tree/", "http://10.0.0.5:8080/", "console=ttyS0");
        let kernel = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
        assert_eq!(
            kernel,
            "kernel http://10.0.0.5/tree/images/pxeboot/vmlinuz initrd=initrd.img \
             inst.ks=http://10.0.0.5:8080/image/centos7.ks inst.ks.sendmac inst.stage2=http://10.0.0.5/tree/ ip=dhcp \
             inst.nosave=all_ks console=ttyS0 || exit"
        );
        assert!(script.starts_with("#!ipxe\n") && script.ends_with("boot || exit\n"), "{script}");
    }

    #[test]
    fn words_stay_words() {
        let script = leave("no node is ${x} || boot\nkernel http://evil");
        assert_eq!(script.lines().count(), 3, "{script}");
        assert!(!script.contains('$') && !script.contains('|'), "{script}");
    }
}
