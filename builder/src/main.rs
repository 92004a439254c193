//! The program. Its code is in the library, from which `dist` also makes the manual pages and the
//! shell completions.

fn main() -> std::process::ExitCode {
    builder::main()
}
