//! `builder serve`: an output over http, so that a machine that is switched on becomes its node with nobody at it. The image
//! is for everybody; a node's document goes to the machine that is this node, and not for long; iPXE installs a machine once.
//!
//! `who` says which node a machine is, `record` what it was given, `boot` what iPXE is told; `pages` puts them together.

mod boot;
mod pages;
mod record;
mod tls;
mod who;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use recipes::recipe::Base;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::exit::{Exit, stop};
use crate::manifest;
use pages::{Asker, Site};
use record::Record;

/// How long somebody may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The output of `builder build`
    #[arg(default_value = "out")]
    out: PathBuf,
    /// The address and port to serve at
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// For how many minutes a node's document is handed out again, once it was
    #[arg(long, default_value_t = 15, value_name = "MINUTES")]
    open: u64,
    /// The tree of CentOS 7.9 that iPXE installs from: a folder, which is served, or an http URL
    #[arg(long, value_name = "FOLDER|URL")]
    tree: Option<Tree>,
    /// More words on the installer's kernel line
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// Serve by https with this certificate (chain, PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Say what was asked and answered for programs, a line of JSON each
    #[arg(long)]
    json: bool,
}

/// Where a tree is.
#[derive(Debug, Clone)]
enum Tree {
    Folder(PathBuf),
    Url(Base),
}

impl FromStr for Tree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return text.parse().map(Self::Url);
        }
        let folder = PathBuf::from(text);
        let kernel = folder.join("images/pxeboot/vmlinuz");
        if kernel.is_file() { Ok(Self::Folder(folder)) } else { Err(format!("no kernel at {}", kernel.display())) }
    }
}

/// Serves until it is ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out.canonicalize().with_context(|| format!("cannot find {}", options.out.display()))?;
    let report = manifest::verify(&out, None)?;
    if !report.is_good() {
        return Err(stop(
            Exit::Different,
            format!("{} is not what was built: `builder verify` says more", out.display()),
        ));
    }
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let site = Arc::new(site(options, &out, scheme));
        eprintln!("serving {} at {scheme}://{}/", out.display(), listener.local_addr()?);
        let app = pages::router(site);
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                // Too many files are open, most likely: others close theirs soon.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (app, tls) = (app.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, from, app).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                            answer(stream, from, app).await;
                        }
                    }
                }
            });
        }
    })
}

fn site(options: &Options, out: &Path, scheme: &'static str) -> Site {
    Site {
        out: out.to_owned(),
        record: Record::beside(out),
        open: Duration::from_secs(options.open * 60),
        tree: options.tree.clone(),
        append: options.append.clone(),
        scheme,
        json: options.json,
    }
}

/// Answers all that comes on one connection.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send, from: SocketAddr, app: axum::Router) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Asker(from));
        app.clone().oneshot(request)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that goes away in the middle is its own matter.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}
