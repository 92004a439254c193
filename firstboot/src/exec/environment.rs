//! What of its environment `firstboot exec` hands on.
//!
//! systemd gives each unit the variables of `DefaultEnvironment=` (system.conf), and systemd 219 cannot take one away from a unit:
//! `UnsetEnvironment=` came with 235 (NEWS). A proxy there would take etcd's connections to its peers (etcd-io/etcd#9763), and
//! SSL_CERT_FILE another CA. So the variables that pass are named.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Beginnings of names: etcd's own settings; the object store's keys; languages.
const PREFIXES: [&str; 3] = ["ETCD_", "AWS_", "LC_"];

/// Names: what systemd tells a service (systemd.exec(5), sd_notify(3)), the user, and how Go's runtime is tuned.
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

/// Whether the program gets the variable of this name.
pub(super) fn passes(name: &OsStr) -> bool {
    let name = name.as_bytes();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        || NAMES.iter().any(|known| name == known.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_pass_and_proxies_do_not() {
        for name in ["ETCD_NAME", "NOTIFY_SOCKET", "PATH", "LC_ALL", "AWS_ACCESS_KEY_ID", "GOMEMLIMIT"] {
            assert!(passes(OsStr::new(name)), "{name}");
        }
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
        for name in proxies.map(str::to_lowercase).iter().map(String::as_str).chain(proxies) {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
        for name in ["SSL_CERT_FILE", "LD_PRELOAD", "REQUEST_METHOD", "MY_ETCD_NAME", ""] {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
    }
}
