//! Stores snapshots under a prefix in a bucket of an S3-compatible object store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use members::timestamp::now;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig};
use recipes::Sha256;
use recipes::backup::S3;
use reqwest::redirect::{Action, Attempt, Policy};
use ring::digest;
use url::Url;

use super::credentials;
use super::listed::{ListedSnapshot, is_snapshot};
use super::manifest::{self, Manifest};
use super::store_error::{ErrorAnswer, store_error};
use crate::exit::{Exit, code_of, not_ready, refused};
use crate::reason::ReasonId;

/// The time after which firstboot repeats a request if the store has sent no data.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The limits for the retries of one request: their number, their total time, and the increasing
/// pauses between them.
const RETRIES: RetryConfig = RetryConfig {
    backoff: object_store::BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(15),
        base: 2.,
    },
    max_retries: 8,
    retry_timeout: Duration::from_secs(180),
};
/// The time for which a signed URL is valid.
const SIGNED: Duration = Duration::from_secs(300);

/// A prefix in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(super) store: Arc<AmazonS3>,
    pub(super) http: reqwest::Client,
    name: String,
    prefix: String,
}

/// firstboot's own HTTP client, which resolves names without NSS and does not use a proxy.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Returns the HTTP client for downloads and uploads of snapshots.
pub(super) fn client() -> Result<reqwest::Client> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(STALL_TIMEOUT);
    http.redirect(Policy::custom(redirected))
        .build()
        .context("cannot create an HTTPS client")
}

/// Follows up to ten redirects, but never from HTTPS to plain HTTP, because anyone on the network
/// path can read and change plain HTTP.
fn redirected(attempt: Attempt<'_>) -> Action {
    const MOST: usize = 10;
    let secured = attempt.previous().iter().any(|url| url.scheme() == "https");
    match attempt.url().scheme() {
        "http" if secured => {
            let to = attempt.url().host_str().unwrap_or_default().to_owned();
            attempt.error(format!(
                "the server redirects to plain HTTP at {to}, which firstboot does not follow"
            ))
        }
        _ if attempt.previous().len() > MOST => {
            attempt.error("the server redirects more than 10 times")
        }
        _ => attempt.follow(),
    }
}

impl Bucket {
    pub(super) fn open(name: &str, prefix: &str, s3: &S3) -> Result<Self> {
        let http = client()?;
        let keys = credentials::find()?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_virtual_hosted_style_request(!s3.path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RETRIES)
            .with_http_connector(Connector(http.clone()))
            .with_access_key_id(keys.id)
            .with_secret_access_key(keys.secret)
            .with_region(s3.region.as_deref().unwrap_or("us-east-1"));
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &s3.endpoint {
            // For virtual-hosted requests, the crate `object_store` expects the bucket in the
            // endpoint's host name.
            let mut endpoint = endpoint.clone();
            if let (false, Some(host)) = (s3.path_style, endpoint.host_str()) {
                let host = format!("{name}.{host}");
                endpoint
                    .set_host(Some(&host))
                    .with_context(|| format!("{host} is not a valid host name"))?;
            }
            builder = builder
                .with_allow_http(endpoint.scheme() == "http")
                .with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        let store = Arc::new(
            builder
                .build()
                .context("the settings of the object store are invalid")?,
        );
        Ok(Self {
            store,
            http,
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Returns the path of the object with this name.
    pub(super) fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    pub(super) async fn list(&self) -> Result<Vec<ListedSnapshot>> {
        let prefix = Path::from(self.prefix.as_str());
        let mut objects = self.store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.error("list", &error))?;
            let name = object
                .location
                .as_ref()
                .strip_prefix(self.prefix.as_str())
                .unwrap_or_default();
            if is_snapshot(name) && !name.contains('/') {
                found.push(ListedSnapshot {
                    name: name.to_owned(),
                    size: object.size,
                    manifest: self.manifest(name).await?,
                });
            }
        }
        Ok(found)
    }

    pub(super) async fn manifest(&self, name: &str) -> Result<Option<Manifest>> {
        let path = self.path(&format!("{name}{}", manifest::SUFFIX));
        let range = object_store::GetOptions::new().with_range(Some(0..manifest::LIMIT));
        let content = match self.store.get_opts(&path, range).await {
            Ok(got) => got.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let content = content.map_err(|error| self.error("read a manifest from", &error))?;
        Ok(Manifest::parse(&content).filter(|manifest| manifest.file == name))
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        for name in [name.to_owned(), format!("{name}{}", manifest::SUFFIX)] {
            match self.store.delete(&self.path(&name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error("remove from", &error)),
            }
        }
        Ok(())
    }

    /// Returns a signed URL, with which anyone can read the object for a limited time.
    pub(super) async fn signed(&self, name: &str) -> Result<Url> {
        Ok(self
            .store
            .signed_url(Method::GET, &self.path(name), SIGNED)
            .await?)
    }

    /// Refuses a name under which an object already exists.
    pub(super) async fn ensure_absent(&self, name: &str) -> Result<()> {
        match self.store.head(&self.path(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Ok(_) => Err(refused(ReasonId::SnapshotExists.because(format!(
                "{self}{name} exists, and a snapshot never replaces another snapshot. Choose a \
                     different name"
            )))),
            Err(error) => Err(self.error("access", &error)),
        }
    }

    /// Stores a small object, and checks its content by reading it back.
    pub(super) async fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path(name);
        let put = self
            .store
            .put(&path, PutPayload::from(content.to_vec()))
            .await;
        put.map_err(|error| self.error("write to", &error))?;
        let back = async { self.store.get(&path).await?.bytes().await }.await;
        let back = back.map_err(|error| self.error("read back from", &error))?;
        ensure!(
            back == content,
            "{self}{name} differs from the written content when it is read back"
        );
        Ok(())
    }

    /// Checks the length of an object, and compares its content with the digest that the store
    /// reports. If the store does not report a digest, reads the object back. Returns the name of
    /// the check, for the manifest.
    pub(super) async fn check(
        &self,
        name: &str,
        size: u64,
        sha256: Sha256,
        parts: &Parts,
    ) -> Result<&'static str> {
        let (length, digest) = self.stored(name).await?;
        ensure!(
            length == size,
            "{self}{name} has {length} bytes, but {size} were sent"
        );
        if let Some(digest) = digest {
            // Amazon returns the digest of the parts' digests together with the number of parts.
            // Other stores omit the number, or return the digest of the whole object. Accept each
            // of these forms, because each form identifies the content.
            let composite = parts.composite();
            let known = [
                format!("{composite}-{}", parts.count),
                composite,
                STANDARD.encode(sha256.as_bytes()),
            ];
            if known.contains(&digest) {
                return Ok("stored digest");
            }
            bail!(
                "{self}{name}: the store reports the digest {digest}, but the digest of the sent \
                     bytes is {}",
                known[0]
            );
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let got = self
            .store
            .get(&self.path(name))
            .await
            .map_err(|error| self.error("read back from", &error))?;
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.next().await {
            hash.update(&piece.map_err(|error| self.error("read back from", &error))?);
        }
        let right = hash.finish().as_ref() == sha256.as_bytes();
        ensure!(
            right,
            "{self}{name} differs from the sent bytes when it is read back"
        );
        Ok("read back")
    }

    /// Returns the length of an object, and its digest if the store has one. This function sends
    /// its own request, because the crate `object_store` does not request the digest.
    async fn stored(&self, name: &str) -> Result<(u64, Option<String>)> {
        const MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
        let enabled = HeaderValue::from_static("ENABLED");
        let options = SignedUrlOptions::default().with_signed_header(MODE, enabled.clone());
        let url = self
            .store
            .signed_url_opts(Method::HEAD, &self.path(name), SIGNED, &options)
            .await?;
        let unchecked = format!("{self}{name} was written, but cannot be checked");
        let mut last = not_ready(ReasonId::StoreUnreachable.because(unchecked.clone()));
        for pause in [0, 1, 2, 4, 8] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let answer = match self
                .http
                .head(url.clone())
                .header(MODE, enabled.clone())
                .send()
                .await
            {
                Ok(answer) if answer.status() == StatusCode::OK => answer,
                Ok(answer) => {
                    last = ErrorAnswer {
                        status: Some(answer.status()),
                        error: None,
                    }
                    .into_error(&unchecked, now());
                    if code_of(&last) == Exit::Refused {
                        return Err(last);
                    }
                    continue;
                }
                Err(error) => {
                    let error = anyhow::Error::from(error.without_url());
                    last = not_ready(
                        ReasonId::StoreUnreachable.because(format!("{unchecked}: {error:#}")),
                    );
                    continue;
                }
            };
            let header = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
            };
            let length = header("content-length").and_then(|value| value.parse().ok());
            let length = length.with_context(|| {
                format!("{self}{name}: the store does not report the object's length")
            })?;
            return Ok((length, header("x-amz-checksum-sha256").map(str::to_owned)));
        }
        Err(last)
    }

    /// Converts an error of the store.
    pub(super) fn error(&self, what: &str, error: &object_store::Error) -> anyhow::Error {
        store_error(&format!("cannot {what} {self}"), error, now())
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.name, self.prefix)
    }
}

/// The digests of an upload's parts.
pub(super) struct Parts {
    hash: digest::Context,
    count: u64,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parts", self.count)
    }
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            hash: digest::Context::new(&digest::SHA256),
            count: 0,
        }
    }

    pub(super) fn add(&mut self, part: Sha256) {
        self.hash.update(part.as_bytes());
        self.count += 1;
    }

    /// Returns the digest of the parts' digests (Amazon S3 User Guide, "Checking object integrity",
    /// composite checksums).
    fn composite(&self) -> String {
        STANDARD.encode(self.hash.clone().finish())
    }
}

#[cfg(test)]
pub(super) mod tests;
