//! Tests the user's own scripts in `[files] post`. The installer runs the scripts in order, and a
//! script that fails ends the installation. Also tests that `%post` refuses a system that could not
//! start.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::harness::trial;
use tests::installer::Outcome;
use tests::programs::recipe;
use tests::requirement::Requirement;
use tests::{etcd, run};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "user_scripts_run_in_the_new_system_and_their_failure_ends_the_installation",
            REQUIREMENTS,
            scripts,
        ),
        trial(
            "a_system_that_could_not_start_is_not_installed",
            REQUIREMENTS,
            not_bootable,
        ),
    ]
}

fn scripts() -> Result<()> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    let folder = run::current()?.folder("recipe")?;
    let path = folder.join("recipe.toml");
    let demo = fs::read_to_string(recipe("demo"))?;
    let post = "\n[files]\npost = [\"b first.sh\", \"a.sh\"]\n[files.overlay]\n\"/etc/own[1].conf\" = \"own.conf\"\n";
    fs::write(&path, demo + post)?;
    fs::write(folder.join("own.conf"), "brought\n")?;
    // The overlay is unpacked and etcd's account exists, but the installation does not count as
    // finished yet.
    let first = "cat '/etc/own[1].conf' > /root/said\nid -u etcd >> /root/said\necho \"$0\" >> /root/said\n\
                 [ ! -e /etc/firstboot/installed ]\n";
    fs::write(folder.join("b first.sh"), first)?;
    fs::write(folder.join("a.sh"), "echo second >> /root/said\n")?;
    provisioning.build(&path)?;
    let mut host = provisioning.machine("etcd-1")?;
    provisioning.install(&mut host)?;
    let said = host.read("/root/said")?;
    ensure!(
        said == "brought\n450\n/etc/firstboot/post/01-b_first.sh\nsecond\n",
        "{said}"
    );
    ensure!(
        host.path("/etc/firstboot/installed").exists(),
        "the installation does not count as finished"
    );

    // The script runs with bash's option -u, so an unset variable is an error. The next script must
    // not run, and the machine must not count as a finished node.
    fs::write(folder.join("b first.sh"), "echo \"$NOT_SET\"\n")?;
    provisioning.build(&path)?;
    let host = provisioning.machine("etcd-2")?;
    let installation = provisioning.try_install(&host)?;
    ensure!(
        matches!(&installation.outcome, Outcome::PoweredOff(how) if how == "systemctl --force poweroff"),
        "{installation:?}"
    );
    let log = installation.log();
    ensure!(
        log.contains("INSTALLATION FAILED") && log.contains("01-b_first.sh failed, with exit code"),
        "{log}"
    );
    let issue = host
        .read("/etc/issue")
        .context("the console has no message")?;
    ensure!(
        issue.contains("01-b_first.sh") && !host.path("/root/said").exists(),
        "{issue}"
    );
    ensure!(
        !host.path("/etc/firstboot/installed").exists(),
        "a failed installation counts as finished"
    );
    Ok(())
}

/// If a kernel, an initramfs or a boot loader is missing, anaconda only logs this. Oracle Linux
/// installs a different kernel by default. `%post` must refuse a system that lacks one of these
/// parts, and a system with a kernel other than 3.10.0.
fn not_bootable() -> Result<()> {
    const KERNEL: &str = "3.10.0-1160.el7.x86_64";
    const WORK: &str = "/var/tmp/etcd-image";
    const UEK: &str = "5.4.17-2102.201.3.el7uek.x86_64";
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&recipe("demo"))?;
    let host = provisioning.machine("etcd-1")?;
    host.write("/etc/redhat-release", b"7.9\n", 0o644)?;
    fs::create_dir_all(host.path("/boot"))?;
    let kernel = format!("/boot/vmlinuz-{KERNEL}");
    let uek = format!("/boot/vmlinuz-{UEK}");
    let other =
        format!("{uek} is not a 3.10.0 kernel, and this image was checked only with 3.10.0");
    // Each installation has one more file than the previous installation.
    for (file, why) in [
        (None, "no kernel is installed"),
        (Some(&kernel), &format!("{kernel} has no initramfs")),
        (
            Some(&format!("/boot/initramfs-{KERNEL}.img")),
            "the boot loader has no menu",
        ),
        (Some(&uek), &other),
    ] {
        if let Some(file) = file {
            host.write(file, b"x", 0o600)?;
        }
        // Remove the work folder, because a real installation starts with an empty disk.
        if host.path(WORK).exists() {
            fs::remove_dir_all(host.path(WORK))?;
        }
        let installation = provisioning.try_install(&host)?;
        let log = installation.log();
        ensure!(
            matches!(&installation.outcome, Outcome::PoweredOff(_)) && log.contains(why),
            "{why}: {log}"
        );
        ensure!(!host.path("/etc/firstboot/installed").exists(), "{why}");
    }
    Ok(())
}
