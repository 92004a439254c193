//! Whether a certificate does for a node: a pure judgement over what was read.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use recipes::{Domain, Label};
use time::OffsetDateTime;

use super::certificate::{Certificate, chains, public_half, utc};

/// The node a certificate is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Its cluster.
    pub cluster: &'a Label,
    /// The domain under which its full name is.
    pub domain: &'a Domain,
    /// Its short name.
    pub name: &'a Label,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Subject<'_> {
    /// Its full name.
    pub(crate) fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Peer,
    Client,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::Server, Self::Peer, Self::Client];

    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Peer => "peer",
            Self::Client => "client",
        }
    }

    /// A peer is both ends of its connections. So is etcd's server certificate: its gRPC gateway
    /// shows it as a client to its own port (etcd-io/etcd#9785).
    pub(super) fn ekus(self) -> &'static [&'static str] {
        match self {
            Self::Server | Self::Peer => &["serverAuth", "clientAuth"],
            Self::Client => &["clientAuth"],
        }
    }

    /// The names and addresses under which others reach the node. Nobody reaches a client.
    ///
    /// `localhost` and the loopback addresses are there for etcdctl on the node, which must work
    /// when the network does not.
    pub(super) fn sans(self, subject: &Subject<'_>) -> BTreeSet<String> {
        if self == Self::Client {
            return BTreeSet::new();
        }
        let names =
            [subject.name.as_str(), &subject.fqdn(), "localhost"].map(|name| format!("DNS:{name}"));
        let addresses =
            [subject.address, Ipv4Addr::LOCALHOST].map(|address| format!("IP:{address}"));
        names
            .into_iter()
            .chain(addresses)
            .chain([OPTIONAL_SAN.to_owned()])
            .collect()
    }

    /// etcd takes the common name of a client's certificate as its user once authentication is on
    /// (`--client-cert-auth`, etcd's "Using TLS common name"). The node's own client has to be
    /// `root` then, or firstboot could no longer list, remove and add members. That holds for gRPC;
    /// etcd's JSON gateway ignores the common name (seen with 3.4.23 and 3.6.14).
    pub(super) fn common_name(self, subject: &Subject<'_>) -> String {
        // RFC 5280, appendix A: a common name has at most 64 characters. Readers go by the SANs
        // anyway.
        let fqdn = subject.fqdn();
        match self {
            Self::Client => "root".to_owned(),
            _ if fqdn.len() > 64 => subject.name.to_string(),
            _ => fqdn,
        }
    }
}

/// Ours have it, since `localhost` is `::1` to some resolvers; ready certificates need not.
const OPTIONAL_SAN: &str = "IP:::1";

/// One reason why a certificate does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// It cannot be read.
    #[error("it is {0}")]
    Unreadable(String),
    /// Its private key cannot be read.
    #[error("its key is {0}")]
    KeyUnreadable(String),
    /// Its private key is not there.
    #[error("its private key is missing")]
    NoKey,
    /// The private key beside it is another's.
    #[error("the key beside it is not its own")]
    WrongKey,
    /// It has run out.
    #[error("it expired on {}", utc(*.0))]
    Expired(OffsetDateTime),
    /// It is for later.
    #[error("it is valid only from {}", utc(*.0))]
    NotYetValid(OffsetDateTime),
    /// It runs out soon, and a new one would last longer.
    #[error("it expires on {}, too soon", utc(*.0))]
    ExpiresSoon(OffsetDateTime),
    /// Names or addresses that it should have.
    #[error("its SANs lack {0}")]
    MissingSans(String),
    /// Names or addresses that it should not have.
    #[error("its SANs have {0}, which this node is not")]
    ExtraSans(String),
    /// Purposes that it should have.
    #[error("its extended key usage lacks {0}")]
    MissingEkus(String),
    /// It does not lead to the authority.
    #[error("{0}")]
    Chain(String),
    /// It is somebody else's.
    #[error("its common name is `{found}`, expected `{expected}`")]
    CommonName {
        /// The name it should have.
        expected: String,
        /// The name it has.
        found: String,
    },
}

impl Mismatch {
    /// All of them in one line.
    pub(super) fn list(mismatches: &[Self]) -> String {
        mismatches
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Whether TLS or etcd would fail with a certificate like that, whoever made it. What is left
    /// is a matter of taste in certificates of others, and a reason to issue again in ours.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            Self::ExpiresSoon(_) | Self::ExtraSans(_) | Self::CommonName { .. } => false,
            Self::MissingSans(lacking) => lacking != OPTIONAL_SAN,
            _ => true,
        }
    }
}

/// What a certificate is judged against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirements<'a> {
    pub(super) role: Role,
    pub(super) subject: Subject<'a>,
    pub(super) authorities: &'a [Certificate],
    pub(super) now: OffsetDateTime,
    /// A certificate that ends before this is renewed...
    pub(super) renew_until: OffsetDateTime,
    /// ...if a new one would last longer than it: until then.
    pub(super) new_until: OffsetDateTime,
}

/// Everything that is wrong with a certificate and its key; nothing if it does.
pub(super) fn mismatches(
    cert_pem: &str,
    key_pem: Option<&str>,
    requirements: &Requirements<'_>,
) -> Vec<Mismatch> {
    let chain = match Certificate::all(cert_pem) {
        Ok(chain) => chain,
        Err(why) => return vec![Mismatch::Unreadable(why)],
    };
    let leaf = &chain[0];
    let mut out = Vec::new();
    match key_pem.map(public_half) {
        None => out.push(Mismatch::NoKey),
        Some(Err(why)) => out.push(Mismatch::KeyUnreadable(why)),
        Some(Ok(public)) if public != leaf.public_key => out.push(Mismatch::WrongKey),
        Some(Ok(_)) => {}
    }
    out.extend(names(leaf, requirements));
    let lacking: Vec<&str> = requirements
        .role
        .ekus()
        .iter()
        .copied()
        .filter(|eku| !leaf.ekus.contains(*eku))
        .collect();
    if !lacking.is_empty() {
        out.push(Mismatch::MissingEkus(lacking.join(", ")));
    }
    if requirements.now >= leaf.not_after {
        out.push(Mismatch::Expired(leaf.not_after));
    } else if requirements.now < leaf.not_before {
        out.push(Mismatch::NotYetValid(leaf.not_before));
    } else {
        if leaf.not_after < requirements.renew_until && leaf.not_after < requirements.new_until {
            out.push(Mismatch::ExpiresSoon(leaf.not_after));
        }
        // Only within its time, and only with a client's purpose, does the chain tell anything new.
        if let (Err(why), true) = (
            chains(&chain, requirements.authorities, requirements.now),
            leaf.ekus.contains("clientAuth"),
        ) {
            out.push(Mismatch::Chain(why));
        }
    }
    out
}

fn names(leaf: &Certificate, requirements: &Requirements<'_>) -> Vec<Mismatch> {
    let mut out = Vec::new();
    let expected = requirements.role.sans(&requirements.subject);
    let join = |sans: Vec<&String>| {
        sans.into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let lacking = join(expected.difference(&leaf.sans).collect());
    if !lacking.is_empty() {
        out.push(Mismatch::MissingSans(lacking));
    }
    let extra = join(leaf.sans.difference(&expected).collect());
    if !extra.is_empty() {
        out.push(Mismatch::ExtraSans(extra));
    }
    let expected = requirements.role.common_name(&requirements.subject);
    let found = leaf.common_name.clone().unwrap_or_default();
    if found != expected {
        out.push(Mismatch::CommonName { expected, found });
    }
    out
}
