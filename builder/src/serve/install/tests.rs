//! Tests of the installation of one machine: the scripts that its boot loader receives, its reports,
//! and the delivery of its document.

use std::time::Duration;

use recipes::InstallStage;

use super::*;
use crate::nodes;
use crate::serve::cluster::ServedCluster;
use crate::serve::node_document::deliver;
use crate::serve::pages;
use crate::serve::record::DocumentDelivery;
use crate::serve::report::record_report;

const HOUR: Duration = Duration::from_secs(3600);

/// A server with one node, whose installation is allowed. The server hands out a document only once.
struct Bed {
    state: ServerState,
    cluster: ServedCluster,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = nodes::Node::Enrolled(Box::new(nodes::tests::document()));
        nodes::write(folder.path(), &node, &nodes::tests::key()).unwrap();
        let mut state = pages::tests::state(folder.path());
        state.retries = 3;
        state.tree = "http://10.0.0.5/tree/".parse().ok();
        let bed = Self {
            cluster: state.cluster().unwrap(),
            state,
            _folder: folder,
        };
        bed.put(&Installation::allowed());
        bed
    }

    fn node(&self) -> &NodeIdentity {
        &self.cluster.nodes[0]
    }

    fn record(&self) -> &Record {
        &self.cluster.record
    }

    fn put(&self, installation: &Installation) {
        let name = &self.node().name;
        self.record().put_installation(name, installation).unwrap();
    }

    fn installation(&self) -> Installation {
        let recorded = self.record().installation(&self.node().name);
        recorded.unwrap().unwrap()
    }

    /// Returns the script that the machine's boot loader receives, or the id of the refusal.
    fn boot(&self) -> Result<String, RefusalId> {
        let request = request("/boot.ipxe", "");
        let asked = ScriptRequest {
            request: &request,
            loader: Loader::Ipxe,
            machine: &Machine::default(),
            server: "http://10.0.0.5:8080/",
        };
        decide(&self.state, &asked, self.record(), self.node()).map_err(|error| id(&error))
    }

    /// Boots the machine from the network, and checks that the server begins this attempt.
    #[track_caller]
    fn begins(&self, attempt: u32) {
        let script = self.boot().unwrap();
        let text = format!("(attempt {attempt} of ");
        assert!(script.contains(&text), "no attempt {attempt}: {script}");
    }

    /// Requests the document, and returns the id of the refusal, if any.
    fn fetch(&self) -> Option<RefusalId> {
        // The window of 0 s is open at the time of the first delivery.
        std::thread::sleep(Duration::from_millis(2));
        let request = request("/node.json", "");
        let reply = deliver(&self.state, &request, &self.cluster, self.node());
        reply.err().map(|error| id(&error))
    }

    /// Requests a newer document, as the old system of the machine does.
    fn prove(&self) {
        let digest = self.cluster.digest(self.node()).unwrap();
        let head = hyper::Request::get("/node.json");
        let request = pages::tests::request(head.header("if-none-match", format!("\"{digest}\"")));
        let reply = deliver(&self.state, &request, &self.cluster, self.node());
        assert_eq!(reply.unwrap().status, StatusCode::NOT_MODIFIED);
    }

    /// Reports a stage of the newest attempt.
    fn report(&self, stage: InstallStage) {
        let token = self.installation().token.unwrap();
        let path = format!("/report?node=etcd-1&token={token}");
        let request = request(&path, &format!("stage={stage}"));
        let name = &self.node().name;
        record_report(&self.state, &request, self.record(), name).unwrap();
    }
}

fn id(error: &anyhow::Error) -> RefusalId {
    error.downcast_ref::<Refusal>().unwrap().id
}

/// Returns a request whose body is this form, or a GET request if the form is empty.
fn request(path: &str, form: &str) -> ClientRequest {
    let method = if form.is_empty() { "GET" } else { "POST" };
    let head = hyper::Request::builder().method(method).uri(path);
    pages::tests::request(head).with_body(form.as_bytes())
}

#[test]
fn an_installation_is_retried_if_the_clock_shows_a_time_before_an_earlier_delivery() {
    let bed = Bed::new();
    let mut delivery = DocumentDelivery::allowed();
    delivery.mark_delivered(now() + HOUR);
    let name = &bed.node().name;
    bed.record().put_delivery(name, &delivery).unwrap();
    bed.begins(1);
    bed.begins(2);
    assert_eq!(bed.fetch(), None, "the installed machine gets no document");
    assert!(bed.boot().unwrap().contains("was installed at"));
}

#[test]
fn each_attempt_allows_the_delivery_again() {
    let bed = Bed::new();
    bed.begins(1);
    assert_eq!(bed.fetch(), None);
    assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed));
    bed.put(&Installation::allowed());
    assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed));
    bed.begins(1);
    assert_eq!(bed.fetch(), None);
    assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed));
}

/// A node whose reinstallation keeps its data also keeps its document, and never downloads it.
#[test]
fn the_report_of_a_healthy_node_limits_the_download_of_its_document() {
    let bed = Bed::new();
    for kept_document in [false, true] {
        bed.put(&Installation::allowed());
        bed.begins(1);
        bed.report(InstallStage::Installed);
        if !kept_document {
            assert_eq!(bed.fetch(), None);
        }
        bed.report(InstallStage::Healthy);
        assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed));
    }
}

#[test]
fn a_proof_of_the_newest_document_limits_the_download_but_ends_no_installation() {
    let bed = Bed::new();
    bed.begins(1);
    bed.prove();
    bed.begins(2);
    bed.report(InstallStage::Installed);
    bed.prove();
    assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed));
}

#[test]
fn a_server_with_more_retries_releases_no_held_machine() {
    let mut bed = Bed::new();
    for attempt in 1..=4 {
        bed.begins(attempt);
    }
    bed.state.retries = 10;
    assert_eq!(bed.boot(), Err(RefusalId::Held));
    bed.report(InstallStage::Failed);
    assert_eq!(bed.boot(), Err(RefusalId::Held));
    bed.put(&Installation::allowed());
    bed.begins(1);
}

#[test]
fn a_hold_that_an_earlier_version_did_not_record_is_recorded() {
    let mut bed = Bed::new();
    let mut installation = Installation::allowed();
    for attempt in 1..=4 {
        installation.note_sent(format!("t{attempt}"), now());
    }
    bed.put(&installation);
    assert_eq!(bed.boot(), Err(RefusalId::Held));
    bed.state.retries = 10;
    assert_eq!(bed.boot(), Err(RefusalId::Held));
}

/// The old system of a held machine may run on, and never downloads the document.
#[test]
fn the_end_of_the_last_attempt_limits_the_download() {
    /// An event that ends the last attempt.
    type End = fn(&Bed);
    let ends: [(&str, End); 3] = [
        ("a failure", |bed| bed.report(InstallStage::Failed)),
        ("a boot", |bed| {
            assert_eq!(bed.boot(), Err(RefusalId::Held));
        }),
        ("a proof of the old system", Bed::prove),
    ];
    for (what, end) in ends {
        let mut bed = Bed::new();
        bed.state.retries = 1;
        bed.begins(1);
        bed.report(InstallStage::Failed);
        bed.begins(2);
        let delivery = || bed.state.delivery(bed.record(), &bed.node().name);
        let open = DocumentDelivery::allowed();
        assert_eq!(delivery().unwrap(), Some(open), "{what}");
        end(&bed);
        assert_eq!(bed.fetch(), Some(RefusalId::DocumentClosed), "{what}");
        assert_eq!(bed.boot(), Err(RefusalId::Held), "{what}");
    }
}

/// The reports of the last attempt may be lost, for example while the server does not run.
#[test]
fn a_machine_whose_last_attempt_succeeded_without_a_report_gets_its_document() {
    let mut bed = Bed::new();
    bed.state.retries = 0;
    bed.state.document_window = HOUR;
    bed.begins(1);
    assert_eq!(bed.boot(), Err(RefusalId::Held));
    assert_eq!(bed.fetch(), None);
    assert!(bed.boot().unwrap().contains("was installed at"));
}
