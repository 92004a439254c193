//! `[update]`: how running nodes install a newer image.

use std::str::FromStr;

use super::values::Base;
use crate::diagnostic::Diagnostic;
use crate::reader::Table;
use crate::schedule::Schedule;
use crate::update::{AutoUpdatePolicy, Reboot, SOAK, Update, UpdateMode};
use crate::window::Window;

/// The default interval at which a node looks for a newer image.
const EVERY: &str = "1 hour";

const EVERY_EXPECTED: &str = "expected 5, 6, 10, 12, 15, 20 or 30 minutes, or 1, 2, 3, 4, 6, 8, 12 or 24 hours, as in `30 minutes`";

const FROM_HELP: &str = "set `from` to the URL of the folder that contains release.json and image/, or set mode = \"manual\"";

/// The values that `mode` accepts.
#[derive(Clone, Copy)]
enum Mode {
    Manual,
    Auto,
}

/// The value of `every`: a number of minutes or hours.
struct Every(Schedule);

impl FromStr for Every {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        format!("every {text}")
            .parse()
            .map(Self)
            .map_err(|_| EVERY_EXPECTED)
    }
}

/// Returns a number of hours or minutes with its unit, for advice about a number without quotes.
fn every_in_words(bare: &str) -> Result<String, String> {
    let hours = if bare == "1" { "hour" } else { "hours" };
    let found = [hours, "minutes"]
        .map(|unit| format!("{bare} {unit}"))
        .into_iter()
        .find(|text| text.parse::<Every>().is_ok());
    found.ok_or_else(|| EVERY_EXPECTED.to_owned())
}

pub(super) fn read(root: &Table<'_>) -> Option<Update> {
    let table = root.table("update")?;
    let mode = table.choice("mode", &[("manual", Mode::Manual), ("auto", Mode::Auto)]);
    let from = table.value::<Base>("from");
    let soak = table.integer("soak-seconds", 10..=86_400);
    let reboot = table.choice(
        "reboot",
        &[
            ("never", Reboot::Never),
            ("when-needed", Reboot::WhenNeeded),
            ("always", Reboot::Always),
        ],
    );
    let auto = read_auto(&table);
    let mode = match mode.map(|at| at.value) {
        Some(Mode::Auto) => {
            if table.place("from").is_none() {
                let finding = Diagnostic::error(table.header(), "`mode = \"auto\"` needs `from`")
                    .label("the nodes do not know where to look for a newer image");
                table.report(finding.help(FROM_HELP));
            }
            UpdateMode::Auto(auto?)
        }
        Some(Mode::Manual) | None => {
            for key in ["every", "window"] {
                let message = format!("`{key}` has no effect: the operator starts each update");
                table.reject(key, &message, "set mode = \"auto\", or remove this key");
            }
            UpdateMode::Manual
        }
    };
    table.finish();
    Some(Update {
        mode,
        from: from.map(|at| at.value.url().clone()),
        soak_seconds: soak
            .and_then(|at| u32::try_from(at.value).ok())
            .unwrap_or(SOAK),
        reboot: reboot.map(|at| at.value).unwrap_or_default(),
    })
}

/// Reads `every` and `window`. A window must be long enough for two checks for a newer image,
/// because one check may be late, and the cluster may be unhealthy during the other check.
fn read_auto(table: &Table<'_>) -> Option<AutoUpdatePolicy> {
    let every = table.quantity::<Every>("every", every_in_words);
    let window = table.value::<Window>("window");
    let looks = every.map_or_else(|| EVERY.parse().ok(), |at| Some(at.value))?;
    if let Some(at) = &window
        && at.value.length() < 2 * looks.0.period()
    {
        let finding = Diagnostic::error(
            at.span.clone(),
            "the window is too short: a node may miss it",
        )
        .label("expected at least twice the interval in `every`");
        table.report(finding.help(format!(
            "lengthen the window, or set `every` to a shorter interval (default: {EVERY})"
        )));
    }
    Some(AutoUpdatePolicy {
        every: looks.0,
        window: window.map(|at| at.value),
    })
}
