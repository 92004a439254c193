//! Power may fail at any instant: programs are ended at every call that changes something, and must
//! finish the same job when they are started again.
//!
//! `tracer` kills the program at one point; `order` passes it its orders; `call` says which calls
//! are points; `clock` sets a program's clock off. `sweep` runs a scenario of `scenarios` once for
//! each of its points on the hosts of `bed`, and compares the `state` they end in.

pub mod bed;
mod call;
pub mod clock;
mod leaving;
pub mod order;
pub mod scenarios;
mod state;
pub mod sweep;
mod traced;
pub mod tracer;
