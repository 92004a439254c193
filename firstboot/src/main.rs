//! The program `firstboot`. All code of the program is in the library, from which `dist` generates
//! the manual pages and the shell completions.

fn main() -> std::process::ExitCode {
    firstboot::main()
}
