//! Downloads one URL into one file. An interrupted download is resumed, and a failed attempt is
//! repeated.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use recipes::Sha256;
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, RANGE, RETRY_AFTER,
};
use url::Url;

use super::answer::{MirrorResponse, Step, decide};
use super::error::ReleaseError;
use super::http::causes;
use super::mirror_error::MirrorError;
use super::partial_download::PartialDownload;
use super::progress::Progress;
use super::retry_policy::{RetryPolicy, jitter};
use crate::digest;

/// The tools for a download.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) patience: &'a RetryPolicy,
    pub(crate) progress: &'a dyn Progress,
}

/// The outcome of one attempt.
enum Attempt {
    /// All bytes have arrived.
    Complete,
    /// Another attempt may succeed, after the pause that the server requested, if any.
    Retry(MirrorError, Option<Duration>),
    /// The builder makes no further attempt at this URL.
    GiveUp(MirrorError),
}

impl Fetch<'_> {
    /// Downloads a file of at most `limit` bytes from `url` to `path`, and verifies the file's
    /// digest. Continues after the bytes that `part` already contains. Only verified bytes are
    /// moved to `path`. Returns the file's size. The outer error is a fault of this machine, such
    /// as a full disk, and the inner error is a fault of the mirror.
    pub(crate) fn verified(
        &self,
        url: &Url,
        (sha256, limit): (Sha256, u64),
        part: &PartialDownload,
        path: &Path,
    ) -> Result<Result<u64, MirrorError>, ReleaseError> {
        loop {
            let resumed = part.len() > 0;
            if let Err(trouble) = self.download(url, part, limit)? {
                // The next mirror or the next run can resume a partial file, but not a file that is
                // too large.
                if matches!(trouble, MirrorError::TooLarge { .. }) {
                    part.discard()?;
                }
                return Ok(Err(trouble));
            }
            let (size, found) =
                digest::of_file(part.path()).map_err(ReleaseError::io("read", part.path()))?;
            if found == sha256 {
                part.complete(path)?;
                return Ok(Ok(size));
            }
            part.discard()?;
            let trouble = MirrorError::Digest {
                expected: sha256,
                found,
            };
            if !resumed {
                return Ok(Err(trouble));
            }
            // The earlier bytes may be from another mirror, or damaged on this disk. Repeat the
            // download once, from the start.
            self.progress.say(&format!(
                "{url}: {trouble}; the download was resumed, so it is repeated from the start"
            ));
        }
    }

    /// Downloads the file at `url`, whose digest is not known, to `path`. The download resumes a
    /// partial file of an earlier run only if the server's ETag proves that the bytes belong to the
    /// same file, because no digest could reveal a mixture of two files. Returns the file's size
    /// and digest.
    pub(crate) fn unverified(
        &self,
        url: &Url,
        limit: u64,
        part: &PartialDownload,
        path: &Path,
    ) -> Result<Result<(u64, Sha256), MirrorError>, ReleaseError> {
        if part.etag(url).is_none() {
            part.discard()?;
        }
        if let Err(trouble) = self.download(url, part, limit)? {
            if matches!(trouble, MirrorError::TooLarge { .. }) || part.etag(url).is_none() {
                part.discard()?;
            }
            return Ok(Err(trouble));
        }
        let found = digest::of_file(part.path()).map_err(ReleaseError::io("read", part.path()))?;
        part.complete(path)?;
        Ok(Ok(found))
    }

    /// Downloads the file at `url` into `part`, and continues after the bytes that `part` already
    /// contains. The outer error is a fault of this machine, such as a full disk, and the inner
    /// error is a fault of the mirror. The downloaded bytes are not verified here.
    fn download(
        &self,
        url: &Url,
        part: &PartialDownload,
        limit: u64,
    ) -> Result<Result<(), MirrorError>, ReleaseError> {
        let deadline = Instant::now() + self.patience.whole;
        let mut failures = 0;
        loop {
            let before = part.len();
            let (trouble, wait) = match self.attempt(url, part, limit, deadline)? {
                Attempt::Complete => return Ok(Ok(())),
                Attempt::GiveUp(trouble) => return Ok(Err(trouble)),
                Attempt::Retry(trouble, wait) => (trouble, wait),
            };
            if part.len() >= before.saturating_add(RetryPolicy::PROGRESS) {
                failures = 0;
            }
            failures += 1;
            if failures >= self.patience.tries {
                return Ok(Err(trouble));
            }
            let pause = wait.unwrap_or_else(|| self.patience.pause(failures, jitter()));
            if Instant::now() + pause > deadline {
                return Ok(Err(MirrorError::Slow(self.patience.whole)));
            }
            self.progress.say(&format!(
                "{url}: {trouble}; trying again in {:.1} s",
                pause.as_secs_f64()
            ));
            std::thread::sleep(pause);
        }
    }

    /// Returns the size of the file at `url`, if the server states it.
    pub(crate) fn length(&self, url: &Url) -> Option<u64> {
        let response = self.client.head(url.clone()).send().ok()?;
        let length = header(&response, &CONTENT_LENGTH).filter(|_| response.status().is_success());
        length?.parse().ok()
    }

    /// Downloads the small file at `url`, such as a SHA256SUMS, with at most two tries.
    pub(crate) fn small(&self, url: &Url) -> Result<Vec<u8>, MirrorError> {
        let limit = self.patience.sums_bytes;
        let deadline = Instant::now() + self.patience.whole;
        let ask = || -> Result<Vec<u8>, Attempt> {
            let response = self
                .client
                .get(url.clone())
                .send()
                .map_err(|error| self.connection(error))?;
            match decide(0, &answer(&response), limit) {
                Step::StartOver { .. } => {}
                step => return Err(self.refusal(&step, response.status().as_u16(), limit)),
            }
            self.small_body(response, limit, deadline)
        };
        match ask() {
            Ok(body) => Ok(body),
            Err(Attempt::Retry(_, wait)) => {
                std::thread::sleep(wait.unwrap_or_else(|| self.patience.pause(1, jitter())));
                ask().map_err(|again| match again {
                    Attempt::Retry(trouble, _) | Attempt::GiveUp(trouble) => trouble,
                    Attempt::Complete => MirrorError::Misfit,
                })
            }
            Err(Attempt::GiveUp(trouble)) => Err(trouble),
            Err(Attempt::Complete) => Err(MirrorError::Misfit),
        }
    }

    /// Reads a body of at most `limit` bytes.
    fn small_body(
        &self,
        mut response: Response,
        limit: u64,
        deadline: Instant,
    ) -> Result<Vec<u8>, Attempt> {
        let (mut body, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            if Instant::now() > deadline {
                return Err(Attempt::GiveUp(MirrorError::Slow(self.patience.whole)));
            }
            let had = body.len() as u64;
            let count = response
                .read(&mut buffer)
                .map_err(|error| Attempt::Retry(self.broken(&error, had, None), None))?;
            if count == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&buffer[..count]);
            if body.len() as u64 > limit {
                let size = limit + 1;
                return Err(Attempt::GiveUp(MirrorError::TooLarge { size, limit }));
            }
        }
    }

    /// Sends one request, and appends to `part` whatever arrives of the body.
    fn attempt(
        &self,
        url: &Url,
        part: &PartialDownload,
        limit: u64,
        deadline: Instant,
    ) -> Result<Attempt, ReleaseError> {
        let have = part.len();
        let mut request = self.client.get(url.clone());
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            // Request the range even if there is no ETag, or if the ETag is from another mirror. If
            // the mirror's file differs, the digest reveals the difference.
            if let Some(etag) = part.etag(url) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let response = match request.send() {
            Ok(response) => response,
            Err(error) => return Ok(self.connection(error)),
        };
        match decide(have, &answer(&response), limit) {
            Step::Append { total } => self.receive(response, url, part, (total, limit), deadline),
            Step::StartOver { total } => {
                part.discard()?;
                self.receive(response, url, part, (total, limit), deadline)
            }
            Step::Complete => Ok(Attempt::Complete),
            Step::Discard => {
                part.discard()?;
                Ok(Attempt::Retry(MirrorError::Misfit, Some(Duration::ZERO)))
            }
            step => Ok(self.refusal(&step, response.status().as_u16(), limit)),
        }
    }

    /// Appends the body to `part`, and records its origin.
    fn receive(
        &self,
        mut response: Response,
        url: &Url,
        part: &PartialDownload,
        (total, limit): (Option<u64>, u64),
        deadline: Instant,
    ) -> Result<Attempt, ReleaseError> {
        let mut file = part.append()?;
        part.record_origin(url, header(&response, &ETAG).as_deref())?;
        let mut at = part.len();
        self.progress.begin(
            url.path_segments()
                .and_then(Iterator::last)
                .unwrap_or_default(),
            at,
            total,
        );
        let mut buffer = vec![0; 128 << 10];
        let end = loop {
            if Instant::now() > deadline {
                break Attempt::GiveUp(MirrorError::Slow(self.patience.whole));
            }
            let count = match response.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| at < total) => {
                    break Attempt::Retry(MirrorError::Cut { had: at, total }, None);
                }
                Ok(0) => break Attempt::Complete,
                Ok(count) => count,
                Err(error) => break Attempt::Retry(self.broken(&error, at, total), None),
            };
            at += count as u64;
            if at > limit {
                break Attempt::GiveUp(MirrorError::TooLarge { size: at, limit });
            }
            if let Err(error) = file.write_all(&buffer[..count]) {
                // The disk may be full, so free the space of the partial download.
                self.progress.end();
                let _ = part.discard();
                return Err(ReleaseError::io("write", part.path())(error));
            }
            self.progress.at(at);
        };
        self.progress.end();
        Ok(end)
    }

    /// Decides how to proceed after an answer without a usable body.
    fn refusal(&self, step: &Step, status: u16, limit: u64) -> Attempt {
        match *step {
            Step::Again(Some(wait)) if wait > self.patience.longest_wait => {
                Attempt::GiveUp(MirrorError::Wait { status, wait })
            }
            Step::Again(wait) => Attempt::Retry(MirrorError::Status(status), wait),
            Step::TooLarge(size) => Attempt::GiveUp(MirrorError::TooLarge { size, limit }),
            _ => Attempt::GiveUp(MirrorError::Status(status)),
        }
    }

    /// Decides how to proceed if no answer arrived. There is no further attempt after a permanent
    /// failure, such as a redirect loop or an unusable URL.
    fn connection(&self, error: reqwest::Error) -> Attempt {
        if error.is_timeout() {
            let limit = if error.is_connect() {
                self.patience.connect
            } else {
                self.patience.stall
            };
            return Attempt::Retry(MirrorError::Stalled(limit), None);
        }
        let lasting = error.is_builder() || error.is_redirect();
        let trouble = MirrorError::Connection(causes(&error.without_url()));
        if lasting {
            Attempt::GiveUp(trouble)
        } else {
            Attempt::Retry(trouble, None)
        }
    }

    /// Returns the error for a body that could not be read to its end.
    fn broken(&self, error: &std::io::Error, had: u64, total: Option<u64>) -> MirrorError {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<reqwest::Error>());
        if inner.is_some_and(reqwest::Error::is_timeout) {
            MirrorError::Stalled(self.patience.stall)
        } else {
            MirrorError::Cut { had, total }
        }
    }
}

/// Returns the parts of an answer on which the decision depends.
fn answer(response: &Response) -> MirrorResponse {
    MirrorResponse {
        status: response.status(),
        // reqwest's content_length() is not suitable, because it returns `None` if the body is
        // empty or decoded.
        length: header(response, &CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        range: header(response, &CONTENT_RANGE),
        retry_after: header(response, &RETRY_AFTER),
    }
}

fn header(response: &Response, name: &HeaderName) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}
