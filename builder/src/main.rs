//! Reads one recipe, makes the image for every node of an etcd cluster.

mod render;
mod tuning;

fn main() {}
