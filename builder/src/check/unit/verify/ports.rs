//! Lists the ports of a socket unit.

use crate::check::systemd::address::{self, Family};
use crate::check::text::TextSpan;
use crate::check::unit::loaded::{LocatedSpan, Unit};

/// An endpoint on which a socket unit listens. systemd's code calls it a port.
pub(super) struct Port<'a> {
    pub(super) at: LocatedSpan<'a>,
    /// The port's path in the file system, if the port has a path.
    pub(super) path: Option<TextSpan<'a>>,
    /// Whether the port can accept connections.
    pub(super) accepts: bool,
    pub(super) is_node: bool,
}

pub(super) fn ports<'a>(unit: &Unit<'a>) -> Vec<Port<'a>> {
    const KEYS: [&str; 7] = [
        "ListenStream",
        "ListenDatagram",
        "ListenSequentialPacket",
        "ListenFIFO",
        "ListenNetlink",
        "ListenSpecial",
        "ListenMessageQueue",
    ];
    let mut ports = Vec::new();
    for (file, line) in unit.since_reset("Socket", &KEYS) {
        let (key, value) = (line.assignment.key.text, line.assignment.value);
        let is_path = match key {
            "ListenFIFO" | "ListenSpecial" => true,
            "ListenNetlink" | "ListenMessageQueue" => false,
            _ => value.text.starts_with('/') && address::parse(value.text) == Ok(Family::Unix),
        };
        ports.push(Port {
            at: (file, value),
            path: is_path.then_some(value),
            accepts: ["ListenStream", "ListenSequentialPacket"].contains(&key),
            is_node: is_path && key != "ListenSpecial",
        });
    }
    ports
}
