//! `builder serve`: serves an output over HTTP, so that a machine that boots from the network is
//! installed and receives its document without an operator. The image is public. The server hands
//! out a node's document only to the node's machine. A machine without an earlier document receives
//! the document only for a limited time. After the operator has allowed the installation, a machine
//! that loads iPXE, grub or pxelinux from the network is installed once, and then boots from its
//! disk.
//!
//! `server` accepts connections, and `client_request` parses a request. `pages` passes the request
//! to the module that answers it. `node_document` answers with a document, `install` with a script
//! for a boot loader, and `files` with a public file. `report` records the stages that machines
//! report. `reinstallation` lets a node ask to be installed again. `client_link` asks the kernel
//! how a machine is connected, and `identify` determines which node the machine is. `power`
//! switches machines on and off. `record` stores the state of the nodes, which survives a restart
//! of the server. `deliveries` also remembers the deliveries that could not be recorded. `board`
//! shows the state of the nodes.

mod authority;
mod board;
mod body;
mod boot;
mod client_link;
mod client_request;
mod cluster;
mod conditions;
mod connections;
mod deliveries;
mod enrolment;
mod files;
mod identify;
mod index;
mod install;
mod kickstart;
mod listen;
mod log;
mod netlink;
mod node_document;
mod pages;
mod pki_warnings;
mod power;
mod published;
pub(crate) mod record;
mod refusal;
mod reinstallation;
mod reply;
mod report;
mod server;
mod state;
mod stream;
mod tls;
mod tree;
mod unsaved_records;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::exit::{Exit, exit_error};
use crate::pki::{self, FirstKeyPolicy};
use crate::sign::CertificateAuthority;
use crate::{manifest, mirror, output};
use board::Board;
use board::hook::Hook;
use cluster::NodeCache;
pub(crate) use cluster::ServedCluster;
use deliveries::Deliveries;
use listen::Listen;
use log::Log;
use pki_warnings::PkiWarnings;
use power::Power;
use server::Endpoint;
use state::ServerState;
use tree::InstallTree;
use unsaved_records::UnsavedRecords;

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The output of `builder build`
    #[arg(default_value = "out")]
    out: PathBuf,
    /// The address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    listen: Listen,
    /// The folder with the record of installed machines and issued documents [default: OUT.state,
    /// which the cluster's first build creates]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The number of minutes for which a node may fetch its document again after the first download
    #[arg(long, default_value_t = 15, value_name = "MINUTES")]
    open: u64,
    /// Repeat an unfinished installation this many times. After that, the machine boots from its
    /// disk until you allow another installation
    #[arg(long, default_value_t = 3, value_name = "TIMES")]
    retries: u32,
    /// Let a node request its own reinstallation, which erases its disk except etcd's volume.
    /// `firstboot update --reinstall` sends this request
    #[arg(long)]
    reinstall: bool,
    /// The tree of CentOS 7.9 from which machines are installed: a folder, which the server then
    /// serves, or a URL
    #[arg(long, value_name = "FOLDER|URL")]
    tree: Option<InstallTree>,
    /// A folder that `builder mirror` has written. The server serves this folder at /mirror/. The
    /// installation tree in this folder is the default for --tree
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// A folder with network boot loaders (grub with shim, pxelinux). The server serves this folder
    /// at /loaders/, and generates the boot loaders' configurations that are requested there
    #[arg(long, value_name = "DIR", value_parser = folder)]
    loaders: Option<PathBuf>,
    /// Additional words for the installer's kernel line
    #[arg(long, value_name = "WORDS", default_value = "", value_parser = kernel_words)]
    append: String,
    /// Serve over HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Use the PKI in this folder to sign the requests of nodes that generate their keys themselves
    #[arg(long, value_name = "DIR", requires = "recipe")]
    pki: Option<PathBuf>,
    /// The recipe of the cluster, which provides the names and lifetimes of certificates
    #[arg(long, value_name = "FILE", requires = "pki")]
    recipe: Option<PathBuf>,
    /// The address and port for certificate requests, over HTTPS with the cluster's own key
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8443",
        requires = "pki"
    )]
    enrol: Listen,
    /// Sign a node's first request only after `builder pki approve` has approved its key
    #[arg(long, requires = "pki")]
    approve: bool,
    /// Log requests as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Also show the board (/board) and its metrics to other hosts, if they send the token in this
    /// file
    #[arg(long, value_name = "FILE")]
    board_token: Option<PathBuf>,
    /// Also show the board and its metrics to other hosts, if they connect over HTTPS with a client
    /// certificate from a CA in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    board_ca: Option<PathBuf>,
    /// Query the cluster's members for the board, with the client certificate in this folder
    #[arg(long, value_name = "DIR")]
    client: Option<PathBuf>,
    /// Run this command with /bin/sh for each event about a node. The command receives the event as
    /// a line of JSON on standard input
    #[arg(long, value_name = "COMMAND")]
    hook: Option<String>,
    /// Run this program to boot a machine from the network when its installation is allowed, and
    /// after an attempt that failed. The arguments of the program are the node's name and `on`,
    /// `off`, `cycle` or `netboot`
    #[arg(long, value_name = "COMMAND")]
    power: Option<PathBuf>,
}

/// Checks that the output is complete and unchanged, and then serves it until the process ends.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out.canonicalize().with_context(|| {
        format!(
            "cannot open `{}`, which must be a folder that `builder build --out` has written",
            options.out.display()
        )
    })?;
    check_unchanged(&out)?;
    let record_dir = record::folder(options.state.as_deref(), &out)?;
    check_folders(options, &out, &record_dir)?;
    let ca = match (&options.pki, &options.recipe) {
        (Some(pki), Some(recipe)) => {
            let first = if options.approve {
                FirstKeyPolicy::Approved
            } else {
                FirstKeyPolicy::Any
            };
            Some(authority::open(&out, pki, recipe, first)?)
        }
        _ => None,
    };
    let board = Board::new(
        &out,
        options.board_token.as_deref(),
        options.board_ca.as_deref(),
        options.client.as_deref(),
    )?;
    let endpoints = endpoints(options, ca.as_ref(), &board)?;
    let hook = options.hook.clone().map(Hook::start).transpose()?;
    let log = Log::start(options.json, hook)?;
    let power = options.power.as_deref().map(|program| {
        let record = ServedCluster::read(&out, &record_dir)?.record;
        Power::start(program, record, options.retries, log.clone())
    });
    let state = ServerState {
        nodes: NodeCache::default(),
        record_dir,
        document_window: Duration::from_secs(options.open.saturating_mul(60)),
        retries: options.retries,
        reinstall: options.reinstall,
        tree: options.tree.clone(),
        mirror: options.mirror.clone(),
        loaders: options.loaders.clone(),
        append: options.append.clone(),
        scheme: if endpoints[0].tls.is_some() {
            "https"
        } else {
            "http"
        },
        ca,
        log,
        power: power.transpose()?,
        board,
        deliveries: Deliveries::default(),
        unsaved_installations: UnsavedRecords::default(),
        pki_warnings: PkiWarnings::default(),
        out,
    };
    server::run(&Arc::new(state), &endpoints)
}

/// Refuses an incomplete mirror, and a folder that would publish a secret.
fn check_folders(options: &Options, out: &Path, record_dir: &Path) -> Result<()> {
    if let Some(mirror) = &options.mirror {
        mirror::check_complete(mirror)?;
    }
    let tree = match &options.tree {
        Some(InstallTree::Folder(folder)) => Some(folder),
        _ => None,
    };
    let published = [
        ("--tree", tree),
        ("--mirror", options.mirror.as_ref()),
        ("--loaders", options.loaders.as_ref()),
    ];
    let published = published
        .into_iter()
        .filter_map(|(option, folder)| Some((option, folder?.as_path())));
    let (nodes, default_pki) = (out.join("nodes"), output::default_pki(out));
    let named = [
        &options.pki,
        &options.tls_key,
        &options.board_token,
        &options.client,
    ];
    let secrets: Vec<&Path> = [nodes.as_path(), &default_pki, record_dir]
        .into_iter()
        .chain(named.into_iter().flatten().map(PathBuf::as_path))
        .collect();
    published::check(published, &secrets)
}

/// Refuses an output that differs from what was built.
fn check_unchanged(out: &Path) -> Result<()> {
    if manifest::verify(out, None)?.is_good() {
        return Ok(());
    }
    Err(exit_error(
        Exit::Different,
        format!(
            "{} differs from what was built: run `builder verify` to see where",
            out.display()
        ),
    ))
}

/// Parses the path of a folder that must exist.
fn folder(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    let is_folder = path.is_dir();
    is_folder
        .then_some(path)
        .ok_or_else(|| "expected an existing folder".to_owned())
}

/// Parses words for the kernel's command line, which also become part of the boot loaders' scripts.
fn kernel_words(words: &str) -> Result<String, String> {
    match words.chars().find(|c| c.is_control() || *c == '\'') {
        Some(c) => Err(format!(
            "the boot loaders cannot pass the character {c:?} to the kernel: expected words \
             separated by spaces, without apostrophes or line breaks"
        )),
        None => Ok(words.to_owned()),
    }
}

/// Returns the endpoints of the server: one for all requests and, if `ca` is given, one for
/// certificate requests over HTTPS with the cluster's own key.
fn endpoints(
    options: &Options,
    ca: Option<&CertificateAuthority>,
    board: &Board,
) -> Result<Vec<Endpoint>> {
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key, board.client_ca())?),
        _ => None,
    };
    let mut endpoints = vec![Endpoint {
        addresses: options.listen.0.clone(),
        tls,
    }];
    if let Some(ca) = ca {
        endpoints.push(Endpoint {
            addresses: options.enrol.0.clone(),
            tls: Some(tls::of_signing_key(&pki::signing_key(&ca.pki)?)?),
        });
    }
    Ok(endpoints)
}
