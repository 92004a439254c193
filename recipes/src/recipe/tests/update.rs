//! Tests of `[update]`.

use super::*;

#[test]
fn automatic_updates_need_a_source_and_a_window_that_is_long_enough() {
    let with = |lines: &str| changed("[firewall]", &format!("[update]\n{lines}\n[firewall]"));
    let update = |lines: &str| read(&with(lines)).recipe.unwrap().update.unwrap();
    let from = "from = \"http://10.0.0.5/\"";
    assert_eq!(update(from).auto(), None);
    let plain = update(&format!("mode = \"auto\"\n{from}")).auto().unwrap();
    assert_eq!(
        (plain.every.to_string(), plain.window),
        ("hourly".into(), None)
    );
    let auto = |lines: &str| with(&format!("mode = \"auto\"\n{from}\n{lines}"));
    let full = read(&auto(
        "every = \"30 minutes\"\nwindow = \"Sun 02:30 for 1 hour\"",
    ));
    let full = full.recipe.unwrap().update.unwrap();
    let json = serde_json::to_value(&full).unwrap();
    assert_eq!(
        json["mode"]["auto"],
        serde_json::json!({"every": "every 30 minutes", "window": "Sun 02:30 for 1 hour"})
    );
    assert_eq!(serde_json::from_value::<crate::Update>(json).unwrap(), full);

    assert!(!serde_json::to_string(&full).unwrap().contains("reboot"));
    let reboots = update("reboot = \"when-needed\"");
    assert_eq!(reboots.reboot, crate::update::Reboot::WhenNeeded);
    assert_eq!(
        serde_json::to_value(&reboots).unwrap()["reboot"],
        "when-needed"
    );
    refused(&with("reboot = true"), "`reboot` must be a string");

    refused(
        &with("mode = \"auto\""),
        "`mode = \"auto\"` needs `from` | the nodes do not know where to look",
    );
    refused(
        &auto("every = \"7 minutes\""),
        "expected 5, 6, 10, 12, 15, 20 or 30 minutes",
    );
    refused(
        &auto("window = \"02:30\""),
        "expected a schedule and a length, as in `02:30 for 2 hours`",
    );
    refused(
        &auto("window = \"02:30 for 119 minutes\""),
        "the window is too short",
    );
    for key in ["every = \"1 hour\"", "window = \"02:30 for 2 hours\""] {
        refused(&with(key), "has no effect: the operator starts each update");
    }
}
