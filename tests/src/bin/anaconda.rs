//! The installer program in the virtual machines of the tests.

fn main() -> anyhow::Result<()> {
    tests::installer::install_this_machine()
}
