//! The test bed: real systemd hosts, a release mirror, a stand-in for the installer.
