//! Asks all members of a cluster at the same time.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::etcd::{Client, installed_credentials};
use crate::runtime::block_on;

/// The time limit for one member's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the answers of the members at these client URLs. Omits members that do not answer in
/// time. Returns no answers if this node has no certificates yet.
pub(super) fn of_members<T, F>(
    urls: impl IntoIterator<Item = String>,
    ask: fn(Client) -> F,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let Ok(credentials) = installed_credentials() else {
        return Ok(Vec::new());
    };
    block_on(async {
        let mut asked = JoinSet::new();
        for url in urls {
            let credentials = credentials.clone();
            asked.spawn(async move {
                let answer = async { ask(Client::connect(&url, &credentials).await?).await };
                let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
                answer.ok().and_then(Result::ok)
            });
        }
        Ok(asked.join_all().await.into_iter().flatten().collect())
    })
}
