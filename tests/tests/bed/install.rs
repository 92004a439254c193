//! Tests the stand-in for anaconda: the environment of a kickstart's scripts, and how an
//! installation ends.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use tests::base;
use tests::harness::trial;
use tests::host::Host;
use tests::installer::{Ended, Installation, Installer, Machine, Outcome, fetch};
use tests::network::Network;
use tests::overlay::Overlay;
use tests::requirement::Requirement;
use tests::server::FileServer;

const ROOT: &[Requirement] = &[Requirement::Root, Requirement::Debootstrap];
const HOST: &[Requirement] = &[
    Requirement::Root,
    Requirement::Debootstrap,
    Requirement::Nspawn,
    Requirement::Network,
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_kickstart_makes_a_host_that_boots", HOST, makes_a_host),
        trial(
            "the_installer_has_only_what_centos_7_has",
            ROOT,
            environment,
        ),
        trial("a_failing_script_stops_the_installation", ROOT, failing),
        trial("a_script_that_powers_off_is_detected", ROOT, powers_off),
    ]
}

const KICKSTART: &str = r#"
text
network --bootproto=dhcp --hostname=etcd-1.example
selinux --enforcing
timezone Etc/UTC --utc
user --name=etcd --uid=900 --gid=900 --homedir=/var/lib/etcd --shell=/sbin/nologin
sshkey --username=root "ssh-ed25519 AAAA operator"
%include /tmp/disk
reboot
%packages
@core   # the least
-postfix
%end
%pre --erroronfail --log=/tmp/pre.log
set -eu
read -r line < /proc/cmdline
[[ $line =~ inst\.ks=([^ ]+)/centos7.ks ]]
curl -sf "${BASH_REMATCH[1]}/overlay" -o /tmp/overlay
echo "fetched from ${BASH_REMATCH[1]}"
printf 'zerombr\n' > /tmp/disk
[ ! -e /mnt/sysimage/etc ]
%end
%post --nochroot --erroronfail
cp /tmp/overlay /mnt/sysimage/etc/overlay
%end
%post --erroronfail --log=/root/post.log
set -eu
echo "this is $0 in $(stat -c %a "$0")"
[ "$(cat /etc/overlay)" = content ]
systemctl mask chrony.service
%end
"#;

fn makes_a_host() -> Result<()> {
    let network = Network::new()?;
    let mirror = tempfile::tempdir()?;
    fs::write(mirror.path().join("centos7.ks"), KICKSTART)?;
    fs::write(mirror.path().join("overlay"), "content")?;
    let server = FileServer::start(network.world().listen("10.101.15.1:80")?, mirror.path())?;
    let mut host = Host::new(&network, "etcd-1", &base::base()?)?;
    let machine = Machine {
        mac: Some(host.link().mac.clone()),
        serial: None,
    };

    let cmdline = "inst.ks=http://10.101.15.1:9/down.ks inst.ks=http://10.101.15.1/centos7.ks inst.ks.sendmac";
    let kickstart = fetch(cmdline, &machine, &host.link().namespace)?;
    let asked = server.requests_for("centos7.ks");
    ensure!(
        asked[0].header("X-RHN-Provisioning-MAC-0") == Some("eth0 52:54:0a:65:0f:65"),
        "{asked:?}"
    );
    let cmdline = "inst.ks=http://10.101.15.1/centos7.ks inst.ks.sendmac";
    let installation = Installer::new(&kickstart, &host.root())
        .cmdline(cmdline)
        .namespace(&host.link().namespace)
        .run()?;
    installation.installed()?;

    ensure!(
        installation
            .log()
            .contains("fetched from http://10.101.15.1"),
        "{}",
        installation.log()
    );
    ensure!(installation.packages() == ["@core", "-postfix"]);
    ensure!(
        installation.commands("zerombr").len() == 1,
        "the file that %pre made is not included"
    );
    ensure!(installation.commands("reboot").len() == 1);
    let log = host.read("/root/post.log")?;
    ensure!(
        log.contains("this is /tmp/ks-script-") && log.contains("in 700"),
        "{log}"
    );
    ensure!(host.read("/etc/hostname")? == "etcd-1.example\n");
    ensure!(
        host.read("/etc/selinux/config")?
            .contains("SELINUX=enforcing")
    );
    ensure!(host.read("/root/.ssh/authorized_keys")? == "ssh-ed25519 AAAA operator\n");
    ensure!(host.read("/root/original-ks.cfg")? == KICKSTART);
    ensure!(host.path("/var/log/anaconda/ks-script-0002.log").exists());

    host.start()?;
    ensure!(host.check(&["id", "-u", "etcd"])?.trim() == "900");
    host.shutdown()
}

fn environment() -> Result<()> {
    let script = r#"
%pre --erroronfail
for name in curl tar xz sha256sum awk mkfs.xfs lsblk udevadm sed find restorecon; do type -P $name; done
for name in gpg openssl stat install timeout base64 diff useradd perl python3 dash test printf; do
    if type -P $name; then echo "$name is here"; exit 1; fi
done
printf 'a builtin works\n'; [ -d /sys/class/net ]
[ "$(ls /sys/block)" = sda ] && [ "$(cat /sys/block/sda/size)" = 41943040 ] && [ ! -e /dev/sda ]
[ "$BASH" = /bin/sh ] && shopt -qo posix
echo "PATH=$PATH"
%end
%pre
stat /etc
%end
%pre --interpreter=/usr/bin/awk
BEGIN { print "awk was here" }
%end
"#;
    let installation = install(script)?;
    let outputs: Vec<&str> = installation
        .scripts
        .iter()
        .map(|script| script.output.as_str())
        .collect();
    installation.installed()?;
    ensure!(outputs[0].contains("a builtin works"), "{}", outputs[0]);
    ensure!(
        outputs[0].contains("PATH=/usr/bin:/bin:/sbin:/usr/sbin:/mnt/sysimage/bin:"),
        "{}",
        outputs[0]
    );
    ensure!(
        outputs[1].contains("stat: command not found"),
        "{}",
        outputs[1]
    );
    ensure!(
        installation.scripts[1].ended == Ended::Exited(127),
        "{:?}",
        installation.scripts[1]
    );
    Ok(())
}

fn failing() -> Result<()> {
    let installation = install(
        "%pre\nexit 3\n%end\n%pre --erroronfail\necho so it is; exit 4\n%end\n%post\n%end\n",
    )?;
    let Outcome::Dead(reason) = &installation.outcome else {
        bail!("{:?}", installation.outcome)
    };
    ensure!(
        reason == "%pre at kickstart:4 failed with exit code 4",
        "{reason}"
    );
    ensure!(
        installation.scripts.len() == 2 && installation.log().contains("so it is"),
        "{}",
        installation.log()
    );

    let installation = install("%post --erroronfail\nfalse\n%end\n%post\n%end\n")?;
    let Outcome::Restarted(reason) = &installation.outcome else {
        bail!("{:?}", installation.outcome)
    };
    ensure!(
        reason == "%post at kickstart:1 failed with exit code 1" && installation.scripts.len() == 1,
        "{reason}"
    );
    let installation = install("poweroff\n%post --erroronfail\nfalse\n%end\n")?;
    ensure!(
        installation.outcome == Outcome::PoweredOff("systemctl --no-wall poweroff".into()),
        "{:?}",
        installation.outcome
    );

    let installation = install("%include /tmp/nothing\n")?;
    let Outcome::Dead(reason) = &installation.outcome else {
        bail!("{:?}", installation.outcome)
    };
    ensure!(
        reason.contains("kickstart:1: cannot include /tmp/nothing"),
        "{reason}"
    );
    Ok(())
}

fn powers_off() -> Result<()> {
    for (script, expected) in [
        ("%pre\npoweroff -f\necho still here\n%end\n", "poweroff -f"),
        (
            "%pre\nsystemctl --force reboot; echo still here\n%end\n",
            "systemctl --force reboot",
        ),
        ("%post --nochroot\nhalt\necho still here\n%end\n", "halt "),
        (
            "%pre\necho o > /proc/sysrq-trigger; sleep 5\n%end\n",
            "sysrq o",
        ),
        (
            "%post\nSYSTEMD_IGNORE_CHROOT=1 systemctl poweroff --force --force; sleep 5\n%end\n",
            "reboot(2): power off",
        ),
        (
            "%post\nSYSTEMD_IGNORE_CHROOT=1 systemctl reboot --force --force; sleep 5\n%end\n",
            "reboot(2): restart",
        ),
    ] {
        // Some kernels do not support the SysRq key.
        if expected.starts_with("sysrq") && !Path::new("/proc/sysrq-trigger").exists() {
            continue;
        }
        let installation = install(script)?;
        let expected = expected.trim().to_owned();
        let restarts = expected.contains("reboot --force")
            || expected.ends_with("reboot")
            || expected.ends_with("restart");
        let power = if restarts {
            Outcome::Restarted(expected)
        } else {
            Outcome::PoweredOff(expected)
        };
        ensure!(
            installation.outcome == power,
            "{script}\n{:?}\n{}",
            installation.outcome,
            installation.log()
        );
        ensure!(
            !installation.log().contains("still here"),
            "{}",
            installation.log()
        );
    }
    Ok(())
}

fn install(kickstart: &str) -> Result<Installation> {
    let target = Overlay::new("target", &base::base()?)?;
    Installer::new(kickstart, &target.root()).run()
}
