//! Decides whether a node can use a certificate, as a pure function of the certificate, its key and
//! the requirements.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use recipes::{Domain, Label};
use time::OffsetDateTime;

use super::certificate::{Certificate, chains, public_half, utc};

/// The node for which a certificate is issued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The node's cluster.
    pub cluster: &'a Label,
    /// The domain of the node's full name.
    pub domain: &'a Domain,
    /// The node's short name.
    pub name: &'a Label,
    /// The node's address.
    pub address: Ipv4Addr,
}

impl Subject<'_> {
    /// Returns the node's full name.
    pub(crate) fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// The role in which a node uses a certificate.
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

    /// Returns the purposes of the certificate. A peer acts as both client and server. etcd also
    /// uses its server certificate as a client, because its gRPC gateway presents that certificate
    /// to etcd's own port (etcd-io/etcd#9785).
    pub(super) fn ekus(self) -> &'static [&'static str] {
        match self {
            Self::Server | Self::Peer => &["serverAuth", "clientAuth"],
            Self::Client => &["clientAuth"],
        }
    }

    /// Returns the names and addresses at which clients and peers reach the node. A client
    /// certificate contains no names or addresses, because nothing connects to a client.
    ///
    /// The names include `localhost`, and the addresses include the loopback addresses, so that
    /// etcdctl on the node works without a network.
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

    /// Returns the common name. If authentication and `--client-cert-auth` are enabled, etcd uses
    /// the common name of a client's certificate as the user name (see "Using TLS common name" in
    /// etcd's documentation). The common name of the node's own client certificate must be `root`.
    /// Even after authentication is enabled, firstboot lists, removes and adds members, and needs
    /// this user's permissions for these operations. etcd uses the common name only for gRPC; its
    /// JSON gateway ignores the common name (observed with 3.4.23 and 3.6.14).
    pub(super) fn common_name(self, subject: &Subject<'_>) -> String {
        // A common name has at most 64 characters (RFC 5280, appendix A). The short name is
        // sufficient, because TLS libraries check the SANs and not the common name.
        let fqdn = subject.fqdn();
        match self {
            Self::Client => "root".to_owned(),
            _ if fqdn.len() > 64 => subject.name.to_string(),
            _ => fqdn,
        }
    }
}

/// The SAN that ready-made certificates may lack. The builder's certificates include this SAN,
/// because some resolvers return `::1` for `localhost`.
const OPTIONAL_SAN: &str = "IP:::1";

/// A requirement that a certificate does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// The certificate cannot be parsed.
    #[error("{0}")]
    Unreadable(String),
    /// The certificate's private key cannot be parsed.
    #[error("its key is {0}")]
    KeyUnreadable(String),
    /// The private key is missing.
    #[error("its private key is missing")]
    NoKey,
    /// The private key next to the certificate does not match.
    #[error("it does not match the private key in the same folder")]
    WrongKey,
    /// The certificate is not for the recorded key that the node generated.
    #[error("it is not for the key that the node generated")]
    NotNodesKey,
    /// The certificate has expired.
    #[error("it expired on {}", utc(*.0))]
    Expired(OffsetDateTime),
    /// The certificate is not valid yet.
    #[error("it is valid only from {}", utc(*.0))]
    NotYetValid(OffsetDateTime),
    /// The certificate expires soon, and a new certificate would last longer.
    #[error("it expires too soon, on {}", utc(*.0))]
    ExpiresSoon(OffsetDateTime),
    /// The certificate lacks these names or addresses.
    #[error("its SANs lack {0}")]
    MissingSans(String),
    /// The certificate has these extra names or addresses.
    #[error("its SANs include entries that do not belong to this node: {0}")]
    ExtraSans(String),
    /// The certificate lacks these purposes.
    #[error("its extended key usage lacks {0}")]
    MissingEkus(String),
    /// The certificate's chain does not lead to a trusted authority.
    #[error("{0}")]
    Chain(String),
    /// Another part of the node's document has changed since the certificate was issued.
    #[error(
        "another part of the node's document has changed, and nodes recognise a newer document by \
         the dates of its certificates"
    )]
    OtherContents,
    /// The certificate has the wrong common name.
    #[error("its common name is `{found}`, but `{expected}` is expected")]
    CommonName {
        /// The expected common name.
        expected: String,
        /// The common name in the certificate.
        found: String,
    },
}

impl Mismatch {
    /// Formats all mismatches on one line.
    pub(super) fn list(mismatches: &[Self]) -> String {
        mismatches
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Returns whether the mismatch is that the certificate has expired or expires soon.
    pub(super) fn is_about_expiry(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::ExpiresSoon(_))
    }

    /// Returns whether TLS or etcd would fail with the mismatched certificate. Any other mismatch
    /// is acceptable in a ready-made certificate, but is a reason to reissue a certificate that the
    /// builder issued.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            Self::ExpiresSoon(_)
            | Self::ExtraSans(_)
            | Self::OtherContents
            | Self::CommonName { .. } => false,
            Self::MissingSans(lacking) => lacking != OPTIONAL_SAN,
            _ => true,
        }
    }
}

/// The requirements that a certificate must meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirements<'a> {
    pub(super) role: Role,
    pub(super) subject: Subject<'a>,
    pub(super) authorities: &'a [Certificate],
    pub(super) now: OffsetDateTime,
    /// A certificate that expires before this time is renewed, if a new certificate would last
    /// longer.
    pub(super) renew_if_expiring_before: OffsetDateTime,
    /// The time at which a new certificate would expire.
    pub(super) new_until: OffsetDateTime,
    /// The time at which the CA's validity ends.
    pub(super) authority_until: OffsetDateTime,
    /// Whether the nodes request renewals.
    pub(super) nodes_ask: bool,
}

impl Requirements<'_> {
    /// Returns whether a certificate that is valid now is replaced because of its age.
    fn is_due(&self, leaf: &Certificate) -> bool {
        let by_recipe =
            leaf.not_after < self.renew_if_expiring_before && leaf.not_after < self.new_until;
        // If a certificate expires with its CA, a new certificate would expire at the same time.
        let (left, life) = (leaf.not_after - self.now, leaf.not_after - leaf.not_before);
        let by_own_life =
            self.nodes_ask && left < life / 2 && leaf.not_after < self.authority_until;
        by_recipe || by_own_life
    }
}

/// The key that a certificate must match.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpectedKey<'a> {
    /// The private key (PEM) in the file next to the certificate, if the file exists.
    Private(Option<&'a str>),
    /// The public half of a key whose private half only the node holds. The format is a
    /// `SubjectPublicKeyInfo` in DER.
    Public(&'a [u8]),
}

/// Finds every requirement that a certificate and its key do not meet.
pub(super) fn mismatches(
    cert_pem: &str,
    key: ExpectedKey<'_>,
    requirements: &Requirements<'_>,
) -> Vec<Mismatch> {
    let chain = match Certificate::all(cert_pem) {
        Ok(chain) => chain,
        Err(why) => return vec![Mismatch::Unreadable(why)],
    };
    let leaf = &chain[0];
    let mut out = Vec::new();
    let (public, wrong_key) = match key {
        ExpectedKey::Private(pem) => (pem.map(public_half), Mismatch::WrongKey),
        ExpectedKey::Public(der) => (Some(Ok(der.to_vec())), Mismatch::NotNodesKey),
    };
    match public {
        None => out.push(Mismatch::NoKey),
        Some(Err(why)) => out.push(Mismatch::KeyUnreadable(why)),
        Some(Ok(public)) if public != leaf.public_key => out.push(wrong_key),
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
        if requirements.is_due(leaf) {
            out.push(Mismatch::ExpiresSoon(leaf.not_after));
        }
        // If the certificate is not valid now or lacks the client purpose, no fault of the chain is
        // reported, because such a fault would only repeat an earlier mismatch.
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
