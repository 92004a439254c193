//! Fetches a release and its overlay from a folder or an HTTP server. firstboot need not trust the
//! folder or the server, because the release is signed and contains the digest of the overlay.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use recipes::ReleasedFile;
use recipes::image_release::{RELEASE_FILE, RELEASE_LIMIT, RELEASE_OVERLAY};
use reqwest::header::RANGE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::exit::{failed, not_ready, refused};
use crate::files;
use crate::http_client;
use crate::reason::ReasonId;
use crate::runtime::block_on;

/// The time after which a download that receives no data is treated as stalled.
const STALL: Duration = Duration::from_secs(20);
/// The number of failures after which a download is abandoned.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// A source of releases. The source contains `release.json` and `image/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A folder, such as one on a mounted USB stick.
    Folder(PathBuf),
    /// A folder on an HTTP server. The URL ends with a slash.
    Server(Url),
}

impl Source {
    /// Returns the source that the operator specifies, or the recipe's source if the operator does
    /// not specify one.
    pub(super) fn of(named: Option<&str>, recipe: Option<&Url>) -> Result<Self> {
        match (named, recipe) {
            (Some(text), _) if text.starts_with("http://") || text.starts_with("https://") => {
                let slash = if text.ends_with('/') { "" } else { "/" };
                let url = Url::parse(&format!("{text}{slash}")).map_err(|error| {
                    let why = format!("{text} is not a URL: {error}");
                    refused(ReasonId::UpdateNoSource.because(why))
                })?;
                Ok(Self::Server(url))
            }
            (Some(text), _) => Ok(Self::Folder(std::path::absolute(text)?)),
            (None, Some(url)) => Ok(Self::Server(url.clone())),
            (None, None) => Err(refused(ReasonId::UpdateNoSource.because(
                "the recipe does not specify where releases are: set `from` in [update], or pass a folder or a URL with --from",
            ))),
        }
    }

    pub(super) fn release(&self) -> Result<Vec<u8>> {
        match self {
            Self::Folder(folder) => files::read_bounded(&folder.join(RELEASE_FILE), RELEASE_LIMIT)
                .map_err(|error| {
                    not_ready(ReasonId::UpdateNoSource.because(format!(
                        "{error:#}. The folder must be an output of `builder build`"
                    )))
                }),
            Self::Server(url) => fetch(async {
                let mut response = get(&client(url)?, &url.join(RELEASE_FILE)?, 0).await?;
                let mut text = Vec::new();
                while let Some(piece) = chunk(&mut response).await? {
                    text.extend_from_slice(&piece);
                    ensure!(
                        text.len() as u64 <= RELEASE_LIMIT,
                        "{self} sent more than {RELEASE_LIMIT} bytes"
                    );
                }
                Ok(text)
            }),
        }
    }

    /// Copies the overlay to a file. If the file already contains the beginning of the overlay,
    /// copies only the rest. The caller verifies the digest.
    pub(super) fn overlay(&self, wanted: &ReleasedFile, file: &mut File) -> Result<()> {
        let have = file.seek(SeekFrom::End(0))?;
        if have > wanted.size {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
        }
        match self {
            Self::Folder(folder) => {
                let path = folder.join(RELEASE_OVERLAY);
                let mut from = files::open(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let have = file.stream_position()?;
                from.seek(SeekFrom::Start(have))?;
                std::io::copy(&mut from.take(wanted.size - have), file)
                    .with_context(|| format!("cannot copy {}", path.display()))
                    .map(drop)
            }
            Self::Server(url) => fetch(download(&url.join(RELEASE_OVERLAY)?, wanted, file)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

fn fetch<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // An error with an exit code is returned unchanged. After any other error, another attempt may
    // succeed.
    block_on(work).map_err(
        |error| match error.downcast_ref::<crate::exit::ExitError>() {
            Some(_) => error,
            None => not_ready(ReasonId::UpdateNoSource.because(format!("{error:#}"))),
        },
    )
}

/// Returns a client that follows redirects, except from HTTP to HTTPS. If a server redirects to
/// HTTPS, the operator should name the HTTPS URL instead, so that the first request is also
/// protected.
fn client(url: &Url) -> Result<Client> {
    let redirects = Policy::custom(|attempt| {
        let https = attempt.url().scheme() == "https";
        match attempt.previous().last() {
            Some(from) if https && from.scheme() == "http" => {
                let to = attempt.url().clone();
                attempt.error(format!(
                    "the server redirects to {to}; use that URL instead"
                ))
            }
            _ => Policy::default().redirect(attempt),
        }
    });
    let client = http_client::builder(url).redirect(redirects).build();
    client.context("cannot create an HTTP client")
}

async fn download(url: &Url, wanted: &ReleasedFile, file: &mut File) -> Result<()> {
    let client = client(url)?;
    let mut failures = 0;
    loop {
        let have = file.stream_position()?;
        if have == wanted.size {
            return Ok(());
        }
        let Err(error) = continue_download(&client, url, wanted, file).await else {
            continue;
        };
        failures += 1;
        if failures == TRIES {
            return Err(error);
        }
        eprintln!(
            "{error:#}; continuing from byte {}",
            file.stream_position()?
        );
        tokio::time::sleep(PAUSE).await;
    }
}

async fn continue_download(
    client: &Client,
    url: &Url,
    wanted: &ReleasedFile,
    file: &mut File,
) -> Result<()> {
    let mut response = get(client, url, file.stream_position()?).await?;
    if response.status() == StatusCode::OK {
        // A server that does not support ranges sends the whole file, so discard the bytes that
        // were downloaded earlier.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
    }
    while let Some(piece) = chunk(&mut response).await? {
        if file.stream_position()? + piece.len() as u64 > wanted.size {
            return Err(refused(ReasonId::UpdateAltered.because(format!(
                "the overlay at {url} is longer than the {} bytes that the release states",
                wanted.size
            ))));
        }
        // This node's disk causes such a failure, and not the source.
        file.write_all(&piece)
            .map_err(|error| failed(format!("cannot store the overlay: {error}")))?;
    }
    ensure!(
        file.stream_position()? == wanted.size,
        "the download of {url} ended too early"
    );
    Ok(())
}

async fn get(client: &Client, url: &Url, from: u64) -> Result<Response> {
    let mut request = client.get(url.clone());
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let response = tokio::time::timeout(STALL, request.send());
    let response = response
        .await
        .with_context(|| format!("{url} did not answer"))?;
    let response = response
        .map_err(|error| anyhow::Error::from(error.without_url()).context(url.to_string()))?;
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::PARTIAL_CONTENT if from > 0 => Ok(response),
        status => bail!("{url} answered {status}"),
    }
}

async fn chunk(response: &mut Response) -> Result<Option<bytes::Bytes>> {
    let chunk = tokio::time::timeout(STALL, response.chunk())
        .await
        .context("the download stalled")?;
    chunk.map_err(|error| {
        anyhow::Error::from(error.without_url()).context(
            "the download was \
             interrupted",
        )
    })
}

/// Returns a "not ready" error if a file system does not have this many bytes free.
pub(super) fn check_room(folder: &Path, needed: u64) -> Result<()> {
    let free = files::free_space(folder)?;
    if free < needed {
        return Err(not_ready(ReasonId::UpdateNoRoom.because(format!(
            "{} has {} MiB free, but an update needs {} MiB there for both images",
            folder.display(),
            free >> 20,
            needed.div_ceil(1 << 20)
        ))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, code_of, id_of};

    #[test]
    fn the_command_line_overrides_the_recipe() {
        let recipe = Url::parse("http://a.example/x/").unwrap();
        let of = |named| Source::of(named, Some(&recipe)).unwrap().to_string();
        assert_eq!(of(None), "http://a.example/x/");
        assert_eq!(of(Some("https://b.example/y")), "https://b.example/y/");
        assert_eq!(of(Some("/mnt/stick")), "/mnt/stick");
        let error = Source::of(None, None).unwrap_err().to_string();
        assert!(
            error.contains("[update]") && error.contains("--from"),
            "{error}"
        );
    }

    #[test]
    fn a_source_without_a_release_has_an_id() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_source = Some(ReasonId::UpdateNoSource);
        let error = Source::of(Some("http://[::/"), None).unwrap_err();
        assert_eq!(code_of(&error), Exit::Refused);
        assert_eq!(id_of(&error), no_source, "{error:#}");
        let folder = tempfile::tempdir().unwrap();
        // The listener is closed, so connections to its address are refused.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        for source in [Source::Folder(folder.path().into()), Source::Server(url)] {
            let error = source.release().unwrap_err();
            assert_eq!(code_of(&error), Exit::NotReady);
            assert_eq!(id_of(&error), no_source, "{error:#}");
        }
    }

    #[test]
    fn a_redirect_to_https_is_refused_with_the_url_to_use() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let answer = "HTTP/1.1 301 Moved\r\nLocation: https://b.example/release.json\r\n\
                          Content-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let error = format!("{:#}", Source::Server(url).release().unwrap_err());
        server.join().unwrap();
        assert!(
            error.contains(
                "the server redirects to https://b.example/release.json; use that URL instead"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_copy_from_a_folder_resumes_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("image")).unwrap();
        std::fs::write(folder.path().join(RELEASE_OVERLAY), "0123456789").unwrap();
        let source = Source::Folder(folder.path().to_owned());
        let wanted = ReleasedFile {
            size: 10,
            sha256: recipes::Sha256::of(b"0123456789"),
        };
        for (have, whole) in [
            ("", "0123456789"),
            ("01x", "01x3456789"),
            ("0123456789", "0123456789"),
            ("longer than it", "0123456789"),
        ] {
            let path = folder.path().join("part");
            std::fs::write(&path, have).unwrap();
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            source.overlay(&wanted, &mut file).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                whole,
                "after {have:?}"
            );
        }
    }
}
