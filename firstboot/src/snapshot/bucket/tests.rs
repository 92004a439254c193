//! Provides a store for tests, which answers each request with a function.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use object_store::client::{HttpError, HttpRequest, HttpResponse, HttpService};

use super::*;

/// Returns the status and the body of the answer to a request. The argument is the request's method
/// and query.
type Answer = fn(&str) -> (u16, &'static str);

#[derive(Debug, Clone)]
struct Fake {
    answer: Answer,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpConnector for Fake {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Fake {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let query = request.uri().query().unwrap_or_default();
        let asked = format!("{} {}", request.method(), query.trim_end_matches('='));
        let (status, body) = (self.answer)(&asked);
        let mut log = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(asked);
        let answer = http::Response::builder()
            .status(status)
            .header("etag", "\"x\"")
            .body(body.to_owned().into())
            .unwrap();
        Box::pin(ready(Ok(answer)))
    }
}

/// Returns a bucket in a store with these answers, and the requests that the store has received.
pub(in crate::snapshot) fn bucket(answer: Answer) -> (Bucket, Arc<Mutex<Vec<String>>>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Arc::default();
    let fake = Fake {
        answer,
        asked: Arc::clone(&asked),
    };
    let store = AmazonS3Builder::new()
        .with_bucket_name("backups")
        .with_endpoint("https://10.0.0.1")
        .with_access_key_id("id")
        .with_secret_access_key("secret")
        .with_region("us-east-1")
        .with_http_connector(fake)
        .build()
        .unwrap();
    let bucket = Bucket {
        store: Arc::new(store),
        http: client().unwrap(),
        name: "backups".to_owned(),
        prefix: "etcd/".to_owned(),
    };
    (bucket, asked)
}
