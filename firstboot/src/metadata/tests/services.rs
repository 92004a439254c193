use std::fs;

use recipes::cluster::Platform;

use super::server::{Request, Response, Server};
use super::*;

fn ok(body: impl AsRef<[u8]>) -> Response {
    (200, "", body.as_ref().to_vec())
}

fn status(status: u16) -> Response {
    (status, "", b"no".to_vec())
}

/// Queries a source on a machine of this platform.
fn ask_on(platform: Platform, source: &Source, server: &Server) -> Result<SourceResult> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("proc")).unwrap();
    fs::write(
        root.path().join("proc/cmdline"),
        format!("firstboot.platform={}", platform.name()),
    )
    .unwrap();
    let platforms = Platforms::observe(root.path(), None).unwrap();
    install_tls();
    with_query(|query| {
        (source.find)(&Query {
            platforms: &platforms,
            services: &server.url,
            ..*query
        })
    })
}

/// Installs a crypto provider. Without a crypto provider, reqwest does not create a client, even
/// for plain HTTP. Another test may have installed the provider already.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn origin(answer: Result<SourceResult>) -> String {
    match answer.unwrap() {
        SourceResult::Found(found) => found.origin,
        other => panic!("{other:?}"),
    }
}

fn nothing(answer: Result<SourceResult>) -> String {
    match answer.unwrap() {
        SourceResult::Nothing(instead) => instead,
        other => panic!("{other:?}"),
    }
}

fn error(answer: Result<SourceResult>) -> String {
    format!("{:#}", answer.unwrap_err())
}

#[test]
fn a_service_is_queried_only_on_its_own_platform() {
    let server = Server::start(|_| panic!("asked"));
    for (platform, source) in [
        (Platform::Ec2, &openstack::SOURCE),
        (Platform::Gce, &ec2::SOURCE),
        (Platform::Vmware, &azure::SOURCE),
    ] {
        assert!(matches!(
            ask_on(platform, source, &server).unwrap(),
            SourceResult::NotAsked(_)
        ));
    }
    let known = with_query(|query| {
        (gce::SOURCE.find)(&Query {
            known: true,
            ..*query
        })
    });
    assert!(matches!(known.unwrap(), SourceResult::NotAsked(why) if why == KNOWN));
}

#[test]
fn openstack_returns_the_user_data() {
    const META: &str = r#"{"uuid":"u-1","hostname":"x","random_seed":"…"}"#;
    let ask = |server: &Server| ask_on(Platform::Openstack, &openstack::SOURCE, server);
    // The service first answers 404, because Neutron's proxy has not found the port yet, and then
    // 500, because Nova is busy.
    let mut early = vec![status(500), status(404)];
    let server = Server::start(move |request| match request.line.as_str() {
        "GET /openstack/latest/meta_data.json" => early.pop().unwrap_or_else(|| ok(META)),
        "GET /openstack/latest/user_data" => ok(FIRST),
        _ => status(400),
    });
    assert_eq!(origin(ask(&server)), "the user data of openstack");
    assert_eq!(server.lines().len(), 4);

    let without = Server::start(|request| {
        if request.line.ends_with("meta_data.json") {
            ok(META)
        } else {
            status(404)
        }
    });
    assert_eq!(nothing(ask(&without)), "instance u-1 has no user data");
    let not_openstack = Server::start(|_| ok("<html>"));
    assert!(error(ask(&not_openstack)).contains("is not OpenStack's meta_data.json"));
    let refusing = Server::start(|_| status(403));
    assert!(error(ask(&refusing)).contains("answered 403 Forbidden: no"));
    let cloud_config = Server::start(|request| {
        ok(if request.line.ends_with("json") {
            META
        } else {
            "#cloud-config"
        })
    });
    let said = error(ask(&cloud_config));
    assert!(
        said.contains("runs on openstack (firstboot.platform=")
            && said.contains("not a node document"),
        "{said}"
    );
}

/// Starts a server that answers like EC2's service. The server requires a token that it has issued,
/// and each token is valid for a limited number of requests.
fn ec2_service(uses: u32, user_data: Response) -> Server {
    let (mut number, mut left) = (0, 0);
    Server::start(move |request: &Request| {
        if request.line == "PUT /latest/api/token" {
            let lifetime = request
                .header("x-aws-ec2-metadata-token-ttl-seconds")
                .and_then(|text| text.parse().ok());
            if !matches!(lifetime, Some(1..=21_600)) || request.header("x-forwarded-for").is_some()
            {
                return status(400);
            }
            (number, left) = (number + 1, uses);
            return ok(format!("token-{number}"));
        }
        if left == 0
            || request.header("x-aws-ec2-metadata-token") != Some(&format!("token-{number}"))
        {
            return status(401);
        }
        left -= 1;
        match request.line.as_str() {
            "GET /2021-03-23/meta-data/instance-id" => ok("i-0123\n"),
            "GET /2021-03-23/user-data" => user_data.clone(),
            _ => status(404),
        }
    })
}

#[test]
fn ec2_is_queried_with_a_token_that_is_renewed_once() {
    let ask = |server: &Server| ask_on(Platform::Ec2, &ec2::SOURCE, server);
    let server = ec2_service(9, ok(FIRST));
    assert_eq!(origin(ask(&server)), "the user data of ec2");
    assert_eq!(server.lines().len(), 3, "one token is enough");

    let expiring = ec2_service(1, ok(FIRST));
    assert_eq!(origin(ask(&expiring)), "the user data of ec2");
    let asked = ["PUT /latest/api/token", "GET /2021-03-23/user-data"];
    assert_eq!(
        expiring.lines()[2..],
        ["GET /2021-03-23/user-data", asked[0], asked[1]]
    );

    let never = ec2_service(0, ok(FIRST));
    assert!(error(ask(&never)).contains("401"));
    assert_eq!(
        never.lines().len(),
        4,
        "the token is renewed once: {:?}",
        never.lines()
    );
    assert_eq!(
        nothing(ask(&ec2_service(9, status(404)))),
        "instance i-0123 has no user data"
    );
}

#[test]
fn version_1_of_ec2_is_never_queried() {
    for (status_of_put, words) in [
        (403, "switched off"),
        (404, "answered 404"),
        (400, "answered 400"),
    ] {
        // This service supports only version 1, which answers requests that carry no token.
        let server = Server::start(move |request| {
            if request.line.starts_with("PUT") {
                status(status_of_put)
            } else {
                ok(FIRST)
            }
        });
        let said = error(ask_on(Platform::Ec2, &ec2::SOURCE, &server));
        assert!(said.contains(words), "{said}");
        assert_eq!(server.lines(), ["PUT /latest/api/token"]);
    }
    let off_later = Server::start(|request| {
        if request.line.starts_with("PUT") {
            ok("t")
        } else {
            status(403)
        }
    });
    assert!(error(ask_on(Platform::Ec2, &ec2::SOURCE, &off_later)).contains("switched off"));
    assert_eq!(off_later.lines().len(), 2, "a 403 ends the search");
    let no_token = Server::start(|_| ok("\n"));
    assert!(error(ask_on(Platform::Ec2, &ec2::SOURCE, &no_token)).contains("did not send a token"));
}

const FLAVOR: &str = "Metadata-Flavor: Google\r\n";

#[test]
fn gce_is_accepted_only_with_the_header_in_its_answers() {
    let ask = |server: &Server| ask_on(Platform::Gce, &gce::SOURCE, server);
    let google = |flavored: &'static str, data: Response| {
        Server::start(move |request| {
            if request.header("metadata-flavor") != Some("Google") {
                return status(403);
            }
            match request.line.as_str() {
                "GET /computeMetadata/v1/instance/id" => (200, flavored, b"42".to_vec()),
                "GET /computeMetadata/v1/instance/attributes/user-data" => {
                    (data.0, flavored, data.2.clone())
                }
                _ => status(404),
            }
        })
    };
    assert_eq!(
        origin(ask(&google(FLAVOR, ok(FIRST)))),
        "the user data of gce"
    );
    assert_eq!(
        nothing(ask(&google(FLAVOR, status(404)))),
        "instance 42 has no attribute user-data"
    );
    let stranger = google("", ok(FIRST));
    assert!(error(ask(&stranger)).contains("not GCE's metadata server"));
    assert_eq!(stranger.lines().len(), 1);
}

#[test]
fn user_data_of_azure_is_decoded_from_base64() {
    let ask = |server: &Server| ask_on(Platform::Azure, &azure::SOURCE, server);
    let azure = |data: &'static str| {
        // The service does not have data yet for a machine that has just started.
        let mut early = vec![status(429), status(410), status(404)];
        Server::start(move |request| {
            if request.header("metadata") != Some("true")
                || !request.line.contains("api-version=2021-01-01")
            {
                return status(400);
            }
            early.pop().unwrap_or_else(|| {
                ok(if request.line.contains("/userData?") {
                    data
                } else {
                    "v-1"
                })
            })
        })
    };
    let document = "eyJwYXlsb2FkVHlwZSI6InQiLCJwYXlsb2FkIjoiWm1seWMzUT0iLCJzaWduYXR1cmVzIjpbXX0=";
    assert_eq!(origin(ask(&azure(document))), "the user data of azure");
    assert_eq!(nothing(ask(&azure(""))), "the machine v-1 has no user data");
    assert!(error(ask(&azure("{not base64}"))).contains("is not base64"));
}

#[test]
fn no_redirect_is_followed_and_no_oversized_answer_is_read() {
    let elsewhere = Server::start(|_| panic!("followed"));
    let to: &'static str = format!("Location: {}\r\n", elsewhere.url).leak();
    let server = Server::start(move |_| (302, to, Vec::new()));
    let said = error(ask_on(Platform::Gce, &gce::SOURCE, &server));
    assert!(
        said.contains("302 Found, a redirect, which firstboot does not follow"),
        "{said}"
    );
    let flood = Server::start(|_| ok(vec![b'x'; 2 << 20]));
    assert!(
        error(ask_on(Platform::Openstack, &openstack::SOURCE, &flood))
            .contains("more than 1048576 bytes")
    );
}

#[test]
fn a_service_is_only_compared_with_an_existing_document() {
    let root = tempfile::tempdir().unwrap();
    let platforms = Platforms::observe(root.path(), Some(Platform::Gce)).unwrap();
    install_tls();
    let compared = |services: Option<&Url>| {
        with_query(|query| {
            let services = services.unwrap_or(query.services);
            (gce::SOURCE.find)(&Query {
                platforms: &platforms,
                mode: QueryMode::Once,
                services,
                ..*query
            })
        })
    };
    assert!(
        nothing(compared(None)).starts_with("it did not return any user data within 2 s"),
        "no server listens there"
    );
    let refusing = Server::start(|_| status(403));
    assert!(nothing(compared(Some(&refusing.url))).starts_with("it refused the request: "));
    assert_eq!(refusing.lines().len(), 1);
}

#[test]
fn a_document_that_was_received_is_requested_again_with_its_digest() {
    install_tls();
    let received = FoundDocument::parse("an earlier run", FIRST.as_bytes()).unwrap();
    let digest = format!("\"{}\"", received.envelope.payload_digest().unwrap());
    let ask = |server: &Server, received: Option<&FoundDocument>| {
        with_query(|query| {
            (url::SOURCE.find)(&Query {
                url: Some(&server.url),
                received,
                ..*query
            })
        })
    };
    // The time in which the server hands out the document without a proof is over.
    let closed = Server::start(move |request| match request.header("if-none-match") {
        Some(tag) if tag == digest => status(304),
        _ => status(403),
    });
    let again = ask(&closed, Some(&received)).unwrap();
    let SourceResult::Found(again) = again else {
        panic!("{again:?}")
    };
    assert!(again.agrees_with(&received));
    assert!(again.origin.ends_with("/node.json"), "{}", again.origin);
    assert!(error(ask(&closed, None)).contains("403"));
    let changed = Server::start(|_| ok(OTHER));
    let newest = ask(&changed, Some(&received)).unwrap();
    assert!(
        matches!(&newest, SourceResult::Found(found) if !found.agrees_with(&received)),
        "{newest:?}"
    );
}
