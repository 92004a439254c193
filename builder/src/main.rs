//! The builder program. The program's code is in the library, from which `dist` also generates the
//! manual pages and the shell completions.

fn main() -> std::process::ExitCode {
    builder::main()
}
