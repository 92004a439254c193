//! Tests of how network faults affect a download.

use super::server::Act;
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
fn a_good_download_lies_in_the_cache_under_its_digest_and_nothing_beside_it() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Act::Serve]);
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(&release.tarball).unwrap(), bytes);
    assert_eq!(bench.files(), [format!("{}.tar.gz", Sha256::of(&bytes))]);
    assert_eq!(release.size, 300_000);
    assert!(matches!(release.evidence.origin, Origin::Mirror(_)));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Act::Cut(100_000), Act::Cut(50_000), Act::Serve]);
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
    let mut acts = vec![Act::Cut(70_000); 10];
    acts.push(Act::Serve);
    bench
        .obtain(&bytes, &[&Server::with(&bytes, &acts)])
        .unwrap();
}

#[test]
fn a_server_that_ignores_range_starts_over() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Act::Cut(100_000), Act::IgnoreRange]);
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(release.tarball).unwrap(), bytes);
}

#[test]
fn another_build_and_another_mirror_go_on_with_what_is_there() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let broken = Server::with(&bytes, &[Act::Cut(100_000), Act::Status(503, "")]);
    let trouble = tried(bench.obtain(&bytes, &[&broken]).unwrap_err());
    assert_eq!(trouble, [MirrorError::Status(503)]);
    let whole = Server::with(&bytes, &[Act::Serve]);
    bench.obtain(&bytes, &[&whole]).unwrap();
    assert_eq!(whole.asked()[0].range.as_deref(), Some("bytes=100000-"));
    // The ETag comes from the other mirror, and this mirror does not know it.
    assert_eq!(whole.asked()[0].if_range, None);
}

#[test]
fn a_part_of_another_file_is_found_out_and_thrown_away() {
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
        let server = Server::with(&bytes, &[Act::Serve]);
        let release = bench.obtain(&bytes, &[&server]).unwrap();
        assert_eq!(server.asked().len(), requests, "{} bytes", stale.len());
        assert_eq!(std::fs::read(&release.tarball).unwrap(), bytes);
        std::fs::remove_file(release.tarball).unwrap();
    }
}

#[test]
fn a_range_that_was_not_asked_for_is_not_used() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Act::Cut(100_000), Act::WrongRange, Act::Serve]);
    bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(server.asked()[2].range, None);
}

#[test]
fn an_error_that_may_pass_is_tried_again_and_the_pause_asked_for_kept() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let server = Server::with(
        &bytes,
        &[
            Act::Status(500, ""),
            Act::Status(429, "Retry-After: 1\r\n"),
            Act::Serve,
        ],
    );
    let start = std::time::Instant::now();
    bench.obtain(&bytes, &[&server]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_mirror_that_asks_for_a_long_wait_is_skipped() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let busy = Server::with(&bytes, &[Act::Status(503, "Retry-After: 3600\r\n")]);
    let good = Server::with(&bytes, &[Act::Serve]);
    bench.obtain(&bytes, &[&busy, &good]).unwrap();
    assert_eq!((busy.asked().len(), good.asked().len()), (1, 1));
    assert!(bench.said().contains("with a requested wait of 3600 s"));
}

#[test]
fn a_mirror_without_the_file_is_left_at_once_for_the_next() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let (empty, good) = (Server::new(), Server::with(&bytes, &[Act::Serve]));
    bench.obtain(&bytes, &[&empty, &good]).unwrap();
    assert_eq!(empty.asked().len(), 1);
}

#[test]
fn a_stalled_server_is_not_waited_for() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let stuck = Server::with(&bytes, &[Act::Stall(0), Act::Stall(1000)]);
    // The server sends nothing, so only the client can end the connection.
    let trouble = tried(bench.obtain(&bytes, &[&stuck]).unwrap_err());
    assert_eq!(trouble, [MirrorError::Stalled(impatient().stall)]);
}

#[test]
fn what_is_too_large_is_not_taken_whether_it_says_so_or_not() {
    let (bench, bytes) = (Bench::new(), noise((1 << 20) + 1));
    for act in [Act::Serve, Act::NoLength, Act::Claim(1 << 40)] {
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
fn one_flipped_byte_is_found_and_the_next_mirror_asked() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let mut flipped = bytes.clone();
    flipped[500] ^= 1;
    let (bad, good) = (
        Server::with(&flipped, &[Act::Serve]),
        Server::with(&bytes, &[Act::Serve]),
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
fn a_tarball_cut_short_without_a_length_is_found() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let trouble = tried(
        bench
            .obtain(&bytes, &[&Server::with(&bytes[..900], &[Act::NoLength])])
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
        text.contains("refused") && text.contains("not an http or https URL"),
        "{text}"
    );
}

#[test]
fn a_redirect_is_followed_on_each_try() {
    // This imitates github.com, which redirects to a storage host and signs new URLs each
    // time.
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let storage = Server::with(&bytes, &[Act::Cut(100_000), Act::Serve]);
    let place = address::on(&storage.mirror(), version(), &address::tarball(version())).unwrap();
    let front = Server::with(
        b"",
        &[Act::Status(302, format!("Location: {place}\r\n").leak())],
    );
    let release = bench.obtain(&bytes, &[&front]).unwrap();
    assert_eq!(std::fs::read(release.tarball).unwrap(), bytes);
    assert_eq!(front.asked().len(), 2);
    assert_eq!(storage.asked()[1].range.as_deref(), Some("bytes=100000-"));
    assert!(storage.asked()[1].if_range.is_some());
}

/// `.invalid` never resolves (RFC 6761).
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
