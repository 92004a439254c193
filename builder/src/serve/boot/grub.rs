//! The scripts for grub 2 on UEFI.
//!
//! All scripts have the same length. When UEFI firmware loads Red Hat's or CentOS's grub by HTTP,
//! grub requests the length with a HEAD request, and then reads that many bytes (rhboot/grub2,
//! grub-core/net/efi/http.c). The server can therefore answer a HEAD request without a decision
//! about the machine.
//!
//! The URLs and the kernel's arguments are quoted, because grub expands `?` and `*` in unquoted
//! words as file names (grub-core/commands/wildcard.c).

use super::install::{Install, bootif, one_line};
use crate::serve::identify::Machine;

/// The length of a script.
pub(crate) const SCRIPT_BYTES: usize = 4096;

/// The boot loaders that an installation leaves on the disk, in the order in which the script tries
/// them. The last two paths are spellings of UEFI's default path.
const ON_DISK: [&str; 6] = [
    "/EFI/centos/shimx64.efi",
    "/EFI/redhat/shimx64.efi",
    "/EFI/centos/grubx64.efi",
    "/EFI/redhat/grubx64.efi",
    "/EFI/BOOT/BOOTX64.EFI",
    "/efi/boot/bootx64.efi",
];

/// Returns the first script, which makes the machine state its identity and request the next
/// script. The first script is the same for all machines.
pub(super) fn identify_script(server: &str) -> String {
    padded(request(server, ""))
}

/// Returns the script that makes the machine repeat its request after a moment.
pub(super) fn retry_script(server: &str, next: u32) -> String {
    padded(format!(
        "sleep 2\n{}",
        request(server, &format!("&again={next}"))
    ))
}

/// Returns the script that installs the node's machine. If the kernel's arguments are too long for
/// a script, the returned script shows an error and boots the machine from its disk, because grub
/// would read only the first part of the arguments.
pub(super) fn install_script(install: Install<'_>, machine: &Machine) -> String {
    let tree = on_network(install.tree);
    let bootif = machine
        .macs
        .first()
        .map_or_else(String::new, |mac| format!("BOOTIF={} ", bootif(*mac)));
    let words: Vec<String> = format!("{bootif}{}", install.kernel_words())
        .split(' ')
        .map(|word| format!("'{}'", word.replace('\'', "%27")))
        .collect();
    let words = words.join(" ");
    // CentOS 7's signed grub has the command `linuxefi`, but no `linux`. Other builds of grub have
    // no `linuxefi`. grub treats a command that does not exist as successful (tried with grub 2.06
    // and with CentOS 7's grub). In that case, the following `boot` fails, because no kernel is
    // loaded, and the script continues.
    let script = format!(
        "echo \"{}\"\n\
         if linux '{tree}images/pxeboot/vmlinuz' {words}; then\n    \
             if initrd '{tree}images/pxeboot/initrd.img'; then boot; fi\n\
         fi\n\
         if linuxefi '{tree}images/pxeboot/vmlinuz' {words}; then\n    \
             if initrdefi '{tree}images/pxeboot/initrd.img'; then boot; fi\n\
         fi\n\
         {}",
        install.message(),
        boot_disk()
    );
    if script.len() > SCRIPT_BYTES {
        return boot_disk_script(
            "the arguments of the installer's kernel are too long for grub: shorten --append of \
             builder serve",
        );
    }
    padded(script)
}

/// Returns the script that boots the machine from its disk, after showing `why`.
pub(super) fn boot_disk_script(why: &str) -> String {
    padded(format!(
        "echo \"etcd-image: {}\"\n{}",
        one_line(why),
        boot_disk()
    ))
}

/// Returns the commands that end each script, and that boot the machine from its disk.
///
/// Not every build of grub returns an error to the firmware at `exit 1`. CentOS 7's grub resets the
/// machine, which then boots from the network again. Builds without Red Hat's patches return
/// success, after which UEFI firmware stays in its setup menu. Therefore, the commands first try
/// the disk's own boot loader.
fn boot_disk() -> String {
    let files = ON_DISK.join(" ");
    format!(
        "for file in {files}; do\n    \
             if search --no-floppy --file --set=root $file; then\n        \
                 if chainloader $file; then boot; fi\n    \
             fi\n\
         done\n\
         exit 1\n"
    )
}

/// Returns the commands that request a script. The commands repeat the request several times. grub
/// uses the same source ports after each start of the machine, so a request can fail while the
/// server still has the connections of an earlier start. Builds of grub without `smbios` omit the
/// serial number and the UUID. The commands omit a serial number with special characters, because
/// grub does not escape the characters of a path. If the server does not answer, the machine boots
/// from its disk.
fn request(server: &str, more: &str) -> String {
    format!(
        "set uuid=\nset serial=\nset plain=\n\
         smbios --type 1 --get-uuid 8 --set uuid\n\
         smbios --type 1 --get-string 7 --set serial\n\
         regexp --set=0:plain '^[A-Za-z0-9._-]+$' \"$serial\"\n\
         for try in 1 2 3 4 5 6 7 8; do\n    \
             configfile \"{}boot.grub?mac=$net_default_mac&serial=$plain&uuid=$uuid{more}\"\n    \
             sleep 2\n\
         done\n\
         {}",
        on_network(server),
        boot_disk()
    )
}

/// Returns grub's name for a URL: `(http,HOST:PORT)/PATH`.
fn on_network(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    format!("({scheme},{host})/{path}")
}

/// Appends empty lines until the script has the length that all scripts have.
fn padded(mut script: String) -> String {
    let missing = SCRIPT_BYTES.saturating_sub(script.len());
    script.extend(std::iter::repeat_n('\n', missing));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(append: &str) -> String {
        let node = "etcd-1".parse().unwrap();
        let machine = Machine::read([("mac", "52:54:00:00:00:01")].into_iter());
        let install = Install {
            append,
            ..Install::example(&node)
        };
        install_script(install, &machine)
    }

    #[test]
    fn arguments_that_do_not_fit_are_reported_and_not_truncated() {
        let script = installed(&"x".repeat(SCRIPT_BYTES / 2));
        assert_eq!(script.len(), SCRIPT_BYTES);
        assert!(
            script.contains("shorten --append") && !script.contains("vmlinuz"),
            "{script}"
        );
    }

    #[test]
    fn a_node_is_installed_by_either_command() {
        let script = installed("console=ttyS0");
        for command in ["linuxefi", "linux"] {
            let line = format!(
                "{command} '(http,10.0.0.5)/tree/images/pxeboot/vmlinuz' 'BOOTIF=01-52-54-00-00-00-01' \
                 'inst.ks=http://10.0.0.5:8080/image/centos7.ks?node=etcd-1&image=abababababababababababababababababababababababababababababababab' \
                 'etcd-image.report=http://10.0.0.5:8080/report?node=etcd-1&token=abc' \
                 'inst.stage2=http://10.0.0.5/tree' 'ip=dhcp' 'inst.nosave=all_ks' 'panic=60' 'console=ttyS0'"
            );
            assert!(script.contains(&line), "{script}");
        }
        // `linux` and `linuxefi` are each followed by their own `boot`. If grub treats a missing
        // `linux` as successful, the script therefore still runs `linuxefi`.
        let (install, _) = script.split_once("for file in ").unwrap();
        assert_eq!(install.matches("then boot; fi").count(), 2, "{script}");
    }

    #[test]
    fn all_scripts_have_the_same_length() {
        for script in [
            identify_script("http://10.0.0.5/"),
            retry_script("http://10.0.0.5:8080/", 5),
            installed("console=ttyS0"),
            boot_disk_script("etcd-1 was installed"),
        ] {
            assert_eq!(script.len(), SCRIPT_BYTES, "{script}");
        }
    }

    #[test]
    fn all_scripts_try_the_disk_before_they_leave_grub() {
        for script in [
            identify_script("http://10.0.0.5/"),
            retry_script("http://10.0.0.5:8080/", 5),
            installed("console=ttyS0"),
            boot_disk_script("etcd-1 was installed"),
        ] {
            assert_eq!(script.matches("exit").count(), 1, "{script}");
            assert!(
                script.trim_end().ends_with(boot_disk().trim_end()),
                "{script}"
            );
        }
    }

    #[test]
    fn a_url_becomes_a_network_device() {
        for (url, name) in [
            ("http://10.0.0.5/", "(http,10.0.0.5)/"),
            ("http://h:8080/tree/", "(http,h:8080)/tree/"),
            ("http://h", "(http,h)/"),
        ] {
            assert_eq!(on_network(url), name);
        }
    }
}
