//! Tests the options of `firstboot run`.

use clap::Args as _;

use super::Options;

#[test]
fn a_dry_run_accepts_no_option_that_changes_the_node() {
    let parse = |words: &[&str]| {
        let command = Options::augment_args(clap::Command::new("run"));
        command.try_get_matches_from([&["run"], words].concat())
    };
    for order in [
        &["--without", "etcd-3"][..],
        &["--rejoin"],
        &["--accept-data"],
    ] {
        assert!(parse(order).is_ok(), "{order:?}");
        assert!(
            parse(&[&["--dry-run"], order].concat()).is_err(),
            "{order:?}"
        );
    }
}
