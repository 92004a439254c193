//! The builder embeds the files in kickstart/. Cargo must watch that folder, because a new file in
//! it does not change any Rust file.

fn main() {
    println!("cargo::rerun-if-changed=../kickstart");
}
