//! Power may fail at any instant: programs are ended at every call that changes something, and must
//! finish the same job when they are started again.
//!
//! `tracer` ends a program at one point; `order` is how it is told; `call` says which calls are
//! points; `clock` is one that is off. `sweep` runs a scenario of `scenarios` once for each of its
//! points on the hosts of `bed`, and compares the `state` they end in.

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
