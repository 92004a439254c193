//! Tests of downloads during network faults.

use super::super::address;
use super::server::Behavior;
use super::*;

fn tried(error: ReleaseError) -> Vec<MirrorError> {
    match error {
        ReleaseError::Mirrors { tried, .. } => {
            tried.into_iter().map(|(_, trouble)| trouble).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_good_download_is_in_the_cache_under_its_digest_without_other_files() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Behavior::Serve]);
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(&release.tarball).unwrap(), bytes);
    assert_eq!(bench.files(), [format!("{}.tar.gz", Sha256::of(&bytes))]);
    assert_eq!(release.size, 300_000);
    assert!(matches!(release.evidence.origin, Origin::Mirror(_)));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_interrupted_download_is_resumed() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(
        &bytes,
        &[
            Behavior::Cut(100_000),
            Behavior::Cut(50_000),
            Behavior::Serve,
        ],
    );
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(release.tarball).unwrap(), bytes);
    let ranges: Vec<_> = server
        .asked()
        .into_iter()
        .map(|asked| asked.range)
        .collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=100000-".to_owned()),
            Some("bytes=150000-".to_owned())
        ]
    );
    assert!(server.asked()[1].if_range.is_some());
    assert!(
        bench
            .said()
            .contains("interrupted after 100000 bytes of 300000"),
        "{}",
        bench.said()
    );
}

#[test]
fn attempts_that_make_progress_are_not_counted() {
    let (bench, bytes) = (Bench::new(), noise(900_000));
    let mut acts = vec![Behavior::Cut(70_000); 10];
    acts.push(Behavior::Serve);
    bench
        .obtain(&bytes, &[&Server::with(&bytes, &acts)])
        .unwrap();
}

#[test]
fn a_download_starts_over_if_the_server_ignores_range() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Behavior::Cut(100_000), Behavior::IgnoreRange]);
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(release.tarball).unwrap(), bytes);
}

#[test]
fn another_build_and_another_mirror_resume_a_partial_download() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let broken = Server::with(&bytes, &[Behavior::Cut(100_000), Behavior::Status(503, "")]);
    let trouble = tried(bench.obtain(&bytes, &[&broken]).unwrap_err());
    assert_eq!(trouble, [MirrorError::Status(503)]);
    let whole = Server::with(&bytes, &[Behavior::Serve]);
    bench.obtain(&bytes, &[&whole]).unwrap();
    assert_eq!(whole.asked()[0].range.as_deref(), Some("bytes=100000-"));
    // The ETag is from another mirror, so the request to this mirror has no If-Range.
    assert_eq!(whole.asked()[0].if_range, None);
}

#[test]
fn a_part_of_another_file_is_detected_and_discarded() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    std::fs::create_dir_all(bench.cache().join("releases")).unwrap();
    let part = bench
        .cache()
        .join(format!("releases/{}.part", Sha256::of(&bytes)));
    for (stale, requests) in [
        (vec![1; 1000], 2),
        (bytes.clone(), 1),
        (vec![1; 300_000], 2),
        (vec![1; 400_000], 2),
    ] {
        std::fs::write(&part, &stale).unwrap();
        let server = Server::with(&bytes, &[Behavior::Serve]);
        let release = bench.obtain(&bytes, &[&server]).unwrap();
        assert_eq!(server.asked().len(), requests, "{} bytes", stale.len());
        assert_eq!(std::fs::read(&release.tarball).unwrap(), bytes);
        std::fs::remove_file(release.tarball).unwrap();
    }
}

#[test]
fn without_a_digest_only_an_unchanged_file_at_the_same_url_is_resumed() {
    let (old, new) = (noise(300_000), vec![7; 300_000]);
    let broken = [Behavior::Cut(100_000), Behavior::Status(404, "")];
    for (second, resumed) in [(&old, true), (&new, false)] {
        let bench = Bench::new();
        let server = Server::with(&old, &broken);
        let (patience, path) = (impatient(), bench.cache().join("image"));
        let part = PartialDownload::at(path.with_extension("part"));
        let client = client(&patience, &bench.said).unwrap();
        let fetch = Fetch {
            client: &client,
            patience: &patience,
            progress: &bench.said,
        };
        let get = |server: &Server| {
            let url = address::on(&server.mirror(), version(), &address::tarball(version()));
            let found = fetch.unverified(&url.unwrap(), 1 << 20, &part, &path);
            found.unwrap()
        };
        assert_eq!(get(&server), Err(MirrorError::Status(404)));
        let server = server.file(&address::tarball(version()), second, &[Behavior::Serve]);
        assert_eq!(get(&server), Ok((300_000, Sha256::of(second))));
        let last = server.asked().pop().unwrap();
        assert_eq!(last.range.as_deref(), Some("bytes=100000-"));
        assert!(last.if_range.is_some());
        assert_eq!(std::fs::read(&path).unwrap() == old, resumed);

        // The bytes of one URL are never used for another URL.
        let cut = Server::with(&old, &broken);
        assert_eq!(get(&cut), Err(MirrorError::Status(404)));
        let other = Server::with(&new, &[Behavior::Serve]);
        assert_eq!(get(&other), Ok((300_000, Sha256::of(&new))));
        assert_eq!(other.asked()[0].range, None);
    }
}

#[test]
fn a_range_that_was_not_requested_is_not_used() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(
        &bytes,
        &[
            Behavior::Cut(100_000),
            Behavior::WrongRange,
            Behavior::Serve,
        ],
    );
    bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(server.asked()[2].range, None);
}

#[test]
fn a_temporary_error_is_retried_after_the_requested_pause() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let server = Server::with(
        &bytes,
        &[
            Behavior::Status(500, ""),
            Behavior::Status(429, "Retry-After: 1\r\n"),
            Behavior::Serve,
        ],
    );
    let start = std::time::Instant::now();
    bench.obtain(&bytes, &[&server]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_mirror_that_requests_a_long_wait_is_skipped() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let busy = Server::with(&bytes, &[Behavior::Status(503, "Retry-After: 3600\r\n")]);
    let good = Server::with(&bytes, &[Behavior::Serve]);
    bench.obtain(&bytes, &[&busy, &good]).unwrap();
    assert_eq!((busy.asked().len(), good.asked().len()), (1, 1));
    assert!(
        bench
            .said()
            .contains("the mirror requests a wait of 3600 s")
    );
}

#[test]
fn the_next_mirror_is_tried_immediately_if_a_mirror_lacks_the_file() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let (empty, good) = (Server::new(), Server::with(&bytes, &[Behavior::Serve]));
    bench.obtain(&bytes, &[&empty, &good]).unwrap();
    assert_eq!(empty.asked().len(), 1);
}

#[test]
fn a_stalled_connection_is_closed() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let stuck = Server::with(&bytes, &[Behavior::Stall(0), Behavior::Stall(1000)]);
    // The server sends nothing, so only the client can end the connection.
    let trouble = tried(bench.obtain(&bytes, &[&stuck]).unwrap_err());
    assert_eq!(trouble, [MirrorError::Stalled(impatient().stall)]);
}

#[test]
fn a_file_that_arrives_too_slowly_is_given_up() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let patience = RetryPolicy {
        whole: Duration::from_millis(400),
        ..impatient()
    };
    let slow = Server::with(&bytes, &[Behavior::Drip]).file(SUMS_FILE, &bytes, &[Behavior::Drip]);
    let client = client(&patience, &bench.said).unwrap();
    let fetch = Fetch {
        client: &client,
        patience: &patience,
        progress: &bench.said,
    };
    let url = |name: &str| address::on(&slow.mirror(), version(), name).unwrap();
    let expected = MirrorError::Slow(patience.whole);
    assert_eq!(fetch.small(&url(SUMS_FILE)), Err(expected.clone()));
    let path = bench.cache().join("tarball");
    let part = PartialDownload::at(path.with_extension("part"));
    let wanted = (Sha256::of(&bytes), 4096);
    let tarball = url(&address::tarball(version()));
    let found = fetch.verified(&tarball, wanted, &part, &path).unwrap();
    assert_eq!(found, Err(expected));
}

#[test]
fn a_file_that_is_too_large_is_refused_with_or_without_a_stated_length() {
    let (bench, bytes) = (Bench::new(), noise((1 << 20) + 1));
    for act in [
        Behavior::Serve,
        Behavior::NoLength,
        Behavior::Claim(1 << 40),
    ] {
        let trouble = tried(
            bench
                .obtain(&bytes, &[&Server::with(&bytes, &[act])])
                .unwrap_err(),
        );
        assert!(
            matches!(
                trouble[..],
                [MirrorError::TooLarge {
                    limit: 0x0010_0000,
                    ..
                }]
            ),
            "{trouble:?}"
        );
        assert_eq!(bench.files(), [""; 0]);
    }
}

#[test]
fn one_flipped_byte_is_detected_and_the_next_mirror_is_tried() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let mut flipped = bytes.clone();
    flipped[500] ^= 1;
    let (bad, good) = (
        Server::with(&flipped, &[Behavior::Serve]),
        Server::with(&bytes, &[Behavior::Serve]),
    );
    bench.obtain(&bytes, &[&bad, &good]).unwrap();
    assert_eq!(bad.asked().len(), 1);

    let bench = Bench::new();
    let error = bench.obtain(&bytes, &[&bad]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&Sha256::of(&bytes).to_string())
            && text.contains(&Sha256::of(&flipped).to_string()),
        "{text}"
    );
    assert!(text.contains("--release FILE"), "{text}");
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn a_truncated_tarball_without_a_stated_length_is_detected() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let trouble = tried(
        bench
            .obtain(
                &bytes,
                &[&Server::with(&bytes[..900], &[Behavior::NoLength])],
            )
            .unwrap_err(),
    );
    assert!(
        matches!(trouble[..], [MirrorError::Digest { .. }]),
        "{trouble:?}"
    );
}

#[test]
fn an_unreachable_server_is_named_with_its_url() {
    let bench = Bench::new();
    let mirrors = [
        "http://127.0.0.1:9/etcd".parse().unwrap(),
        "ftp://mirror.test/etcd".parse().unwrap(),
    ];
    let error = bench
        .obtain_as(Sha256::of(b""), &mirrors, false)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("http://127.0.0.1:9/etcd/v3.5.1/etcd-v3.5.1-linux-amd64.tar.gz"),
        "{text}"
    );
    assert!(
        text.contains("refused") && text.contains("not an HTTP or HTTPS URL"),
        "{text}"
    );
}

#[test]
fn a_redirect_is_followed_on_each_try() {
    // Like github.com, the first server redirects each request to a new signed URL on a storage
    // host.
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let storage = Server::with(&bytes, &[Behavior::Cut(100_000), Behavior::Serve]);
    let place = address::on(&storage.mirror(), version(), &address::tarball(version())).unwrap();
    let front = Server::with(
        b"",
        &[Behavior::Status(
            302,
            format!("Location: {place}\r\n").leak(),
        )],
    );
    let release = bench.obtain(&bytes, &[&front]).unwrap();
    assert_eq!(std::fs::read(release.tarball).unwrap(), bytes);
    assert_eq!(front.asked().len(), 2);
    assert_eq!(storage.asked()[1].range.as_deref(), Some("bytes=100000-"));
    assert!(storage.asked()[1].if_range.is_some());
}

/// The name is below `.invalid`, which never resolves (RFC 6761).
#[test]
fn an_unresolvable_host_name_is_explained() {
    let bench = Bench::new();
    let mirrors = ["http://mirror.invalid/etcd/".parse().unwrap()];
    let trouble = tried(
        bench
            .obtain_as(Sha256::of(b"x"), &mirrors, false)
            .unwrap_err(),
    );
    let [MirrorError::Connection(text)] = trouble.as_slice() else {
        panic!("{trouble:?}")
    };
    assert!(
        text.starts_with("its host name cannot be resolved"),
        "{text}"
    );
}
