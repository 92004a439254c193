//! Tests, against a real server, that firstboot sends a request only to the server that holds the
//! signing key.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use recipes::SigningKey;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::exit::{Exit, code_of, id_of};

/// Starts a server that answers one connection. The returned thread returns the request that the
/// server received.
fn server(pkcs8: &[u8], answer: &'static str) -> (Url, JoinHandle<String>) {
    let pair = rcgen::KeyPair::try_from(pkcs8).unwrap();
    let params = rcgen::CertificateParams::new(vec!["any".to_owned()]).unwrap();
    let cert = params.self_signed(&pair).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(pkcs8.to_vec().into()),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let task = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        while !got.ends_with(b"the request") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => got.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        let _ = stream.write_all(answer.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
        String::from_utf8(got).unwrap()
    });
    (url.parse().unwrap(), task)
}

fn key() -> (Vec<u8>, PublicKey) {
    let pkcs8 = SigningKey::generate().unwrap();
    let public = SigningKey::from_pkcs8(&pkcs8).unwrap().public();
    (pkcs8, public)
}

fn post(url: &Url, signing_key: &PublicKey) -> Result<String, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = pinned(signing_key, url).map_err(HttpError::Final)?;
        let reply = send(client.post(url.clone()).body("the request"), "a test").await?;
        let body = reply.success("a test", &[])?;
        Ok(String::from_utf8(body).unwrap())
    })
}

#[test]
fn the_server_with_the_signing_key_gets_the_request_whatever_its_name() {
    let (pkcs8, public) = key();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
    let (url, task) = server(&pkcs8, answer);
    assert_eq!(post(&url, &public).unwrap(), "yes");
    assert!(task.join().unwrap().contains("the request"));
}

#[test]
fn a_server_with_another_key_gets_no_request() {
    let ((pkcs8, _), (_, signing_key)) = (key(), key());
    let (url, task) = server(&pkcs8, "");
    match post(&url, &signing_key) {
        Err(HttpError::Again(error)) => {
            let text = format!("{error:#}");
            assert!(text.contains("does not have the key"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(task.join().unwrap(), "");
}

#[test]
fn a_refusal_ends_the_requests_and_names_its_reason() {
    let (pkcs8, public) = key();
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 16\r\n\r\nno [wrong-card]\n";
    let (url, task) = server(&pkcs8, answer);
    let error = enrol(&url, &Machine::default(), "the request", &public).unwrap_err();
    assert_eq!(code_of(&error), Exit::Refused);
    assert_eq!(id_of(&error), Some(ReasonId::EnrolmentRefused));
    assert!(error.to_string().contains("no [wrong-card]"), "{error}");
    let got = task.join().unwrap();
    assert!(got.starts_with("POST /enrol"), "{got}");
}

#[test]
fn a_machine_that_the_server_does_not_know_yet_asks_again() {
    let (pkcs8, public) = key();
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n[unknown-machine]\n";
    let (url, task) = server(&pkcs8, answer);
    let error = enrol_once(&url, &Machine::default(), "the request", &public).unwrap_err();
    assert_eq!(code_of(&error), Exit::NotReady, "{error:#}");
    assert!(error.to_string().contains("[unknown-machine]"), "{error}");
    task.join().unwrap();
}
