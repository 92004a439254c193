use hyper::Request;
use proptest::prelude::*;

use super::*;

fn read(request: hyper::http::request::Builder) -> Result<ClientRequest, Refusal> {
    let (head, ()) = request.body(()).unwrap().into_parts();
    ClientRequest::read(
        &head,
        "[::ffff:10.0.0.1]:999".parse().unwrap(),
        "[::]:80".parse().unwrap(),
    )
}

fn get(uri: &str) -> hyper::http::request::Builder {
    Request::get(uri).header(HOST, "server:8080")
}

fn id(asked: Result<ClientRequest, Refusal>) -> String {
    asked.map_or_else(|refusal| refusal.id.to_string(), |_| "taken".to_owned())
}

#[test]
fn all_spellings_of_a_path_are_one_path() {
    for same in [
        "/image/centos7.ks",
        "/image//centos7.ks",
        "//image/./centos7.ks",
        "/image/%63entos7.ks",
        "/image%2fcentos7.ks",
        "/image/centos7.ks/",
        "/image/centos7.ks?x=1",
    ] {
        assert_eq!(
            read(get(same)).unwrap().path,
            ["image", "centos7.ks"],
            "{same}"
        );
    }
    assert_eq!(
        read(get("/tree/libstdc%2B%2B.rpm")).unwrap().path,
        ["tree", "libstdc++.rpm"]
    );
    assert_eq!(
        read(get("/image/%2563entos7.ks")).unwrap().path,
        ["image", "%63entos7.ks"],
        "decoded once"
    );
    for bad in [
        "/image/../nodes",
        "/image/%2e%2e/nodes",
        "/a%00b",
        "/a%0ab",
        "/a%zz",
        "/a%4",
        "/%ff",
    ] {
        assert_eq!(id(read(get(bad))), "path", "{bad}");
    }
}

#[test]
fn a_request_must_name_exactly_one_host() {
    assert_eq!(id(read(Request::get("/"))), "host", "HTTP/1.1 requires it");
    assert_eq!(
        read(Request::get("/").version(Version::HTTP_10))
            .unwrap()
            .host,
        None
    );
    assert_eq!(id(read(get("/").header(HOST, "other"))), "host");
    for bad in [
        "",
        "a b",
        "a/b",
        "a;b",
        "${net0/mac}",
        "ä",
        &"a".repeat(256),
    ] {
        assert_eq!(
            id(read(Request::get("/").header(HOST, bad))),
            "host",
            "{bad}"
        );
    }
    assert_eq!(
        read(get("http://named/board")).unwrap().host.as_deref(),
        Some("named"),
        "the URI comes first"
    );
    assert_eq!(read(get("/")).unwrap().host.as_deref(), Some("server:8080"));
}

#[test]
fn a_request_that_could_hide_another_request_is_refused() {
    assert_eq!(id(read(get("/").header(CONTENT_LENGTH, "5"))), "body");
    assert_eq!(
        id(read(get("/").header(TRANSFER_ENCODING, "chunked"))),
        "body"
    );
    assert_eq!(id(read(get("/").header(CONTENT_LENGTH, "0"))), "taken");
    let post = || Request::post("/report").header(HOST, "server");
    assert_eq!(
        id(read(post().header(TRANSFER_ENCODING, "chunked"))),
        "body"
    );
    assert_eq!(id(read(post().header(CONTENT_LENGTH, "5"))), "taken");
    for method in ["PUT", "DELETE", "CONNECT", "TRACE", "OPTIONS", "GETT"] {
        assert_eq!(id(read(get("/").method(method))), "method", "{method}");
    }
}

#[test]
fn an_ipv4_address_in_its_ipv6_form_is_the_ipv4_address() {
    assert_eq!(
        read(get("/")).unwrap().from,
        "10.0.0.1".parse::<IpAddr>().unwrap()
    );
}

#[test]
fn a_proxy_is_detected_by_its_header() {
    for name in ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"] {
        assert!(
            read(get("/").header(name, "x")).unwrap().proxy.is_some(),
            "{name}"
        );
    }
    assert_eq!(read(get("/")).unwrap().proxy, None);
}

#[test]
fn the_installer_states_its_network_cards() {
    let asked = get("/image/centos7.ks")
        .header("X-RHN-Provisioning-MAC-0", "eth0 52:54:00:00:00:01")
        .header("X-RHN-Provisioning-MAC-1", "no-card")
        .header("X-System-Serial-Number", "S1");
    let machine = read(asked).unwrap().installer;
    assert_eq!(machine.macs, ["52:54:00:00:00:01".parse().unwrap()]);
    assert_eq!(machine.serial, "s1".parse().ok());
}

proptest! {
    #[test]
    fn no_request_leads_out_of_the_server(
        path in "(/|\\.|\\.\\.|%2e|%2F|[a-z]|\\?|=){0,8}(%5c|%0a|%00|%c0%ae|%|;|&|\\+)?",
        host in "server:8080|[a-z0-9.:\\[\\]$ {}]{0,12}",
        names in prop::collection::vec(prop::sample::select(&[
            "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "Authorization",
            "X-RHN-Provisioning-MAC-0", "X-System-Serial-Number", "Content-Length",
        ][..]), 0..2),
        value in "(bytes=|[0-9]{1,20}|-|,|\"|eth0 |52:54:00:00:00:01|[ -~]){0,6}",
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let build = names.iter().fold(Request::get(format!("/{path}")).header(HOST, &host), |build, name| {
            build.header(*name, &value)
        });
        // The http crate itself refuses some of these requests.
        let Ok(request) = build.body(()) else { return Ok(()) };
        let (head, ()) = request.into_parts();
        let peer = "10.0.0.1:999".parse().unwrap();
        if let Ok(request) = ClientRequest::read(&head, peer, "[::]:80".parse().unwrap()) {
            let is_name = |part: &String| !["", ".", ".."].contains(&part.as_str()) && !part.contains('/');
            prop_assert!(request.path.iter().all(is_name), "{:?}", request.path);
            prop_assert!(!request.path.concat().contains(char::is_control));
            prop_assert!(request.host.as_ref().is_none_or(|host| is_host(host)));
            let _ = (request.machine(), request.conditions.known_digest());
            let _ = request.conditions.decide(Some(std::time::SystemTime::UNIX_EPOCH));
            let _ = request.with_body(&body).form_value("stage");
        }
    }
}
