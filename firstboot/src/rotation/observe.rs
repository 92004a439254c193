//! Observes which CAs this node and the other members trust, which certificates they present, and
//! which members are healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};

use super::interim;
use super::plan::{Observed, RotationStep, ServedCertificates, plan};
use super::tls_probe::{probe, trusted};
use super::trust_bundle::TrustBundle;
use crate::domain::CaSubject;
use crate::etcd::{Client, Member, installed_credentials};
use crate::identity::Identity;
use crate::journal::{Journal, NodeState};
use crate::membership::{MemberReport, PeerClient, QUERY_TIMEOUT, query_others, unhealthy};
use crate::paths;

pub(super) async fn observe(identity: &Identity, journal: &Journal) -> Result<Observed> {
    let known = TrustBundle::read(&identity.tls.ca)?;
    let own = [
        (identity.node.address, paths::PEER_PORT),
        (Ipv4Addr::LOCALHOST, paths::CLIENT_PORT),
    ];
    let mut observed = Observed {
        wanted: TrustBundle::read(&identity.document_tls.ca)?.names(),
        installed: known.names(),
        issuers: interim::issuers(&identity.document_tls, &known).context(
            "a certificate in the node document is not valid now, or no trusted CA signed it",
        )?,
        deferred: !interim::same_pairs(&identity.tls, &identity.document_tls),
        own: probe_ports(identity, &known, own.map(SocketAddr::from)).await,
        others: BTreeMap::new(),
        unhealthy: Vec::new(),
    };
    if plan(&observed) == RotationStep::Done {
        return Ok(observed);
    }
    let member = member(journal)?;
    let peers = peers(identity).await?;
    let Some(first) = peers.first() else {
        if let Err(error) = confirm_single_member(member).await {
            observed.own = Err(format!("{error:#}"));
        }
        return Ok(observed);
    };
    observed.unhealthy = unhealthy(&peers, member);
    for other in first.members.iter().filter(|other| other.id != member) {
        let seen = match ports(other) {
            Ok(ports) => probe_ports(identity, &known, ports).await,
            Err(error) => Err(format!("{error:#}")),
        };
        observed.others.insert(other.title(), seen);
    }
    Ok(observed)
}

/// Returns the CAs that each of the recipe's other members trusts at its peer port. Omits members
/// that do not answer.
pub(super) async fn trusted_by_others(
    identity: &Identity,
    known: &TrustBundle,
) -> Vec<BTreeSet<CaSubject>> {
    let others = identity
        .cluster
        .members
        .iter()
        .filter(|member| member.name != identity.node.name);
    let mut answers = Vec::new();
    for member in others {
        let address = SocketAddr::from((member.address, paths::PEER_PORT));
        answers.extend(trusted(address, &identity.tls, known).await.ok());
    }
    answers
}

async fn probe_ports(
    identity: &Identity,
    known: &TrustBundle,
    ports: [SocketAddr; 2],
) -> ServedCertificates {
    let mut seen = Vec::new();
    for port in ports {
        seen.push(
            probe(port, &identity.tls, known)
                .await
                .map_err(|error| format!("{error:#}"))?,
        );
    }
    Ok(seen)
}

/// Returns the peer and client addresses of a member.
fn ports(member: &Member) -> Result<[SocketAddr; 2]> {
    let port = |urls: &[String]| -> Result<SocketAddr> {
        let url = urls.first().context("the member has not started yet")?;
        url.trim_start_matches("https://")
            .parse()
            .with_context(|| format!("{url} is not an address"))
    };
    Ok([port(&member.peer_urls)?, port(&member.client_urls)?])
}

pub(super) fn member(journal: &Journal) -> Result<u64> {
    NodeState::of(journal)
        .member_id
        .context("a bug: the journal does not record the id of this healthy member")
}

/// Returns the reports of the other members that answer a linearizable read.
pub(super) async fn peers(identity: &Identity) -> Result<Vec<MemberReport>> {
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    Ok(query_others(
        identity,
        &peer_client,
        &installed_credentials()?,
        QUERY_TIMEOUT,
    )
    .await
    .0)
}

/// Fails unless etcd on this node confirms, by a linearizable read, that this node is the only
/// member.
pub(super) async fn confirm_single_member(member: u64) -> Result<()> {
    let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
    client.healthy().await?;
    let members = client.members(true).await?;
    if members.iter().any(|other| other.id != member) {
        bail!("no other member answered, or the cluster has no quorum");
    }
    Ok(())
}
