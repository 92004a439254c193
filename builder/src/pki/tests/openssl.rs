//! Tests that openssl, which is independent of this program, accepts the certificates.

use std::path::Path;
use std::process::Command;

use super::{Folder, now};

/// Runs openssl, and returns its output. Fails the test if openssl is missing or reports an error.
pub(super) fn openssl(args: &[&str], paths: &[&Path]) -> String {
    let output = Command::new("openssl").args(args).args(paths).output();
    let output = output.expect("this test needs the program openssl, which `make test` installs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {text}");
    text
}

#[test]
fn openssl_accepts_the_certificates() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let ca = folder.file("ca.crt");
    for (name, purpose) in [
        ("server", "sslserver"),
        ("server", "sslclient"),
        ("peer", "sslserver"),
        ("peer", "sslclient"),
        ("client", "sslclient"),
    ] {
        let cert = folder.file(&format!("nodes/etcd-1/{name}.crt"));
        let args = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile"];
        openssl(&args, &[&ca, &cert]);
    }
    let cert = folder.file("nodes/etcd-1/server.crt");
    let text = openssl(&["x509", "-noout", "-text", "-in"], &[&cert]);
    for expected in [
        "Subject: O = demo, CN = etcd-1.cluster.local",
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:localhost",
        "IP Address:10.101.15.101",
        "IP Address:0:0:0:0:0:0:0:1",
        "prime256v1",
        "ecdsa-with-SHA256",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = openssl(&["x509", "-noout", "-text", "-in"], &[&ca]);
    for expected in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = openssl(
        &["x509", "-noout", "-fingerprint", "-sha256", "-in"],
        &[&cert],
    );
    let shown = folder.leaf("server").fingerprint().to_string();
    assert!(text.replace(':', "").to_lowercase().contains(&shown));
}
