//! Tests of the evidence for a release, and of sources other than a mirror.

use super::server::Behavior;
use super::*;

fn line(bytes: &[u8]) -> String {
    sums::write([(Sha256::of(bytes), address::tarball(version()).as_str())])
}

#[test]
fn matching_sums_are_evidence_and_missing_sums_cause_a_note() {
    let bytes = noise(1000);
    let bench = Bench::new();
    let server = Server::with(&bytes, &[Behavior::Serve]).sums(&line(&bytes));
    let release = bench.obtain(&bytes, &[&server]).unwrap();
    assert!(
        matches!(release.evidence.sums, Sums::Agrees(place) if place.ends_with("/v3.5.1/SHA256SUMS"))
    );
    assert!(!release.evidence.in_table);

    let long = "x".repeat(5000);
    for (server, why) in [
        (Server::with(&bytes, &[Behavior::Serve]), "404"),
        (
            Server::with(&bytes, &[Behavior::Serve]).sums("nonsense"),
            "does not list",
        ),
        (
            Server::with(&bytes, &[Behavior::Serve]).sums(&long),
            "larger",
        ),
        (
            Server::with(&bytes, &[Behavior::Serve]).file(
                "SHA256SUMS",
                b"late",
                &[Behavior::Stall(0)],
            ),
            "no data arrived",
        ),
    ] {
        let bench = Bench::new();
        let release = bench.obtain(&bytes, &[&server]).unwrap();
        assert!(
            matches!(&release.evidence.sums, Sums::Missing(_, found) if found.contains(why)),
            "{release:?}"
        );
        assert!(bench.said().contains("note: "), "{}", bench.said());
    }
}

#[test]
fn contradictory_sums_stop_the_build_before_the_download_of_the_tarball() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let server = Server::with(&bytes, &[Behavior::Serve]).sums(&line(b"another"));
    let second = Server::with(&bytes, &[Behavior::Serve]);
    let error = bench.obtain(&bytes, &[&server, &second]).unwrap_err();
    assert!(matches!(error, ReleaseError::Disagreement(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains(&Sha256::of(b"another").to_string()),
        "{error}"
    );
    assert!(
        error.to_string().contains(server.mirror().as_str()),
        "{error}"
    );
    assert_eq!((server.asked().len(), second.count()), (0, 0));
}

#[test]
fn a_recipe_that_contradicts_the_table_is_refused_without_a_network() {
    let (bench, server) = (Bench::new(), Server::new());
    let mirrors = [server.mirror()];
    let version = "3.6.14".parse().unwrap();
    let sha256 = Sha256::of(b"another");
    let wanted = ReleaseRequest {
        version,
        sha256,
        mirrors: &mirrors,
        cache: bench.cache(),
        offline: false,
        file: None,
    };
    let error = obtain_within(&wanted, &impatient(), &bench.said).unwrap_err();
    assert!(error.to_string().contains("ffe840ff"), "{error}");
    assert_eq!((server.count(), bench.files()), (0, Vec::new()));
}

#[test]
fn a_cached_release_needs_no_network_with_or_without_offline() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let server = Server::with(&bytes, &[Behavior::Serve]);
    bench.obtain(&bytes, &[&server]).unwrap();
    let before = server.count();
    for offline in [false, true] {
        let release = bench
            .obtain_as(Sha256::of(&bytes), &[server.mirror()], offline)
            .unwrap();
        assert_eq!(release.evidence.origin, Origin::Cache);
    }
    assert_eq!(server.count(), before);
}

#[test]
fn offline_with_an_empty_cache_reports_the_remedy_and_leaves_nothing() {
    let (bench, server) = (Bench::new(), Server::new());
    let error = bench
        .obtain_as(Sha256::of(b""), &[server.mirror()], true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--offline") && error.contains("--release FILE"),
        "{error}"
    );
    assert_eq!(server.count(), 0);
    assert_eq!(std::fs::read_dir(bench.cache()).unwrap().count(), 0);
}

#[test]
fn a_damaged_cache_entry_is_removed_and_fetched_again() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let server = Server::with(&bytes, &[Behavior::Serve]);
    let tarball = bench.obtain(&bytes, &[&server]).unwrap().tarball;
    let mut damaged = bytes.clone();
    damaged[10] ^= 0x80;
    std::fs::write(&tarball, &damaged).unwrap();
    bench.obtain(&bytes, &[&server]).unwrap();
    assert_eq!(std::fs::read(&tarball).unwrap(), bytes);
    assert!(bench.said().contains("is damaged"), "{}", bench.said());

    std::fs::write(&tarball, &damaged).unwrap();
    let error = bench.obtain_as(Sha256::of(&bytes), &[], true).unwrap_err();
    assert!(matches!(error, ReleaseError::Offline { .. }), "{error}");
}

#[test]
fn two_concurrent_builders_download_once() {
    let (bench, bytes) = (Bench::new(), noise(300_000));
    let server = Server::with(&bytes, &[Behavior::Serve]);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| bench.obtain(&bytes, &[&server]).unwrap()))
            .collect();
        for thread in threads {
            assert_eq!(
                std::fs::read(thread.join().unwrap().tarball).unwrap(),
                bytes
            );
        }
    });
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_file_is_verified_like_a_download_and_the_cache_is_unchanged() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("brought.tar.gz");
    let obtain = |path: &Path| {
        let sha256 = Sha256::of(&bytes);
        let file = Some(path);
        let wanted = ReleaseRequest {
            version: version(),
            sha256,
            mirrors: &[],
            cache: bench.cache(),
            offline: true,
            file,
        };
        obtain_within(&wanted, &impatient(), &bench.said)
    };
    std::fs::write(&file, &bytes).unwrap();
    let release = obtain(&file).unwrap();
    assert_eq!(
        (release.evidence.origin, release.evidence.sums),
        (Origin::File, Sums::NotAsked)
    );

    std::fs::write(folder.path().join("SHA256SUMS"), line(&bytes)).unwrap();
    assert!(matches!(
        obtain(&file).unwrap().evidence.sums,
        Sums::Agrees(_)
    ));
    std::fs::write(folder.path().join("SHA256SUMS"), line(b"another")).unwrap();
    assert!(matches!(obtain(&file), Err(ReleaseError::Disagreement(_))));
    std::fs::remove_file(folder.path().join("SHA256SUMS")).unwrap();

    std::fs::write(&file, &bytes[1..]).unwrap();
    let text = obtain(&file).unwrap_err().to_string();
    assert!(
        text.contains(&Sha256::of(&bytes[1..]).to_string()) && text.contains("brought.tar.gz"),
        "{text}"
    );
    assert!(matches!(
        obtain(folder.path()),
        Err(ReleaseError::NoRelease { .. })
    ));
    let text = obtain(&folder.path().join("gone")).unwrap_err().to_string();
    assert!(
        text.contains("gone, which must be the release tarball etcd-v")
            && text.contains("No such file"),
        "{text}"
    );
    std::fs::write(&file, noise((1 << 20) + 1)).unwrap();
    assert!(
        obtain(&file)
            .unwrap_err()
            .to_string()
            .contains("larger than any release")
    );
    assert_eq!(std::fs::read_dir(bench.cache()).unwrap().count(), 0);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (bench, bytes) = (Bench::new(), noise(1000));
    std::fs::write(
        bench.cache().join("releases"),
        "a file where the folder should be",
    )
    .unwrap();
    let error = bench
        .obtain(&bytes, &[&Server::with(&bytes, &[Behavior::Serve])])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&bench.cache().display().to_string()),
        "{error}"
    );
}
