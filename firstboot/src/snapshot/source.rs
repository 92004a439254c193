//! Connects to the member from which a snapshot is taken.

use std::str::FromStr;

use anyhow::Result;
use http::Uri;

use crate::etcd::{AlarmMember, Client, Credentials, StatusResponse};
use crate::exit::{not_ready, refused};
use crate::paths;
use crate::reason::ReasonId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientUrl(String);

impl ClientUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.parse::<Uri>().is_ok_and(|url| {
            url.scheme_str() == Some("https")
                && url.host().is_some_and(|host| !host.is_empty())
                && url.port_u16().is_some()
                && url.path_and_query().is_none_or(|path| path.as_str() == "/")
        });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected https://HOST:PORT, as in https://10.0.0.11:2379".to_owned())
        }
    }
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) status: StatusResponse,
    /// The cluster's alarms.
    alarms: Vec<AlarmMember>,
}

impl Endpoint {
    /// Connects to the member at this client URL or, without a URL, to the local member. Refuses a
    /// member whose data etcd reports as corrupt.
    pub(super) async fn at(endpoint: Option<&str>, credentials: &Credentials) -> Result<Self> {
        let endpoint = endpoint.unwrap_or(paths::OWN_CLIENT_URL);
        let opened = async {
            let client = Client::connect_bulk(endpoint, credentials).await?;
            let status = client.status().await?;
            let alarms = status.alarms(client.alarms().await);
            anyhow::Ok(Self {
                url: endpoint.to_owned(),
                client,
                status,
                alarms,
            })
        };
        let source = opened.await.map_err(|error| {
            not_ready(ReasonId::MembersUnhealthy.because(format!("{endpoint}: {error:#}")))
        })?;
        if source.is_corrupt() {
            return Err(refused(ReasonId::AlarmCorrupt.because(format!(
                "etcd reports that the data of {endpoint} is corrupt (alarm CORRUPT). Take the snapshot from another member \
                 with --from-any"
            ))));
        }
        Ok(source)
    }

    fn is_corrupt(&self) -> bool {
        let own = self.status.header.as_ref().map(|header| header.member_id);
        self.alarms
            .iter()
            .any(|alarm| alarm.alarm == AlarmMember::CORRUPT && Some(alarm.member_id) == own)
    }

    /// Returns whether etcd reports that the members' data differs, but not which member's data is
    /// wrong.
    pub(super) fn is_any_member_corrupt(&self) -> bool {
        self.alarms.iter().any(AlarmMember::is_of_cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_https_url_with_a_host_and_a_port_names_a_member() {
        for text in [
            "https://10.0.0.11:2379",
            "https://etcd-1.example.com:2379/",
            "https://[fd00::11]:2379",
        ] {
            assert_eq!(text.parse(), Ok(ClientUrl(text.to_owned())));
        }
        for text in [
            "",
            "bogus",
            "10.0.0.11",
            "10.0.0.11:2379",
            "http://10.0.0.11:2379",
            "https://",
            "https://:2379",
            "https://10.0.0.11",
            "https://10.0.0.11:99999",
            "https://10.0.0.11:2379/v3",
            "https://10.0.0.11:2379?x",
            "https://a b:2379",
        ] {
            let error = text.parse::<ClientUrl>().unwrap_err();
            assert!(error.contains("https://HOST:PORT"), "{text}: {error}");
        }
    }
}
