//! The member from which a snapshot is taken.

use anyhow::Result;

use crate::etcd::{Client, Credentials, StatusResponse};
use crate::exit::{not_ready, refused};
use crate::reason::ReasonId;

/// The member of this node.
const LOCAL: &str = "https://127.0.0.1:2379";
/// etcd's number for the alarm CORRUPT.
const CORRUPT: i32 = 2;

/// A member that answers.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) status: StatusResponse,
}

impl Endpoint {
    /// The member at this client URL, or the local member.
    pub(super) async fn at(endpoint: Option<&str>, credentials: &Credentials) -> Result<Self> {
        let endpoint = endpoint.unwrap_or(LOCAL);
        let opened = async {
            let client = Client::connect_bulk(endpoint, credentials).await?;
            let status = client.status().await?;
            anyhow::Ok(Self {
                url: endpoint.to_owned(),
                client,
                status,
            })
        };
        let source = opened.await.map_err(|error| {
            not_ready(ReasonId::MembersUnhealthy.because(format!("{endpoint}: {error:#}")))
        })?;
        if source.is_corrupt().await {
            return Err(refused(ReasonId::AlarmCorrupt.because(format!(
                "etcd reports that the data of {endpoint} is corrupt (alarm CORRUPT). Take the snapshot from another member \
                 with --from-any"
            ))));
        }
        Ok(source)
    }

    async fn is_corrupt(&self) -> bool {
        let own = self.status.header.as_ref().map(|header| header.member_id);
        let alarms = self.client.alarms().await.unwrap_or_default();
        alarms
            .iter()
            .any(|alarm| alarm.alarm == CORRUPT && Some(alarm.member_id) == own)
    }
}
