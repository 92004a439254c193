//! Reads one recipe, makes the image for every node of an etcd cluster.

#[cfg_attr(not(test), expect(dead_code, reason = "the build command comes later"))]
mod elf;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the build command comes later"))]
mod release;

fn main() {}
