//! Reads one recipe, makes the image for every node of an etcd cluster.

#[allow(dead_code, reason = "the build command comes later")]
mod elf;
#[allow(dead_code, unused_imports, reason = "the build command comes later")]
mod overlay;
#[allow(dead_code, unused_imports, reason = "the build command comes later")]
mod release;

fn main() {}
