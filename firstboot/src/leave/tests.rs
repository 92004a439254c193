//! Tests the result of `firstboot leave`.

use super::*;
use crate::documentation::{JSON, documented, keys};

#[test]
fn the_documentation_lists_exactly_the_keys_of_the_result() {
    assert_eq!(
        documented(JSON, "firstboot leave"),
        keys(&JsonOutput::left(7))
    );
}
