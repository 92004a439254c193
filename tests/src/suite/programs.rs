//! The test programs that cargo built.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The name of the program's target, such as `bootstrap`.
    pub name: String,
    /// Whether the program uses Rust's own test harness, as the unit tests do.
    pub is_unit: bool,
    /// The path of the program.
    pub path: PathBuf,
    /// The folder of the program's package, in which cargo runs the program.
    pub folder: PathBuf,
}

/// Returns the test programs named in the messages of `cargo test --no-run --message-format=json`.
pub fn built(messages: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("cargo printed {line}"))?;
        if message["reason"] == "compiler-artifact" && message["profile"]["test"] == true {
            programs.extend(program(&message));
        }
    }
    Ok(programs)
}

fn program(message: &Value) -> Option<Program> {
    let target = &message["target"];
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some(Program {
        name: target["name"].as_str()?.to_owned(),
        // The end-to-end tests are the programs in this package's folder `tests`.
        is_unit: !folder.ends_with("tests")
            || target["kind"].as_array()?.iter().all(|kind| kind != "test"),
        path: message["executable"].as_str()?.into(),
        folder: folder.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_returned() -> Result<()> {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"kind":["lib"],"name":"a"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"kind":["lib"],"name":"a"},"profile":{"test":true},"executable":"/w/target/debug/deps/a-1"}
{"reason":"compiler-artifact","manifest_path":"/w/b/Cargo.toml","target":{"kind":["bin"],"name":"b"},"profile":{"test":false},"executable":"/w/target/debug/b"}
{"reason":"compiler-artifact","manifest_path":"/w/b/Cargo.toml","target":{"kind":["test"],"name":"c"},"profile":{"test":true},"executable":"/w/target/debug/deps/c-1"}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"name":"d"},"profile":{"test":true},"executable":"/w/target/debug/deps/d-1"}
{"reason":"build-finished","success":true}
"#;
        let program = |name: &str, is_unit: bool, folder: &str| Program {
            name: name.into(),
            is_unit,
            path: format!("/w/target/debug/deps/{name}-1").into(),
            folder: folder.into(),
        };
        assert_eq!(
            built(messages)?,
            [
                program("a", true, "/w/a"),
                program("c", true, "/w/b"),
                program("d", false, "/w/tests")
            ]
        );
        Ok(())
    }
}
