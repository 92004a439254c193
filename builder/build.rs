//! The builder contains the kickstart's files. Cargo must watch the folder, because a new file in
//! it does not change any Rust file.

fn main() {
    println!("cargo::rerun-if-changed=../kickstart");
}
