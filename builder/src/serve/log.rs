//! The log, which a separate thread writes. Each event is one line of printable ASCII with a
//! limited length. A client cannot use the log to fill the disk quickly or to forge a line. If the
//! program that reads the log stops, or if the disk is full, only the log stops, and the server
//! continues to answer requests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use recipes::Mac;
use serde::Serialize;

use super::board::hook::Hook;
use super::record::time;
use super::refusal::RefusalId;
use crate::console;
use crate::exit::with_causes;

/// The maximum length of the text in a line.
const MAX_LINE_CHARS: usize = 400;
/// The period to which the following limits apply.
const BUDGET_PERIOD: Duration = Duration::from_secs(10);
/// The maximum number of lines of each kind for each client.
const MAX_LINES_PER_SOURCE: u32 = 20;
/// The maximum number of lines of all kinds for all clients together. When this limit is reached,
/// the server omits only ordinary lines.
const MAX_LINES_PER_PERIOD: u32 = 400;
/// The address under which the server's own lines are counted.
const OWN_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The maximum number of lines waiting to be written.
const MAX_QUEUED_LINES: usize = 1024;

/// The kind of a line. The lines of each kind have their own limit, so that a client cannot hide a
/// line of one kind behind many lines of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LineKind {
    /// A refusal, or an event that is not about a node. Any client can cause such lines.
    Ordinary,
    /// An event about a node. The node's machine can repeat most of these events at will.
    Node,
    /// The delivery of a document, certificates or the installer to a node's machine. From such
    /// lines, an operator can detect a delivery to the wrong machine.
    Delivery,
    /// An error of the server itself.
    Trouble,
}

/// An event.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    #[serde(skip)]
    pub(super) kind: LineKind,
    #[serde(serialize_with = "as_text")]
    pub(super) time: SystemTime,
    /// The address of the client, or `None` for an event of the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<IpAddr>,
    /// The MAC address of the network card that has the client's IP address, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) card: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    /// The id of the refusal, if the request was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<RefusalId>,
    pub(super) what: String,
}

fn as_text<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::text(*at))
}

/// An entry of the log: an event, which is written to standard output, or an error of the server
/// itself, which is written to standard error.
#[derive(Debug)]
enum Entry {
    Event(Line),
    Trouble(String),
}

/// A handle for writing to the log.
#[derive(Debug, Clone)]
pub(super) struct Log(SyncSender<Entry>);

impl Log {
    /// Starts the thread that writes the log. `json` selects JSON lines. The hook is called with
    /// each logged event about a node.
    pub(super) fn start(json: bool, hook: Option<Hook>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_QUEUED_LINES);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&receiver, json, hook.as_ref()))?;
        Ok(Self(sender))
    }

    /// Logs an event, or drops it if too many events are queued, so that no request waits for the
    /// log.
    pub(super) fn add(&self, mut line: Line) {
        line.what = printable(&line.what);
        let _ = self.0.try_send(Entry::Event(line));
    }

    /// Logs an error of the server itself, such as a full disk or damaged output.
    pub(super) fn error(&self, error: &anyhow::Error) {
        let _ = self
            .0
            .try_send(Entry::Trouble(printable(&with_causes(error))));
    }
}

fn write_all(entries: &Receiver<Entry>, json: bool, hook: Option<&Hook>) {
    let mut budget = Budget::new(Instant::now());
    loop {
        let received = entries.recv_timeout(BUDGET_PERIOD);
        if let Some(left_out) = budget.begin_period(Instant::now()) {
            let text = format!(
                "{left_out} more lines were omitted from the log within {} s",
                BUDGET_PERIOD.as_secs()
            );
            let json_line = format!("{{\"left-out\":{left_out}}}");
            let _ = console::result(if json {
                json_line + "\n"
            } else {
                format!("{} {text}\n", time::text(SystemTime::now()))
            });
        }
        match received {
            Ok(Entry::Trouble(text)) if budget.allows(OWN_SOURCE, LineKind::Trouble) => {
                console::error(&text);
            }
            Ok(Entry::Event(line)) if budget.allows(line.from.unwrap_or(OWN_SOURCE), line.kind) => {
                // A line that cannot be written is lost, because a full disk must not stop the
                // server.
                let _ = console::result(text(&line, json) + "\n");
                if let Some(hook) = hook.filter(|_| line.node.is_some()) {
                    hook.call(text(&line, true));
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn text(line: &Line, json: bool) -> String {
    if json {
        return serde_json::to_string(line).unwrap_or_default();
    }
    let card = line
        .card
        .map_or_else(String::new, |card| format!(" ({card})"));
    let node = line
        .node
        .as_deref()
        .map_or_else(String::new, |node| format!(" {node}:"));
    let refused = line
        .refused
        .map_or_else(String::new, |id| format!(" [{id}]"));
    let from = line
        .from
        .map_or_else(|| "server".to_owned(), |from| from.to_string());
    format!(
        "{} {from}{card}{node} {}{refused}",
        time::text(line.time),
        line.what
    )
}

/// Converts text to printable ASCII, and truncates the result to the maximum length of a line.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
        if out.len() >= MAX_LINE_CHARS {
            out.truncate(MAX_LINE_CHARS);
            out.push_str("...");
            break;
        }
    }
    out
}

/// The numbers of lines that were written and omitted in this period.
#[derive(Debug)]
struct Budget {
    since: Instant,
    written: u32,
    left_out: u32,
    by_source: HashMap<(IpAddr, LineKind), u32>,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            written: 0,
            left_out: 0,
            by_source: HashMap::new(),
        }
    }

    /// Begins a new period if the old period has ended. Returns the number of lines that were
    /// omitted in the old period. Returns `None` if no line was omitted, or if the old period has
    /// not ended.
    fn begin_period(&mut self, now: Instant) -> Option<u32> {
        if now.duration_since(self.since) < BUDGET_PERIOD {
            return None;
        }
        let left_out = self.left_out;
        *self = Self::new(now);
        (left_out > 0).then_some(left_out)
    }

    /// Decides whether a line may be written, and counts it. A line that is not ordinary is limited
    /// only by the number of its client's lines of the same kind. Other clients and lines of other
    /// kinds therefore cannot suppress this line.
    fn allows(&mut self, from: IpAddr, kind: LineKind) -> bool {
        // The table contains only the sources of written lines, so the size of the table is limited
        // too.
        let source = (from, kind);
        let own = self.by_source.get(&source).copied().unwrap_or_default();
        let is_free = kind != LineKind::Ordinary || self.written < MAX_LINES_PER_PERIOD;
        let allowed = own < MAX_LINES_PER_SOURCE && is_free;
        if allowed {
            self.by_source.insert(source, own + 1);
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn a_line_is_printable_and_short() {
        assert_eq!(
            printable("a\nb\u{202e}\x1b[2Jä"),
            "a\\nb\\u{202e}\\u{1b}[2J\\u{e4}"
        );
        let long = printable(&"\u{1f980}".repeat(10_000));
        assert!(
            long.len() <= MAX_LINE_CHARS + 3 && long.ends_with("..."),
            "{}",
            long.len()
        );
        assert_eq!(printable("etcd-1 is \"fine\" \\"), "etcd-1 is \"fine\" \\");
    }

    #[test]
    fn one_client_does_not_fill_the_log() {
        let begun = Instant::now();
        let mut budget = Budget::new(begun);
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        assert_eq!(
            (0..100)
                .filter(|_| budget.allows(ip(1), LineKind::Ordinary))
                .count(),
            MAX_LINES_PER_SOURCE as usize
        );
        assert!(
            budget.allows(ip(2), LineKind::Ordinary),
            "another client must have its own budget of lines"
        );
        assert_eq!(budget.begin_period(begun + Duration::from_secs(9)), None);
        assert_eq!(budget.begin_period(begun + BUDGET_PERIOD), Some(80));
        assert!(budget.allows(ip(1), LineKind::Ordinary));
    }

    #[test]
    fn many_clients_do_not_fill_the_log() {
        let mut budget = Budget::new(Instant::now());
        let askers = (0..=255).flat_map(|a| (0..=255).map(move |b| IpAddr::from([10, 0, a, b])));
        assert_eq!(
            askers
                .filter(|ip| budget.allows(*ip, LineKind::Ordinary))
                .count(),
            MAX_LINES_PER_PERIOD as usize
        );
        assert!(budget.by_source.len() <= MAX_LINES_PER_PERIOD as usize);
        assert!(
            budget.allows(IpAddr::from([10, 9, 9, 9]), LineKind::Delivery),
            "a delivery to a node must still be logged"
        );
    }

    #[test]
    fn a_client_does_not_hide_a_delivery_behind_other_lines() {
        let mut budget = Budget::new(Instant::now());
        let from = IpAddr::from([10, 0, 0, 1]);
        for kind in [
            LineKind::Ordinary,
            LineKind::Trouble,
            LineKind::Node,
            LineKind::Delivery,
        ] {
            assert_eq!(
                (0..100).filter(|_| budget.allows(from, kind)).count(),
                MAX_LINES_PER_SOURCE as usize,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_line_names_the_card_and_the_reason() {
        let line = Line {
            kind: LineKind::Ordinary,
            time: SystemTime::UNIX_EPOCH,
            from: Some(IpAddr::from([10, 0, 0, 1])),
            card: "52:54:00:00:00:01".parse().ok(),
            node: Some("etcd-1".to_owned()),
            refused: Some(RefusalId::Held),
            what: "no".to_owned(),
        };
        assert_eq!(
            text(&line, false),
            "1970-01-01T00:00:00Z 10.0.0.1 (52:54:00:00:00:01) etcd-1: no [held]"
        );
        let json: serde_json::Value = serde_json::from_str(&text(&line, true)).unwrap();
        assert_eq!(json["card"], "52:54:00:00:00:01");
        assert_eq!(json["time"], "1970-01-01T00:00:00Z");
        assert_eq!(documented("json.md", "builder serve"), keys(&json));
        let own = Line {
            from: None,
            card: None,
            refused: None,
            ..line
        };
        assert_eq!(text(&own, false), "1970-01-01T00:00:00Z server etcd-1: no");
    }
}
