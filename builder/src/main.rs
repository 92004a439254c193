//! Reads one recipe, makes the image for every node of an etcd cluster.

mod manifest;
mod nodes;
mod output;
mod pki;
mod render;
mod tuning;

fn main() {}
