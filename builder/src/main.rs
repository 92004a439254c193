//! Reads one recipe, makes the image for every node of an etcd cluster.

// Until `build`, `verify` and `pki show` call them.
#[allow(dead_code, unused_imports)]
pub mod pki;

#[allow(dead_code)]
pub mod nodes;

#[allow(dead_code)]
pub mod output;

fn main() {}
