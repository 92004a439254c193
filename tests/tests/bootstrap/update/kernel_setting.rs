//! The kernel setting that the images of the update tests change.

use anyhow::{Result, ensure};
use tests::host::Host;

pub(super) const KEY: &str = "net.ipv4.tcp_keepalive_time";

/// A recipe's section with the setting.
pub(super) const SECTION: &str =
    "[tuning]\nsysctl = { \"net.ipv4.tcp_keepalive_time\" = \"611\" }\n";

/// A program that prints the first digit of the setting and fails. The shell's `read` requests one
/// byte at a time. If a program requests one byte of a setting at a time, the kernel returns only
/// the first byte.
pub(super) const PRINT_AND_FAIL: &str = "#!/bin/sh
read -r value < /proc/sys/net/ipv4/tcp_keepalive_time
echo \"the setting begins with $value\" >&2
exit 1
";

/// Makes /proc/sys/net writable. nspawn makes all of /proc/sys read-only, although the settings in
/// /proc/sys/net belong to the host's own network namespace.
pub(super) fn allow_writes(host: &Host) -> Result<()> {
    host.check(&["mount", "--bind", "/proc/sys/net", "/proc/sys/net"])?;
    host.check(&["mount", "-o", "remount,bind,rw", "/proc/sys/net"])?;
    Ok(())
}

pub(super) fn read(host: &Host) -> Result<String> {
    let value = host.check(&["sysctl", "-n", KEY])?;
    Ok(value.trim().to_owned())
}

pub(super) fn has_value(host: &Host, expected: &str) -> Result<()> {
    let value = read(host)?;
    ensure!(
        value == expected,
        "{KEY} on {} is {value}, not {expected}",
        host.name()
    );
    Ok(())
}
