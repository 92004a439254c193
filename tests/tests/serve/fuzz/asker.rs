//! The machines that send requests, and the keys, addresses and tokens that an attacker may have.

use std::net::IpAddr;
use std::sync::Mutex;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tests::network::Namespace;

/// Three keys, and the requests for certificates for these keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The requests, in DER.
    pub(super) requests: Vec<Vec<u8>>,
    /// The public keys, as points on the elliptic curve.
    pub(super) points: Vec<Vec<u8>>,
}

/// A machine that sends requests.
pub(super) struct Asker {
    /// The name of the machine's node. A stranger's name does not belong to any node.
    pub(super) name: &'static str,
    pub(super) mac: String,
    pub(super) namespace: Namespace,
    /// The address at which the machine reaches the server.
    pub(super) server: IpAddr,
    /// Whether the machine is the server's own host and sends its requests to the loopback address.
    pub(super) is_local: bool,
    /// The enrolled keys of the node, if this is a node's machine.
    pub(super) keys: Option<Keys>,
}

/// The addresses, keys and tokens that an attacker might have intercepted or made.
pub(super) struct Knowledge {
    pub(super) macs: Vec<String>,
    /// The keys of the nodes, and of an attacker.
    pub(super) keys: Vec<Keys>,
    pub(super) board_token: String,
    /// The tokens that the server sent with the installer, each with the machine that received it.
    pub(super) tokens: Mutex<Vec<(String, String)>>,
}

impl Keys {
    pub(super) fn new() -> Result<Self> {
        let (mut requests, mut points) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let request =
                CertificateParams::new(vec!["etcd-3".to_owned()])?.serialize_request(&key)?;
            requests.push(request.der().to_vec());
            points.push(key.public_key_raw().to_vec());
        }
        Ok(Self { requests, points })
    }

    /// Returns the requests as firstboot would print them.
    pub(super) fn text(&self) -> String {
        let blocks = self.requests.iter();
        blocks
            .map(|der| recipes::pem::encode("CERTIFICATE REQUEST", der))
            .collect()
    }
}
