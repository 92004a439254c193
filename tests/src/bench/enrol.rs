//! Measures how many machines per second `builder serve` enrols, if all machines of a large cluster
//! send their first certificate requests at the same time. firstboot sends such requests if the
//! recipe sets `enrol` in `[tls]`.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use recipes::node::PURPOSES;
use recipes::pem;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::machines::{COUNT, ENROL, Machines, connect};
use super::server::{cpu, peak_mib};
use super::{median, spread};
use crate::tls;

/// The pause before a machine repeats its request, as in firstboot.
const PAUSE: Duration = Duration::from_secs(1);

/// Measures the first enrolment of all machines.
pub fn run(runs: usize) -> Result<String> {
    let machines = Machines::new(&format!(
        "\n[tls]\nkeys = \"node\"\nenrol = \"https://{ENROL}/\"\n"
    ))?;
    let requests = (0..COUNT).map(|_| request()).collect::<Result<Vec<_>>>()?;
    let (mut elapsed, mut used) = (Vec::new(), Vec::new());
    let (mut memory, mut repeated) = (0, 0);
    for _ in 0..runs {
        let (pki, recipe) = (machines.pki(), machines.recipe.to_string_lossy());
        let options = ["--enrol", "0.0.0.0:8443", "--recipe", &recipe, "--pki"];
        let server = machines.serve(&[&options[..], &[&pki.to_string_lossy()]].concat())?;
        let before = cpu(server.id())?;
        let begun = Instant::now();
        repeated += machines.within(|| enrol_all(&machines.addresses, &requests))?;
        elapsed.push(begun.elapsed());
        used.push(cpu(server.id())?.saturating_sub(before));
        memory = memory.max(peak_mib(server.id())?);
    }
    let rate = f64::from(COUNT) / median(elapsed.clone()).as_secs_f64();
    Ok(format!(
        "{rate:.1} enrolments a second; until all machines have their certificates {}; CPU {}\n\
         {COUNT} machines of one recipe at once, three certificates each, over HTTPS, {runs} runs; \
         {repeated} requests were repeated; peak memory {memory} MiB\n",
        spread(&elapsed),
        spread(&used),
    ))
}

/// Returns the text of a request for the certificates of three new keys, as firstboot sends it.
fn request() -> Result<String> {
    let mut text = String::new();
    for purpose in PURPOSES {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = CertificateParams::new(vec![format!("etcd-image {purpose}")])?;
        text += &pem::encode("CERTIFICATE REQUEST", params.serialize_request(&key)?.der());
    }
    Ok(text)
}

/// Enrols all machines, and returns the number of repeated requests.
fn enrol_all(addresses: &[Ipv4Addr], requests: &[String]) -> Result<u32> {
    let config = tls::any_server()?;
    let repeated = AtomicU32::new(0);
    thread::scope(|scope| {
        let enrol = |(own, text): (&Ipv4Addr, &String)| {
            let (own, text) = (*own, text.clone());
            let (config, repeated) = (Arc::clone(&config), &repeated);
            scope.spawn(move || {
                while !enrol(own, &text, &config)? {
                    repeated.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
                Ok(())
            })
        };
        let machines: Vec<_> = addresses.iter().zip(requests).map(enrol).collect();
        let join = |machine: thread::ScopedJoinHandle<'_, Result<()>>| {
            machine.join().map_err(|_| anyhow!("a machine panicked"))?
        };
        machines.into_iter().try_for_each(join)
    })?;
    Ok(repeated.into_inner())
}

/// Sends a request. Returns true if the server has answered with certificates, and false if the
/// server has asked the machine to repeat the request.
fn enrol(own: Ipv4Addr, request: &str, config: &Arc<ClientConfig>) -> Result<bool> {
    let name = ServerName::try_from("enrol")?;
    let connection = ClientConnection::new(Arc::clone(config), name)?;
    let mut stream = StreamOwned::new(connection, connect(own, ENROL)?);
    write!(
        stream,
        "POST /enrol?serial=S1 HTTP/1.1\r\nHost: {ENROL}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{request}",
        request.len()
    )?;
    let mut reply = String::new();
    // Ignore the error after the answer, because the server does not wait for the end of the TLS
    // session.
    let _ = stream.read_to_string(&mut reply);
    let status = reply.get(9..12).context("the server does not answer")?;
    ensure!(status == "200" || status == "503", "{own}: {reply}");
    Ok(status == "200" && reply.contains("payload"))
}
