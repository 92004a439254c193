//! The kickstart's files are compiled in; cargo is told so, since a new one among them changes no
//! Rust file.

fn main() {
    println!("cargo::rerun-if-changed=../kickstart");
}
