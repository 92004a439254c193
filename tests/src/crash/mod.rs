//! Power may fail at any instant: programs are killed at every call that changes something, and
//! must finish the same job when they are started again.
//!
//! `tracer` kills the program at one point; `order` passes it its orders; `call` decides which
//! calls are points; `clock` makes a program's clock wrong. `sweep` runs a scenario of `scenarios`
//! once for each of its points on the hosts of `bed`, and compares the `state` that each run ends
//! in.

pub mod bed;
mod call;
pub mod clock;
mod leaving;
pub mod order;
mod releases;
pub mod scenarios;
mod state;
pub mod sweep;
mod traced;
pub mod tracer;
mod updating;
