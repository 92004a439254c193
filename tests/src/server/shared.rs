//! The state that the threads of a server share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::fault::Fault;
use super::request::Request;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) faults: Mutex<HashMap<String, Vec<Fault>>>,
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) stop: AtomicBool,
}
