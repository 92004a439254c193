//! Downloads one URL into one file, resuming and retrying as often as is useful.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, RANGE, RETRY_AFTER,
};
use url::Url;

use super::answer::{Answer, Step, decide};
use super::error::ReleaseError;
use super::http::causes;
use super::part::Part;
use super::patience::{Patience, dice};
use super::progress::Progress;
use super::trouble::Trouble;

/// What a download needs.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    /// The HTTP client.
    pub(crate) client: &'a Client,
    /// Its limits.
    pub(crate) patience: &'a Patience,
    /// The receiver of progress reports.
    pub(crate) progress: &'a dyn Progress,
}

/// The outcome of one try.
enum Try {
    /// All bytes have arrived.
    Whole,
    /// Another try may succeed, after the pause that the server named.
    Again(Trouble, Option<Duration>),
    /// Another try would not succeed.
    Leave(Trouble),
}

impl Fetch<'_> {
    /// Downloads the file at `url` into `part`, continuing from what `part` already has. The outer
    /// error is this machine's (the disk), the inner one the mirror's. The bytes are not verified
    /// yet.
    pub(crate) fn bring(
        &self,
        url: &Url,
        part: &Part,
    ) -> Result<Result<(), Trouble>, ReleaseError> {
        let deadline = Instant::now() + self.patience.whole;
        let mut failures = 0;
        loop {
            let before = part.len();
            let (trouble, wait) = match self.once(url, part, deadline)? {
                Try::Whole => return Ok(Ok(())),
                Try::Leave(trouble) => return Ok(Err(trouble)),
                Try::Again(trouble, wait) => (trouble, wait),
            };
            if part.len() >= before.saturating_add(Patience::PROGRESS) {
                failures = 0;
            }
            failures += 1;
            if failures >= self.patience.tries {
                return Ok(Err(trouble));
            }
            let pause = wait.unwrap_or_else(|| self.patience.pause(failures, dice()));
            if Instant::now() + pause > deadline {
                return Ok(Err(Trouble::Slow(self.patience.whole)));
            }
            self.progress.say(&format!(
                "{url}: {trouble}; trying again in {:.1} s",
                pause.as_secs_f64()
            ));
            std::thread::sleep(pause);
        }
    }

    /// Downloads the small text at `url`, with at most two tries: it is only evidence, so its
    /// absence is not a failure.
    pub(crate) fn text(&self, url: &Url) -> Result<String, Trouble> {
        let limit = self.patience.sums_bytes;
        let ask = || -> Result<String, Try> {
            let response = self
                .client
                .get(url.clone())
                .send()
                .map_err(|error| self.connection(error))?;
            match decide(0, &answer(&response), limit) {
                Step::StartOver { .. } => {}
                step => return Err(self.refusal(&step, response.status().as_u16(), limit)),
            }
            let mut body = Vec::new();
            let read = response.take(limit + 1).read_to_end(&mut body);
            read.map_err(|error| Try::Again(self.broken(&error, body.len() as u64, None), None))?;
            if body.len() as u64 > limit {
                return Err(Try::Leave(Trouble::TooLarge {
                    size: limit + 1,
                    limit,
                }));
            }
            Ok(String::from_utf8_lossy(&body).into_owned())
        };
        match ask() {
            Ok(text) => Ok(text),
            Err(Try::Again(_, wait)) => {
                std::thread::sleep(wait.unwrap_or_else(|| self.patience.pause(1, dice())));
                ask().map_err(|again| match again {
                    Try::Again(trouble, _) | Try::Leave(trouble) => trouble,
                    Try::Whole => Trouble::Misfit,
                })
            }
            Err(Try::Leave(trouble)) => Err(trouble),
            Err(Try::Whole) => Err(Trouble::Misfit),
        }
    }

    /// Sends one request, and reads as much of its body as arrives.
    fn once(&self, url: &Url, part: &Part, deadline: Instant) -> Result<Try, ReleaseError> {
        let have = part.len();
        let mut request = self.client.get(url.clone());
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            // The range is requested even without an ETag (or with one from a different mirror): if
            // the file differs, its digest will show it.
            if let Some(etag) = part.etag(url) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let response = match request.send() {
            Ok(response) => response,
            Err(error) => return Ok(self.connection(error)),
        };
        let limit = self.patience.release_bytes;
        match decide(have, &answer(&response), limit) {
            Step::Append { total } => self.receive(response, url, part, total, deadline),
            Step::StartOver { total } => {
                part.discard()?;
                self.receive(response, url, part, total, deadline)
            }
            Step::Complete => Ok(Try::Whole),
            Step::Discard => {
                part.discard()?;
                Ok(Try::Again(Trouble::Misfit, Some(Duration::ZERO)))
            }
            step => Ok(self.refusal(&step, response.status().as_u16(), limit)),
        }
    }

    /// Writes the body to the end of `part`.
    fn receive(
        &self,
        mut response: Response,
        url: &Url,
        part: &Part,
        total: Option<u64>,
        deadline: Instant,
    ) -> Result<Try, ReleaseError> {
        let limit = self.patience.release_bytes;
        let mut file = part.append()?;
        part.remember(url, header(&response, &ETAG).as_deref())?;
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
                break Try::Leave(Trouble::Slow(self.patience.whole));
            }
            let count = match response.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| at < total) => {
                    break Try::Again(Trouble::Cut { had: at, total }, None);
                }
                Ok(0) => break Try::Whole,
                Ok(count) => count,
                Err(error) => break Try::Again(self.broken(&error, at, total), None),
            };
            at += count as u64;
            if at > limit {
                break Try::Leave(Trouble::TooLarge { size: at, limit });
            }
            if let Err(error) = file.write_all(&buffer[..count]) {
                // If the disk is full, the file is truncated to its earlier length.
                self.progress.end();
                let _ = part.discard();
                return Err(ReleaseError::io("write", part.path())(error));
            }
            self.progress.at(at);
        };
        self.progress.end();
        Ok(end)
    }

    /// Decides on an answer whose body is useless.
    fn refusal(&self, step: &Step, status: u16, limit: u64) -> Try {
        match *step {
            Step::Again(Some(wait)) if wait > self.patience.longest_wait => {
                Try::Leave(Trouble::Wait { status, wait })
            }
            Step::Again(wait) => Try::Again(Trouble::Status(status), wait),
            Step::TooLarge(size) => Try::Leave(Trouble::TooLarge { size, limit }),
            _ => Try::Leave(Trouble::Status(status)),
        }
    }

    /// Decides what to do if no answer arrived. A permanent failure (a redirect loop, an unusable
    /// URL) is not tried again.
    fn connection(&self, error: reqwest::Error) -> Try {
        if error.is_timeout() {
            let limit = if error.is_connect() {
                self.patience.connect
            } else {
                self.patience.stall
            };
            return Try::Again(Trouble::Stalled(limit), None);
        }
        let lasting = error.is_builder() || error.is_redirect();
        let trouble = Trouble::Connection(causes(&error.without_url()));
        if lasting {
            Try::Leave(trouble)
        } else {
            Try::Again(trouble, None)
        }
    }

    /// The body ended early.
    fn broken(&self, error: &std::io::Error, had: u64, total: Option<u64>) -> Trouble {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<reqwest::Error>());
        if inner.is_some_and(reqwest::Error::is_timeout) {
            Trouble::Stalled(self.patience.stall)
        } else {
            Trouble::Cut { had, total }
        }
    }
}

/// The parts of an answer that the decision needs.
fn answer(response: &Response) -> Answer {
    Answer {
        status: response.status(),
        // Not reqwest's content_length(), which returns none if the body is empty or decoded.
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
