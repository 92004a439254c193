//! Tests that a power failure at any instant is safe. The tests kill programs at every call that
//! changes something, and check that the programs finish the same work when they are started again.
//!
//! `tracer` kills or holds the program at one point; `order` passes orders to `tracer`; `call`
//! decides which calls are points; `clock` makes a program's clock wrong. `sweep` runs a scenario
//! from `scenarios` once for each of its points on the hosts of `bed`, and compares the final
//! `state` of each run with the state of an undisturbed run.

pub mod bed;
mod call;
pub mod clock;
mod leaving;
mod minor;
pub mod order;
mod releases;
pub mod scenarios;
mod state;
pub mod sweep;
mod traced;
pub mod tracer;
mod updating;

pub use releases::UpdateKind;
