//! Turns a machine installed from the image into an etcd member.

fn main() {}
