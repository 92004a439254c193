//! Models of the clouds' metadata services: how they answer requests, and how they refuse requests.
//! Each rule cites its source.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::network::Network;
use crate::server::Request;

/// The cloud that the service belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Nova's metadata service, behind Neutron's proxy.
    Openstack,
    /// EC2's metadata service, which requires tokens.
    Ec2,
    /// Google's metadata service.
    Gce,
    /// Azure's metadata service.
    Azure,
}

/// The state that determines the service's answers. A test can change this state at any time.
#[derive(Debug, Default)]
pub struct State {
    /// The user data, or `None` if the instance has none.
    pub user_data: Option<Vec<u8>>,
    /// The status codes of the failures that the service returns next, in reverse order.
    pub failures: Vec<u16>,
    /// EC2 with `HttpEndpoint=disabled`: every request is answered with 403.
    pub is_off: bool,
    /// EC2: the lifetime of each token, regardless of the requested lifetime.
    pub token_life: Option<Duration>,
    /// GCE: the answers lack the header `Metadata-Flavor: Google`, as if a different program
    /// answered at this address.
    pub is_stranger: bool,
    tokens: Vec<(String, Instant)>,
}

/// A service at 169.254.169.254 in the namespace `world` of a test network. The service is stopped
/// on drop.
#[derive(Debug)]
pub struct MetadataService {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    cloud: Cloud,
    state: Mutex<State>,
    requests: Mutex<Vec<Request>>,
    stop: AtomicBool,
}

/// An answer: its status code, its header lines and its body.
type Answer = (u16, &'static str, Vec<u8>);

impl MetadataService {
    /// Starts the service with this user data.
    pub fn start(network: &Network, cloud: Cloud, user_data: Option<Vec<u8>>) -> Result<Self> {
        network.add_address("169.254.169.254/32")?;
        let listener = network.world().listen("169.254.169.254:80")?;
        listener
            .set_nonblocking(true)
            .context("cannot make a socket non-blocking")?;
        let state = Mutex::new(State {
            user_data,
            ..State::default()
        });
        let shared = Arc::new(Shared {
            cloud,
            state,
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &theirs));
        Ok(Self {
            shared,
            accepting: Some(accepting),
        })
    }

    /// Returns the service's state, which the caller can change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Returns the requests so far, each as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests)
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // Errors are ignored, because a client may close its connection at any time.
            Ok((connection, _)) => drop(serve(&connection, shared)),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(mut connection: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    use std::io::Write as _;
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(request) = Request::read(connection)? else {
        return Ok(());
    };
    lock(&shared.requests).push(request.clone());
    let (status, headers, body) = answer(shared.cloud, &mut lock(&shared.state), &request);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    connection.write_all(&[head.as_bytes(), &body].concat())?;
    connection.shutdown(Shutdown::Write)
}

fn answer(cloud: Cloud, state: &mut State, request: &Request) -> Answer {
    if let Some(status) = state.failures.pop() {
        return refuse(status);
    }
    match cloud {
        Cloud::Openstack => openstack(state, request),
        Cloud::Ec2 => ec2(state, request),
        Cloud::Gce => gce(state, request),
        Cloud::Azure => azure(state, request),
    }
}

fn ok(body: impl Into<Vec<u8>>) -> Answer {
    (200, "", body.into())
}

fn refuse(status: u16) -> Answer {
    (
        status,
        "",
        format!("<html><body>{status}</body></html>").into_bytes(),
    )
}

/// Answers like nova/api/metadata, which returns 404 for a path that does not exist.
fn openstack(state: &State, request: &Request) -> Answer {
    match (
        request.method.as_str(),
        request.path.as_str(),
        &state.user_data,
    ) {
        ("GET", "/openstack/latest/meta_data.json", _) => ok(
            r#"{"uuid": "d8e02d56-2648-49a3-bf97-6be8f1204f38", "hostname": "etcd-1.novalocal", "availability_zone": "nova",
                  "launch_index": 0, "random_seed": "yu5ZnkqF2CqnDZVAfZgarGLoJkA=", "devices": []}"#,
        ),
        ("GET", "/openstack/latest/user_data", Some(data)) => ok(data.as_slice()),
        _ => refuse(404),
    }
}

/// Answers as AWS's page "Use the Instance Metadata Service" describes. The page defines the rules
/// for tokens and the meaning of the statuses 400, 401 and 403.
fn ec2(state: &mut State, request: &Request) -> Answer {
    if state.is_off || request.header("x-forwarded-for").is_some() {
        return refuse(403);
    }
    if request.path == "/latest/api/token" {
        let asked = request
            .header("x-aws-ec2-metadata-token-ttl-seconds")
            .and_then(|text| text.parse().ok());
        let Some(seconds @ 1..=21_600) = asked.filter(|_| request.method == "PUT") else {
            return refuse(400);
        };
        let life = state.token_life.unwrap_or(Duration::from_secs(seconds));
        let token = format!("AQAEA{:x}==", state.tokens.len());
        state.tokens.push((token.clone(), Instant::now() + life));
        return ok(token);
    }
    let token = request
        .header("x-aws-ec2-metadata-token")
        .unwrap_or_default();
    if !state
        .tokens
        .iter()
        .any(|(known, end)| known == token && Instant::now() < *end)
    {
        return refuse(401);
    }
    match (
        request.method.as_str(),
        request.path.as_str(),
        &state.user_data,
    ) {
        ("GET", "/2021-03-23/meta-data/instance-id", _) => ok("i-1234567890abcdef0"),
        ("GET", "/2021-03-23/user-data", Some(data)) => ok(data.as_slice()),
        _ => refuse(404),
    }
}

/// Answers as Google's page "About VM metadata" describes: requests need `Metadata-Flavor: Google`
/// and must not have `X-Forwarded-For`; every answer also contains `Metadata-Flavor: Google`.
fn gce(state: &State, request: &Request) -> Answer {
    let flavor = if state.is_stranger {
        ""
    } else {
        "Metadata-Flavor: Google\r\nServer: Metadata Server for VM\r\n"
    };
    let is_bad = request.header("metadata-flavor") != Some("Google")
        || request.header("x-forwarded-for").is_some();
    match (request.path.as_str(), &state.user_data) {
        _ if is_bad => (403, flavor, Vec::new()),
        ("/computeMetadata/v1/instance/id", _) => (200, flavor, b"5993721742519379961".to_vec()),
        ("/computeMetadata/v1/instance/attributes/user-data", Some(data)) => {
            (200, flavor, data.clone())
        }
        _ => (404, flavor, Vec::new()),
    }
}

/// Answers as Microsoft's page "Azure Instance Metadata Service" describes: requests need
/// `Metadata: true` and `api-version`, and user data is encoded in base64.
fn azure(state: &State, request: &Request) -> Answer {
    let query = request.query.as_deref().unwrap_or_default();
    let is_good = request.header("metadata") == Some("true") && query.contains("api-version=20");
    if !is_good || request.header("x-forwarded-for").is_some() {
        return (
            400,
            "",
            br#"{"error":"Bad request. Required metadata header not specified"}"#.to_vec(),
        );
    }
    match request.path.as_str() {
        "/metadata/instance/compute/vmId" => ok("02aab8a4-74ef-476e-8182-f6d2ba4166a6"),
        "/metadata/instance/compute/userData" => ok(state
            .user_data
            .as_ref()
            .map_or_else(String::new, |data| STANDARD.encode(data))),
        _ => refuse(404),
    }
}
