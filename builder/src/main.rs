//! Reads one recipe, makes the image for every node of an etcd cluster.

// The allowances go when `build`, `verify` and `pki show` call these.
#[allow(dead_code, unused_imports)]
pub mod manifest;
#[allow(dead_code, unused_imports)]
pub mod nodes;
#[allow(dead_code, unused_imports)]
pub mod output;
#[allow(dead_code, unused_imports)]
pub mod pki;

fn main() {}
