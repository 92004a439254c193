//! Tests a restore from a plain HTTPS server.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::cluster::etcdctl;
use tests::process::{self, KillOnDrop};
use tests::run;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT};

/// The path of the secret key on the node.
pub(super) const KEY: &str = "/root/key";

// A server that redirects /away/ to a server without TLS, and /moved/ to itself.
const SERVE: &str = "import http.server, ssl
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        for begin, to in (('/away/', 'http://10.101.15.1:9444/'), ('/moved/', 'https://10.101.15.1:9443/')):
            if self.path.startswith(begin):
                self.send_response(302)
                self.send_header('Location', to + self.path[len(begin):])
                self.send_header('Content-Length', '0')
                return self.end_headers()
        super().do_GET()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server = http.server.HTTPServer(('10.101.15.1', 9443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()";
const REQUEST: &str = "[req]
distinguished_name = name
x509_extensions = server
[name]
[server]
subjectAltName = IP:10.101.15.1
basicConstraints = critical, CA:FALSE
";
/// Tests a restore from a server that supports no ranges and has no manifest. firstboot refuses an
/// unknown certificate and a redirect to a server without TLS.
pub(super) fn from_a_server(bed: &Bed) -> Result<()> {
    let (host, world) = (&bed.hosts[0], bed.provisioning.network.world());
    let folder = run::current()?.folder("https")?;
    fs::write(folder.join("request"), REQUEST)?;
    let request = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=x -config request";
    process::run(
        Command::new("openssl")
            .args(request.split_whitespace())
            .current_dir(&folder),
    )?
    .ok()?;
    fs::copy(
        host.path("/root/theirs.db.age"),
        folder.join("theirs.db.age"),
    )?;
    host.write("/root/cert.pem", fs::read(folder.join("cert.pem"))?, 0o600)?;
    let mut python = world.command("python3");
    let _server = KillOnDrop::spawn(
        python.args(["-c", SERVE]).current_dir(&folder),
        &fs::File::create(folder.join("log"))?,
    )?;
    etcdctl(host, "put answer 44")?;
    let restore = "SSL_CERT_FILE=/root/cert.pem firstboot restore https://10.101.15.1:9443";
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while !process::run(world.command("curl").args([
        "-sk",
        "-o",
        "/dev/null",
        "https://10.101.15.1:9443/",
    ]))?
    .success()
    {
        ensure!(Instant::now() < end, "the server does not answer");
        sleep(Duration::from_millis(100));
    }
    let stranger = host.run(&[
        "firstboot",
        "restore",
        "https://10.101.15.1:9443/theirs.db.age",
        "--deadline",
        "1",
    ])?;
    ensure!(
        stranger.code() == 4 && stranger.stderr.contains("certificate"),
        "{stranger:?}"
    );
    let away = host.sh(&format!("{restore}/away/theirs.db.age --identity {KEY}"))?;
    ensure!(
        away.code() == 3 && away.stderr.contains("[store-denied]"),
        "{away:?}"
    );
    let said = host
        .sh(&format!("{restore}/moved/theirs.db.age --identity {KEY}"))?
        .ok()?;
    ensure!(said.contains("because it has no manifest"), "{said}");
    ensure!(etcdctl(host, "get answer --print-value-only")?.trim() == "42");
    Ok(())
}
