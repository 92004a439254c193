//! `tracer FOLDER PROGRAM ARGUMENT…` runs a program, and kills or holds it at the point that a file
//! in the folder names (see `tests::crash::tracer`).

use std::path::Path;
use std::process::ExitCode;

use tests::crash::tracer;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (folder, command) = match words.as_slice() {
        [folder, command @ ..] if !command.is_empty() => (folder, command),
        _ => {
            eprintln!("usage: tracer FOLDER PROGRAM ARGUMENT…");
            return ExitCode::from(2);
        }
    };
    tracer::run(Path::new(folder), command).unwrap_or_else(|error| {
        eprintln!("tracer: {error:#}");
        ExitCode::FAILURE
    })
}
