//! The program. Its code is in the library, which `dist` also uses to generate the manual pages and
//! the shell completions.

fn main() -> std::process::ExitCode {
    builder::main()
}
