//! Tests the search for a document in the sources. The tests of the sources that query metadata
//! services use servers that refuse requests in the same way as the real services.

mod server;
mod services;

use super::*;

/// After a refusal, systemd does not start firstboot again, so a disk that cannot be read for a
/// moment must not cause a refusal.
#[test]
fn a_disk_that_cannot_be_read_does_not_cause_a_refusal() {
    let unreadable = std::io::Error::from_raw_os_error(nix::libc::EIO);
    let unreadable = anyhow::Error::from(unreadable).context("cannot read 512 bytes at 0");
    assert_eq!(code_of(&refuse_content(unreadable)), Exit::Failed);
    for content in [
        anyhow::anyhow!("its file system is damaged"),
        std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into(),
    ] {
        assert_eq!(code_of(&refuse_content(content)), Exit::Refused);
    }
}

const FIRST: &str = r#"{"payloadType":"t","payload":"Zmlyc3Q=","signatures":[]}"#;
const OTHER: &str = r#"{"payloadType":"t","payload":"b3RoZXI=","signatures":[]}"#;

/// Calls a function with a query for a machine that does not run on a known platform.
pub(super) fn with_query<T>(act: impl FnOnce(&Query<'_>) -> T) -> T {
    let (machine, platforms) = (Machine::default(), Platforms::default());
    let services = Url::parse("http://127.0.0.1:1/").unwrap();
    act(&Query {
        machine: &machine,
        url: None,
        platforms: &platforms,
        known: false,
        received: None,
        mode: QueryMode::WaitForNetwork,
        services: &services,
        waiting: &|_| (),
    })
}

const fn source(name: MetadataSource, find: fn(&Query<'_>) -> Result<SourceResult>) -> Source {
    Source { name, find }
}

fn first(_: &Query<'_>) -> Result<SourceResult> {
    Ok(FoundDocument::parse("here", FIRST.as_bytes())?.into())
}

const FILE: Source = source(MetadataSource::File, first);
const NONE: Source = source(MetadataSource::Cmdline, |_| {
    Ok(SourceResult::Nothing("no word".to_owned()))
});
const SAME: Source = source(MetadataSource::Nocloud, first);
const DIFFERENT: Source = source(MetadataSource::Ec2, |query| {
    assert_eq!(
        query.mode,
        QueryMode::Once,
        "firstboot must not wait for a service if it already has a document"
    );
    Ok(FoundDocument::parse("there", OTHER.as_bytes())?.into())
});
const BROKEN: Source = source(MetadataSource::FwCfg, |_| {
    Ok(FoundDocument::parse("firmware", b"?")?.into())
});

fn search(
    sources: &[&Source],
    known: bool,
) -> (
    Result<Option<FoundDocument>>,
    Vec<(MetadataSource, Outcome)>,
) {
    let mut log = SourceLog::default();
    let found = with_query(|query| ask(sources, &Query { known, ..*query }, &mut log));
    (
        found,
        log.sources
            .into_iter()
            .map(|row| (row.source, row.outcome))
            .collect(),
    )
}

#[test]
fn the_first_document_is_used_and_later_ones_must_agree() {
    let (found, rows) = search(&[&NONE, &FILE, &SAME], false);
    assert_eq!(found.unwrap().unwrap().origin, "here");
    let outcomes = [Outcome::Nothing, Outcome::Taken, Outcome::Agrees];
    assert_eq!(
        rows.iter().map(|(_, outcome)| *outcome).collect::<Vec<_>>(),
        outcomes
    );

    let (found, rows) = search(&[&FILE, &DIFFERENT], false);
    let error = found.unwrap_err().to_string();
    for part in [
        "there and here are different documents",
        "sources ec2 and file",
        "Remove one of them",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(
        rows,
        [
            (MetadataSource::File, Outcome::Taken),
            (MetadataSource::Ec2, Outcome::Wrong)
        ]
    );
}

#[test]
fn a_source_with_an_invalid_document_ends_the_search() {
    for sources in [&[&BROKEN, &FILE][..], &[&FILE, &BROKEN]] {
        let (found, rows) = search(sources, false);
        assert!(
            found
                .unwrap_err()
                .to_string()
                .contains("firmware is not a node document")
        );
        assert_eq!(rows.last(), Some(&(MetadataSource::FwCfg, Outcome::Wrong)));
    }
    assert!(search(&[&NONE], false).0.unwrap().is_none());
}

#[test]
fn a_node_that_is_set_up_queries_sources_only_until_it_has_a_document() {
    let (found, rows) = search(&[&NONE, &FILE, &BROKEN, &DIFFERENT], true);
    assert_eq!(found.unwrap().unwrap().origin, "here");
    assert_eq!(
        rows[2..],
        [MetadataSource::FwCfg, MetadataSource::Ec2].map(|source| (source, Outcome::NotAsked))
    );
}

#[test]
fn every_source_of_the_recipe_is_in_the_table_once() {
    let names: Vec<MetadataSource> = SOURCES.iter().map(|source| source.name).collect();
    assert_eq!(names, MetadataSource::ALL);
    for source in MetadataSource::ALL {
        assert_eq!(serde_json::to_value(source).unwrap(), source.name());
    }
}
