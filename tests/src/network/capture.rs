//! Records the traffic of certain ports, as an eavesdropper on the network could.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Namespace;
use crate::process::KillOnDrop;

/// A program that writes frames to a file. It writes each frame with an IPv4 TCP packet from or to
/// one of these ports, and no other frames.
const SCRIPT: &str = r#"
import socket, sys
ports = set(int(port) for port in sys.argv[2:])
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
with open(sys.argv[1], "wb", buffering=0) as out:
    print("listening", flush=True)
    while True:
        packet = packets.recv(65535)
        if packet[12:14] != b"\x08\x00" or packet[23] != 6:
            continue
        tcp = packet[14 + (packet[14] & 15) * 4:]
        if {int.from_bytes(tcp[0:2], "big"), int.from_bytes(tcp[2:4], "big")} & ports:
            out.write(packet)
"#;

/// A recording that ends when it is dropped.
#[derive(Debug)]
pub struct Capture {
    _process: KillOnDrop,
    file: PathBuf,
}

impl Capture {
    /// Starts to record the traffic of these ports on all links of a namespace, into a file in this
    /// folder.
    pub fn start(namespace: &Namespace, folder: &Path, ports: &[u16]) -> Result<Self> {
        let (file, log) = (folder.join("packets"), folder.join("capture-log"));
        let mut python = namespace.command("python3");
        python.args(["-c", SCRIPT]).arg(&file);
        python.args(ports.iter().map(ToString::to_string));
        let mut process = KillOnDrop::spawn(&python, &File::create(&log)?)?;
        let end = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&log)?.contains("listening") {
            let over = process.ended()?.is_some() || Instant::now() > end;
            ensure!(!over, "{}", std::fs::read_to_string(&log)?);
            sleep(Duration::from_millis(20));
        }
        Ok(Self {
            _process: process,
            file,
        })
    }

    /// Returns the recorded packets.
    pub fn packets(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(&self.file)?)
    }
}
