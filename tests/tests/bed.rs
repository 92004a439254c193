//! The bed itself.
fn main(){}
