//! `[update]`: how running nodes install a newer image.

use super::values::Base;
use crate::reader::Table;
use crate::update::{SOAK, Update, UpdateMode};

pub(super) fn read(root: &Table<'_>) -> Option<Update> {
    let table = root.table("update")?;
    let mode = table.choice("mode", &[("manual", UpdateMode::Manual)]);
    let from = table.value::<Base>("from");
    let soak = table.integer("soak-seconds", 10..=86_400);
    table.finish();
    Some(Update {
        mode: mode.map_or(UpdateMode::Manual, |at| at.value),
        from: from.map(|at| at.value.url().clone()),
        soak_seconds: soak
            .and_then(|at| u32::try_from(at.value).ok())
            .unwrap_or(SOAK),
    })
}
