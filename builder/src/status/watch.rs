//! Repeats the report until the program is interrupted or its output is closed.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use members::survey::DataComparison;

use super::cluster_access::ClusterAccess;
use super::report::Report;
use super::text;

/// The escape sequences that clear the terminal and move the cursor to the top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Prints the report repeatedly.
pub(super) async fn run(
    access: &ClusterAccess,
    comparison: DataComparison,
    json: bool,
    pause: Duration,
) -> Result<()> {
    let redraw = io::stdout().is_terminal() && !json;
    loop {
        let report = Report::ask(access, comparison).await;
        let text = if json {
            serde_json::to_string(&report)? + "\n"
        } else if redraw {
            format!("{CLEAR}{}", text::full(&report))
        } else {
            text::line(&report)
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // A reader that closes the pipe wants no further reports.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        drop(out);
        tokio::time::sleep(pause).await;
    }
}
