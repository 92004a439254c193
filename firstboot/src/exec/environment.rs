//! Selects the environment variables that `firstboot exec` passes to the program.
//!
//! systemd gives each unit the variables of `DefaultEnvironment=` (system.conf), and systemd 219
//! cannot remove a variable from a unit, because `UnsetEnvironment=` was introduced in 235 (NEWS).
//! A proxy variable would redirect etcd's connections to its peers (etcd-io/etcd#9763), and
//! SSL_CERT_FILE would replace the system's CAs, which Go trusts by default. Therefore, `firstboot
//! exec` passes only the listed variables.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// The prefixes of allowed names: etcd's settings, the object store's keys, and locales.
const PREFIXES: [&str; 3] = ["ETCD_", "AWS_", "LC_"];

/// The allowed names: the variables that systemd sets for a service (systemd.exec(5),
/// sd_notify(3)), the variables that describe the user, and the settings of Go's runtime.
const NAMES: [&str; 20] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "GOGC",
    "GOMEMLIMIT",
    "GOMAXPROCS",
    "GODEBUG",
    "GOTRACEBACK",
];

/// Returns whether `firstboot exec` passes a variable with this name to the program.
pub(super) fn passes(name: &OsStr) -> bool {
    let name = name.as_bytes();
    PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix.as_bytes()))
        || NAMES.iter().any(|known| name == known.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_passed_and_proxy_variables_are_not() {
        for name in [
            "ETCD_NAME",
            "NOTIFY_SOCKET",
            "PATH",
            "LC_ALL",
            "AWS_ACCESS_KEY_ID",
            "GOMEMLIMIT",
        ] {
            assert!(passes(OsStr::new(name)), "{name}");
        }
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
        for name in proxies
            .map(str::to_lowercase)
            .iter()
            .map(String::as_str)
            .chain(proxies)
        {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
        for name in [
            "SSL_CERT_FILE",
            "LD_PRELOAD",
            "REQUEST_METHOD",
            "MY_ETCD_NAME",
            "",
        ] {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
    }
}
