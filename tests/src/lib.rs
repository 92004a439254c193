//! The test bed: real systemd hosts, a release mirror, and a stand-in for the installer.
//!
//! An end-to-end test is a function that is passed to [`harness::main`]. The function makes a
//! [`network::Network`], adds [`host::Host`]s, and uses [`base`], [`etcd`], [`server`] and
//! [`installer`]. Everything runs in the test process's own namespaces, so the kernel cleans up
//! regardless of how the process ends. The next run removes files that remain on the disk (see
//! [`run`]).

pub mod base;
pub mod bench;
pub mod browser;
pub mod cache;
mod cgroup;
pub mod client;
pub mod cloud;
pub mod cluster;
pub mod crash;
pub mod disk;
pub mod etcd;
pub mod harness;
pub mod host;
pub mod installer;
pub mod kernel;
pub mod linearizability;
pub mod lossy;
pub mod netboot;
pub mod network;
pub mod node_disk;
pub mod overlay;
pub mod packages;
pub mod process;
pub mod programs;
pub mod progress;
pub mod reference_setup;
pub mod repack;
pub mod requirement;
pub mod run;
pub mod s3;
pub mod secrets;
pub mod server;
pub mod suite;
pub mod tls;
pub mod vm;
