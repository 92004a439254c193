//! A stored snapshot that is elsewhere: an object of a store, or a file that an https server has.

use anyhow::{Result, bail, ensure};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use recipes::Backup;
use reqwest::{Client, Response};
use url::{Position, Url};

use super::bucket::{Bucket, client};
use super::encode::stem;
use super::manifest::{self, Manifest};
use super::store::Store;
use crate::exit::{not_ready, refused};

/// Where it is.
#[derive(Debug)]
pub(crate) enum Remote {
    /// In a store that the recipe or the environment opens.
    Object { bucket: Bucket, name: String },
    /// Behind an address.
    Page { http: Client, url: Url },
}

impl Remote {
    /// The one that a URL names; `None` for what is not a URL.
    pub(crate) fn of(text: &str, backup: Option<&Backup>) -> Result<Option<Self>> {
        if text.starts_with("https://") {
            let url = Url::parse(text).map_err(|error| refused(format!("{text} is not a URL: {error}")))?;
            return Ok(Some(Self::Page { http: client()?, url }));
        }
        let Some(rest) = text.strip_prefix("s3://") else { return Ok(None) };
        let named = rest.rsplit_once('/').filter(|(_, name)| stem(name).is_some());
        let (place, name) = named.ok_or_else(|| refused(format!("{text} names no snapshot: s3://bucket/…/NAME.db")))?;
        match Store::of(Some(&format!("s3://{place}/")), backup)? {
            Store::Bucket(bucket) => Ok(Some(Self::Object { bucket, name: name.to_owned() })),
            Store::Folder(_) => Ok(None),
        }
    }

    /// What stands beside it, if anything does.
    pub(crate) async fn manifest(&self) -> Result<Option<Manifest>> {
        match self {
            Self::Object { bucket, name } => bucket.manifest(name).await,
            Self::Page { http, url } => {
                let mut beside = url.clone();
                beside.set_path(&format!("{}{}", url.path(), manifest::SUFFIX));
                let mut answer = http.get(beside).send().await.map_err(|error| self.trouble(error))?;
                let mut content = Vec::new();
                while let (true, Some(piece)) = (answer.status().is_success(), answer.chunk().await?) {
                    content.extend_from_slice(&piece);
                    ensure!(content.len() as u64 <= manifest::LIMIT, "{self}: its manifest is too long to be one");
                }
                Ok(Manifest::parse(&content))
            }
        }
    }

    /// All of it from some byte on.
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
        let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match answer.status() {
            StatusCode::OK if from == 0 => Ok(answer),
            StatusCode::PARTIAL_CONTENT if range.starts_with(&format!("bytes {from}-")) => Ok(answer),
            StatusCode::NOT_FOUND => Err(refused(format!("{self} is not there"))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refused(format!("{self}: the server answers {}", answer.status())))
            }
            status => bail!("{self}: the server answers {status} where byte {from} and all after it were asked for"),
        }
    }

    /// Without the address: it may have a signature in it.
    fn trouble(&self, error: reqwest::Error) -> anyhow::Error {
        let redirect = error.is_redirect();
        let why = format!("{self}: {:#}", anyhow::Error::from(error.without_url()));
        if redirect { refused(why) } else { not_ready(why) }
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object { bucket, name } => write!(f, "{bucket}{name}"),
            Self::Page { url, .. } => write!(f, "https://{}", &url[Position::BeforeHost..Position::AfterPath]),
        }
    }
}
