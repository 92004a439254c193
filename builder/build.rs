//! The kickstart's files are compiled in. Cargo must watch the folder, since a new file in it
//! changes no Rust file.

fn main() {
    println!("cargo::rerun-if-changed=../kickstart");
}
