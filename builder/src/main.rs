//! The program. All of it is in the library, from which `dist` makes the manual pages and the shell
//! completions.

fn main() -> std::process::ExitCode {
    builder::main()
}
