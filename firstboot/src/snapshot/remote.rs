//! Downloads a snapshot that is an object in a store or a file on an HTTPS server.

use anyhow::{Result, bail, ensure};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use recipes::Backup;
use recipes::backup::Destination;
use reqwest::{Client, Response};
use url::{Position, Url};

use super::bucket::{Bucket, client};
use super::encode::stem;
use super::manifest::{self, Manifest};
use super::store::Store;
use crate::exit::{not_ready, refused};
use crate::reason::ReasonId;

/// The location of the snapshot.
#[derive(Debug)]
pub(crate) enum RemoteSnapshot {
    /// An object in a store, which is accessed with the settings of the recipe and the keys of this
    /// node.
    Object { bucket: Bucket, name: String },
    /// A file on an HTTPS server.
    Page { http: Client, url: Url },
}

impl RemoteSnapshot {
    /// Parses an HTTPS or S3 URL. Returns `None` for any other string.
    pub(crate) fn of(text: &str, backup: Option<&Backup>) -> Result<Option<Self>> {
        let no = |why: String| refused(ReasonId::RestoreSource.because(why));
        if text.starts_with("https://") {
            let url =
                Url::parse(text).map_err(|error| no(format!("{text} is not a URL: {error}")))?;
            return Ok(Some(Self::Page {
                http: client()?,
                url,
            }));
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            return Ok(None);
        };
        let named = rest
            .rsplit_once('/')
            .filter(|(_, name)| stem(name).is_some());
        let (place, name) = named.ok_or_else(|| {
            no(format!(
                "{text} is not the URL of a snapshot, such as s3://BUCKET/PREFIX/NAME.db"
            ))
        })?;
        let place: Destination = format!("s3://{place}/").parse().map_err(no)?;
        match Store::of(Some(&place), backup)? {
            Store::Bucket(bucket) => Ok(Some(Self::Object {
                bucket,
                name: name.to_owned(),
            })),
            Store::Folder(_) => Ok(None),
        }
    }

    /// Returns the snapshot's manifest, or `None` if the snapshot has no valid manifest.
    pub(crate) async fn manifest(&self) -> Result<Option<Manifest>> {
        match self {
            Self::Object { bucket, name } => bucket.manifest(name).await,
            Self::Page { http, url } => {
                let mut beside = url.clone();
                beside.set_path(&format!("{}{}", url.path(), manifest::SUFFIX));
                let mut answer = http
                    .get(beside)
                    .send()
                    .await
                    .map_err(|error| self.trouble(error))?;
                let mut content = Vec::new();
                while let (true, Some(piece)) =
                    (answer.status().is_success(), answer.chunk().await?)
                {
                    content.extend_from_slice(&piece);
                    ensure!(
                        content.len() as u64 <= manifest::LIMIT,
                        "{self}: its manifest has more than {} bytes",
                        manifest::LIMIT
                    );
                }
                Ok(Manifest::parse(&content))
            }
        }
    }

    /// Requests all bytes from this offset to the end of the file.
    pub(crate) async fn get(&self, from: u64) -> Result<Response> {
        let (http, url) = match self {
            Self::Object { bucket, name } => (&bucket.http, bucket.signed(name).await?),
            Self::Page { http, url } => (http, url.clone()),
        };
        let mut request = http.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let answer = request.send().await.map_err(|error| self.trouble(error))?;
        let range = answer
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        match answer.status() {
            StatusCode::OK if from == 0 => Ok(answer),
            StatusCode::PARTIAL_CONTENT if range.starts_with(&format!("bytes {from}-")) => {
                Ok(answer)
            }
            StatusCode::NOT_FOUND => Err(refused(
                ReasonId::SnapshotNotFound
                    .because(format!("{self} does not exist: check the name")),
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refused(ReasonId::StoreDenied.because(format!(
                    "{self}: the server answered {}: check the keys or the URL",
                    answer.status()
                ))))
            }
            status => bail!(
                "{self}: the server answered {status} to a request for the bytes from offset {from}"
            ),
        }
    }

    /// Returns the error for a failed request, without the request's URL, which may contain a
    /// signature.
    fn trouble(&self, error: reqwest::Error) -> anyhow::Error {
        let redirect = error.is_redirect();
        let why = format!("{self}: {:#}", anyhow::Error::from(error.without_url()));
        if redirect {
            refused(ReasonId::StoreDenied.because(why))
        } else {
            not_ready(ReasonId::StoreUnreachable.because(why))
        }
    }
}

impl std::fmt::Display for RemoteSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object { bucket, name } => write!(f, "{bucket}{name}"),
            Self::Page { url, .. } => write!(
                f,
                "https://{}",
                &url[Position::BeforeHost..Position::AfterPath]
            ),
        }
    }
}
