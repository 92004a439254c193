//! Tests of the contents of the board, and of the access rules.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::Request;
use members::survey::{Row, Verdict};

use super::access::Access;
use super::client_ca::tests::TestCa;
use super::elements::Escaped;
use super::html::{fragment, page};
use super::metrics;
use super::subscribers::{Events, Pages};
use super::view::{Machine, MachineStage, View};
use crate::serve::client_request::ClientRequest;
use crate::serve::power::PowerResult;
use crate::serve::refusal::RefusalId;
use crate::status::Report;

const HOSTILE: &str = "<script>alert('x')</script>\"&\u{202e}\u{1b}[2J";

fn machine(name: &str, stage: MachineStage) -> Machine {
    Machine {
        name: name.to_owned(),
        address: "10.0.0.1".to_owned(),
        stage,
        ..Machine::default()
    }
}

fn view(machines: Vec<Machine>, report: Option<Report>) -> View {
    View {
        cluster: "demo".to_owned(),
        machines,
        asks_members: report.is_some(),
        report: report.map(Arc::new),
    }
}

fn report(rows: Vec<Row>) -> Report {
    Report {
        cluster: "demo".to_owned(),
        at: "2026-11-28T06:00:00Z".to_owned(),
        verdict: Verdict::Degraded,
        members: rows,
        lists_agree: true,
        lists: Vec::new(),
        update: crate::status::Update::default(),
        backup: None,
        errors: vec![HOSTILE.into()],
    }
}

#[test]
fn hostile_texts_are_escaped_everywhere() {
    let hostile = Machine {
        name: HOSTILE.to_owned(),
        address: HOSTILE.to_owned(),
        card: Some(HOSTILE.to_owned()),
        detail: HOSTILE,
        since: Some(HOSTILE.to_owned()),
        message: Some(HOSTILE.to_owned()),
        power: Some(PowerResult {
            text: HOSTILE.to_owned(),
            at: HOSTILE.to_owned(),
            failed: true,
        }),
        document: Some(HOSTILE.to_owned()),
        ..Machine::default()
    };
    let row = Row {
        name: HOSTILE.to_owned(),
        version: HOSTILE.to_owned(),
        errors: vec![HOSTILE.into()],
        notes: vec![HOSTILE.into()],
        ..Row::default()
    };
    let mut view = view(vec![hostile], Some(report(vec![row])));
    view.cluster = HOSTILE.to_owned();
    let text = page(&view);
    for forbidden in ["<script>", "alert('", "\u{202e}", "\u{1b}"] {
        assert!(!text.contains(forbidden), "{forbidden:?} in {text}");
    }
    assert_eq!(text.matches("<script src=").count(), 1);
    let metrics = metrics::text(&view);
    assert!(
        metrics.contains("machine=\"<script>alert('x')</script>\\\"&"),
        "{metrics}"
    );
    assert_eq!(
        Escaped("a<b>&\"'").to_string(),
        "a&lt;b&gt;&amp;&quot;&#39;"
    );
}

#[test]
fn every_stage_is_a_word_with_a_sign() {
    for stage in MachineStage::ALL {
        let text = fragment(&view(vec![machine("etcd-1", stage)], None));
        assert!(
            text.contains(&format!("</span> {}</span>", stage.word())),
            "{text}"
        );
        assert!(text.contains("aria-hidden=\"true\""), "{text}");
    }
}

#[test]
fn the_page_names_its_language_tables_and_columns() {
    let row = Row {
        name: "etcd-1".to_owned(),
        version: "3.6.14".to_owned(),
        healthy: true,
        leader: true,
        certificate_days_left: Some(12),
        ..Row::default()
    };
    let shown = view(
        vec![machine("etcd-1", MachineStage::Healthy)],
        Some(report(vec![row])),
    );
    let text = page(&shown);
    for expected in [
        "<html lang=\"en\">",
        "<h1>Cluster demo</h1>",
        "<h2 id=\"machines\">Machines</h2>",
        "aria-labelledby=\"members\"",
        "scope=\"col\"",
        "scope=\"row\"",
        "<noscript><meta http-equiv=\"refresh\"",
        "3.6.14",
        "12 <small>client port</small>",
        "leader",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let metrics = metrics::text(&shown);
    for expected in [
        "# TYPE etcd_image_member_healthy gauge\netcd_image_member_healthy{member=\"etcd-1\"} 1\n",
        "etcd_image_machine_stage{machine=\"etcd-1\",stage=\"healthy\"} 1\n",
        "etcd_image_machine_stage{machine=\"etcd-1\",stage=\"held\"} 0\n",
        "etcd_image_member_certificate_days{member=\"etcd-1\",port=\"client\"} 12\n",
    ] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
}

#[test]
fn altered_files_of_a_healthy_member_are_shown() {
    let check = members::keys::ImageCheck::new(1, vec!["/etc/chrony.conf".to_owned()]);
    let row = Row {
        name: "etcd-1".to_owned(),
        version: "3.6.14".to_owned(),
        healthy: true,
        errors: check.fault().into_iter().collect(),
        image_check: Some(check),
        ..Row::default()
    };
    let shown = view(Vec::new(), Some(report(vec![row])));
    let text = page(&shown);
    assert!(
        text.contains(
            "<span class=\"chip warning\"><span aria-hidden=\"true\">!</span> healthy\
             <span class=\"unseen\">, but image check failed: /etc/chrony.conf."
        ) && text.contains("image check failed: /etc/chrony.conf."),
        "{text}"
    );
    let metrics = metrics::text(&shown);
    assert!(
        metrics.contains("etcd_image_member_altered_files{member=\"etcd-1\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn a_page_receives_no_event_from_before_a_pause_without_pages() {
    let newest = |page: &mut Events| page.poll(&mut Context::from_waker(Waker::noop()));
    let pages = Pages::default();
    let first = pages.open().unwrap();
    pages.publish("shown".into());
    assert!(pages.are_open());
    let mut second = pages.open().unwrap();
    assert_eq!(newest(&mut second), Poll::Ready(Some("shown".into())));
    drop((first, second));
    assert!(!pages.are_open());
    let mut third = pages.open().unwrap();
    assert_eq!(newest(&mut third), Poll::Ready(Some(":\n\n".into())));
}

#[test]
fn the_overview_comes_first_and_counts_the_machines_in_each_stage() {
    let machines = [
        MachineStage::Healthy,
        MachineStage::Held,
        MachineStage::Healthy,
    ];
    let machines = machines.map(|stage| machine("etcd-1", stage)).to_vec();
    let mut report = report(vec![Row::default()]);
    report.update.restart = Some("etcd-3".to_owned());
    let text = fragment(&view(machines, Some(report)));
    let (overview, _) = text.split_once("<h2 id=\"machines\">").unwrap();
    for expected in [
        "DEGRADED</span> 0 of 1 members are healthy",
        "✕</span> 1 held</span> <span class=\"chip good\"><span aria-hidden=\"true\">✓</span> 2 healthy",
        "restarting</span> etcd-3 is restarting its etcd",
        "error</span> &lt;script&gt;",
    ] {
        assert!(overview.contains(expected), "{expected} in {overview}");
    }
}

fn request(from: &str, local: &str, headers: &[(&str, &str)]) -> ClientRequest {
    let mut request = Request::builder().uri("/board");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let [from, local] = [from, local].map(|address| address.parse::<SocketAddr>().unwrap());
    ClientRequest::read(&head, from, local).unwrap()
}

#[test]
fn another_host_needs_the_token() {
    let (local, remote) = ("127.0.0.1:8080", "10.0.0.5:8080");
    let here = |headers: &[(&str, &str)]| request("127.0.0.1:1000", local, headers);
    let there = |headers: &[(&str, &str)]| {
        request(
            "10.0.0.9:1000",
            remote,
            &[&[("host", "server:8080")], headers].concat(),
        )
    };
    let (closed, open) = (Access::default(), Access::of("0123456789abcdef"));
    for access in [&closed, &open] {
        assert!(access.check(&here(&[("host", "localhost:8080")])).is_ok());
        assert!(access.check(&here(&[("host", "127.0.0.1")])).is_ok());
        for proxied in [
            here(&[("host", "localhost"), ("x-forwarded-for", "10.0.0.9")]),
            here(&[("host", "evil.example")]),
            there(&[]),
            there(&[("authorization", "Bearer 0123456789abcdee")]),
            there(&[("authorization", "Basic !")]),
        ] {
            assert!(access.check(&proxied).is_err(), "{proxied:?}");
        }
    }
    // `anyone:0123456789abcdef`
    let basic = "Basic YW55b25lOjAxMjM0NTY3ODlhYmNkZWY=";
    for given in ["Bearer 0123456789abcdef", basic] {
        let request = there(&[("authorization", given)]);
        assert!(open.check(&request).is_ok(), "{given}");
        assert_eq!(
            closed.check(&request).unwrap_err().refusal.id,
            RefusalId::BoardClosed
        );
    }
    let denied = open.check(&there(&[])).unwrap_err();
    assert!(denied.challenge.is_some() && denied.refusal.id == RefusalId::BoardToken);
}

#[test]
fn another_host_can_present_a_client_certificate_instead_of_the_token() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ours, other) = (TestCa::new(), TestCa::new());
    let bare = || request("10.0.0.9:1000", "10.0.0.5:8080", &[("host", "server")]);
    let with = |certificate| bare().with_certificates(&vec![certificate].into());
    let only = Access {
        ca: Some(ours.read()),
        ..Access::default()
    };
    let both = Access {
        ca: Some(ours.read()),
        ..Access::of("0123456789abcdef")
    };
    for access in [&only, &both] {
        assert!(access.check(&with(ours.issue(&[ClientAuth], 5))).is_ok());
        for bad in [
            other.issue(&[ClientAuth], 5),
            ours.issue(&[ClientAuth], -5),
            ours.issue(&[ClientAuth, ServerAuth], 5),
        ] {
            let denied = access.check(&with(bad)).unwrap_err();
            assert_eq!(denied.refusal.id, RefusalId::BoardCertificate);
        }
    }
    let id = |access: &Access, request: &ClientRequest| {
        let denied = access.check(request).unwrap_err();
        denied.refusal.id
    };
    assert_eq!(id(&only, &bare()), RefusalId::BoardCertificate);
    assert_eq!(id(&both, &bare()), RefusalId::BoardToken);
    let good = with(ours.issue(&[ClientAuth], 5));
    assert_eq!(id(&Access::default(), &good), RefusalId::BoardClosed);
    assert_eq!(
        id(&Access::of("0123456789abcdef"), &good),
        RefusalId::BoardToken
    );
}

#[test]
fn a_token_must_be_long_and_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    for (text, mode, words) in [
        ("short\n", 0o600, "at least 16"),
        ("0123456789abcdef 0\n", 0o600, "no space"),
        ("0123456789abcdef\n", 0o644, "chmod"),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Access::read(Some(&path), None).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
