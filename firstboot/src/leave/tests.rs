//! Tests the result of `firstboot leave`.

use super::*;
use crate::documentation::{documented, keys};

#[test]
fn the_documentation_lists_exactly_the_keys_of_the_result() {
    assert_eq!(
        documented("json.md", "firstboot leave"),
        keys(&JsonOutput::left(7))
    );
}
