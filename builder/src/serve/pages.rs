//! What is served.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use recipes::{Envelope, NodeDocument};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use super::record::{Gift, Record, is_open};
use super::who::{Machine, No, Source, card, describe, who};
use super::{Tree, boot};
use crate::say;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker(pub(super) SocketAddr);

/// What is served, and how.
#[derive(Debug)]
pub(super) struct Site {
    /// The output: another build may replace it at any time.
    pub(super) out: PathBuf,
    /// What was given.
    pub(super) record: Record,
    /// For how long a document is handed out again.
    pub(super) open: Duration,
    /// What iPXE installs from.
    pub(super) tree: Option<Tree>,
    /// More words for the installer's kernel.
    pub(super) append: String,
    /// http or https.
    pub(super) scheme: &'static str,
    /// Whether it is told to programs.
    pub(super) json: bool,
}

/// One line of what happens.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    from: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    what: &'a str,
}

/// All pages.
pub(super) fn router(site: Arc<Site>) -> Router {
    let mut router = Router::new()
        .route("/", get(board))
        .route("/node.json", get(document))
        .route("/boot.ipxe", get(boot_script))
        .route("/image/centos7.ks", get(kickstart))
        .nest_service("/image", ServeDir::new(site.out.join("image")));
    if let Some(Tree::Folder(folder)) = &site.tree {
        router = router.nest_service("/tree", ServeDir::new(folder));
    }
    router.with_state(site)
}

/// Which nodes there are, and what each was given.
async fn board(State(site): State<Arc<Site>>) -> Response {
    let table = || -> Result<String> {
        let mut text = format!("{:<16}{:<17}{:<28}{:<28}\n", "NODE", "ADDRESS", "KICKSTART GIVEN", "DOCUMENT GIVEN");
        for node in site.nodes()? {
            let [kickstart, document] = [Gift::Kickstart, Gift::Document].map(|gift| {
                let given = site.record.given(&node.name, gift).ok().flatten();
                given.map_or_else(|| "-".to_owned(), date)
            });
            let _ =
                writeln!(text, "{:<16}{:<17}{kickstart:<28}{document}", node.name.as_str(), node.address.to_string());
        }
        Ok(text)
    };
    page(table().map(|text| (StatusCode::OK, text)))
}

/// The document of the machine that asks (firstboot's source `url`).
async fn document(State(site): State<Arc<Site>>, request: Request) -> Response {
    let Some((from, source)) = asks_from(&request) else { return no_address() };
    let machine = asked(request.uri());
    let answer = || -> Result<(StatusCode, String)> {
        let nodes = site.nodes()?;
        let node = match who(&nodes, &machine, source) {
            Ok(node) => node,
            Err(No::Unknown(why)) => return Ok((StatusCode::NOT_FOUND, site.no(from, None, &why)?)),
            Err(No::Refused(why)) => return Ok((StatusCode::FORBIDDEN, site.no(from, None, &why)?)),
        };
        let (name, now) = (node.name.as_str(), SystemTime::now());
        let given = site.record.given(&node.name, Gift::Document)?;
        if let Some(since) = given.filter(|_| !is_open(given, now, site.open)) {
            let folder = site.record.folder(&node.name);
            let why = format!(
                "the document of {name} was handed out at {}. Remove {} on the server to hand it out again",
                date(since),
                folder.display()
            );
            return Ok((StatusCode::FORBIDDEN, site.no(from, Some(name), &why)?));
        }
        let path = site.out.join("nodes").join(name).join("node.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        site.record.give(&node.name, Gift::Document, now)?;
        site.tell(from, Some(name), "its document is handed out")?;
        Ok((StatusCode::OK, text))
    };
    page(answer())
}

/// What a machine that boots from the network is to do.
async fn boot_script(State(site): State<Arc<Site>>, request: Request) -> Response {
    let Some((from, source)) = asks_from(&request) else { return no_address() };
    if request.uri().query().is_none() {
        return page(site.own_url(request.headers()).map(|server| (StatusCode::OK, boot::who(&server))));
    }
    let machine = asked(request.uri());
    let answer = || -> Result<(StatusCode, String)> {
        let nodes = site.nodes()?;
        let node = match who(&nodes, &machine, source) {
            Ok(node) => node,
            // It is no error: any machine of the network may come by here.
            Err(No::Unknown(why) | No::Refused(why)) => {
                return Ok((StatusCode::OK, boot::leave(&site.no(from, None, &why)?)));
            }
        };
        let name = node.name.as_str();
        if let Some(since) = site.record.given(&node.name, Gift::Kickstart)? {
            let folder = site.record.folder(&node.name);
            site.tell(from, Some(name), "it was installed, and boots from its disk")?;
            let why = format!(
                "{name} was installed at {}. Remove {} on the server to install it again",
                date(since),
                folder.display()
            );
            return Ok((StatusCode::OK, boot::leave(&why)));
        }
        let server = site.own_url(request.headers())?;
        let tree = match &site.tree {
            Some(Tree::Url(url)) => url.url().to_string(),
            Some(Tree::Folder(_)) => format!("{server}tree/"),
            None => {
                let why = "this server was started without --tree, and cannot install";
                return Ok((StatusCode::OK, boot::leave(&site.no(from, Some(name), why)?)));
            }
        };
        site.tell(from, Some(name), "it is told to install")?;
        Ok((StatusCode::OK, boot::install(&node.name, &tree, &server, &site.append)))
    };
    page(answer())
}

/// The kickstart, which is for everybody. Whose machine takes it has its disk wiped by it: that is written down.
async fn kickstart(State(site): State<Arc<Site>>, request: Request) -> Response {
    if let (&Method::GET, Some((from, source))) = (request.method(), asks_from(&request)) {
        let machine = installer(request.headers());
        let note = || -> Result<()> {
            let nodes = site.nodes()?;
            let Ok(node) = who(&nodes, &machine, source) else {
                return site.tell(from, None, &format!("the kickstart is taken by {}", describe(&machine)));
            };
            site.record.give(&node.name, Gift::Kickstart, SystemTime::now())?;
            site.tell(from, Some(node.name.as_str()), "it takes the kickstart")
        };
        if let Err(error) = note() {
            return page(Err(error));
        }
    }
    let folder = ServeDir::new(site.out.join("image"));
    let mut inner = Request::new(Body::empty());
    *inner.method_mut() = request.method().clone();
    *inner.uri_mut() = Uri::from_static("/centos7.ks");
    *inner.headers_mut() = request.headers().clone();
    match folder.oneshot(inner).await {
        Ok(answer) => answer.into_response(),
        Err(never) => match never {},
    }
}

impl Site {
    /// The nodes of the output as it is now.
    fn nodes(&self) -> Result<Vec<NodeDocument>> {
        let folder = self.out.join("nodes");
        let read = || fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>();
        let mut nodes = Vec::new();
        for entry in read().with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry.path().join("node.json");
            let read = || -> Result<NodeDocument> {
                let envelope: Envelope = serde_json::from_slice(&fs::read(&path)?)?;
                // By whom it is signed is the node's to judge, which knows by its image whom to trust.
                Ok(serde_json::from_slice(&envelope.unverified()?)?)
            };
            nodes.push(read().with_context(|| format!("{} is no node document", path.display()))?);
        }
        nodes.sort_by(|one: &NodeDocument, other| one.name.cmp(&other.name));
        Ok(nodes)
    }

    fn tell(&self, from: IpAddr, node: Option<&str>, what: &str) -> Result<()> {
        let line = Line { time: date(SystemTime::now()), from, node, what };
        let text = if self.json {
            serde_json::to_string(&line)?
        } else {
            let node = node.map_or_else(String::new, |node| format!(" {node}:"));
            format!("{} {from}{node} {what}", line.time)
        };
        Ok(say::result(text + "\n")?)
    }

    /// Tells why somebody gets nothing, and gives it back for the answer.
    fn no(&self, from: IpAddr, node: Option<&str>, why: &str) -> Result<String> {
        self.tell(from, node, &format!("refused: {why}"))?;
        Ok(why.to_owned())
    }

    /// This server, as the one who asks calls it.
    fn own_url(&self, headers: &HeaderMap) -> Result<String> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        // It becomes a word of a kernel line.
        let fits = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c));
        let host = Some(host).filter(|_| fits).context("the request names no host")?;
        Ok(format!("{}://{host}/", self.scheme))
    }
}

fn page(answer: Result<(StatusCode, String)>) -> Response {
    let (status, mut text) = answer.unwrap_or_else(|error| {
        eprintln!("builder: {error:#}");
        (StatusCode::INTERNAL_SERVER_ERROR, "the server failed; it says why on its console".to_owned())
    });
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut response = (status, text).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn no_address() -> Response {
    page(Ok((StatusCode::FORBIDDEN, "nodes have IPv4 addresses".to_owned())))
}

/// The address that a request comes from, and the card that has it.
fn asks_from(request: &Request) -> Option<(IpAddr, Source)> {
    let Asker(from) = request.extensions().get::<Asker>()?;
    let address: Ipv4Addr = match from.ip().to_canonical() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => return None,
    };
    let table = fs::read_to_string("/proc/net/arp").unwrap_or_default();
    Some((IpAddr::V4(address), Source { address, card: card(&table, address) }))
}

/// What a machine says of itself in a query.
fn asked(uri: &Uri) -> Machine {
    let pairs: Vec<_> = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
    Machine::read(pairs.iter().map(|(key, value)| (&**key, &**value)))
}

/// What anaconda's initramfs says of its machine, with `inst.ks.sendmac` and `inst.ks.sendsn`
/// (dracut/anaconda-ks-sendheaders.sh).
fn installer(headers: &HeaderMap) -> Machine {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let cards = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-rhn-provisioning-mac-"));
    // `ens3 52:54:00:00:00:01`
    let macs: Vec<String> =
        cards.filter_map(|(_, value)| text(value).split_whitespace().nth(1).map(str::to_owned)).collect();
    let serial = headers.get("x-system-serial-number").map(text);
    let pairs =
        macs.iter().map(|mac| ("mac", mac.as_str())).chain(serial.iter().map(|serial| ("serial", serial.as_str())));
    Machine::read(pairs)
}

fn date(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
