//! Decides which certificates of a document a member may install immediately, and which must wait
//! for the other members.

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::node::NodeTls;

use super::trust_bundle::TrustBundle;
use crate::domain::CaSubject;

/// Returns whether the certificates and their keys are the same, regardless of the CAs.
pub(super) fn same_pairs(one: &NodeTls, other: &NodeTls) -> bool {
    one.pairs() == other.pairs()
}

/// Returns the CAs in `authorities` that signed the certificates, or `None` if one of the
/// certificates is not valid now or was not signed by any of these CAs.
pub(super) fn issuers(tls: &NodeTls, authorities: &TrustBundle) -> Option<BTreeSet<CaSubject>> {
    tls.pairs()
        .into_iter()
        .map(|pair| authorities.issuer_of(&pair.cert))
        .collect()
}

/// Returns PEM text with all CAs of the two texts. Returns `document` unchanged if it already
/// contains all CAs of `installed`.
pub(super) fn merge(document: &str, installed: &str) -> Result<String> {
    let (new, old) = (TrustBundle::read(document)?, TrustBundle::read(installed)?);
    let all = new.clone().and(old)?;
    Ok(if all == new {
        document.to_owned()
    } else {
        all.pem()
    })
}

/// Returns the certificates and CAs to install on a member that uses the certificates and CAs in
/// `installed` and has received a new `document`. The member trusts the CAs in `installed` and in
/// `document`. The member defers certificates of a new CA until all other members trust that CA.
/// `cleared` contains the CAs that all other members already trust.
pub(super) fn interim_certificates(
    document: &NodeTls,
    installed: &NodeTls,
    cleared: &BTreeSet<CaSubject>,
) -> Result<NodeTls> {
    let ca = merge(&document.ca, &installed.ca)?;
    let all = TrustBundle::read(&ca)?;
    let (next, now) = (issuers(document, &all), issuers(installed, &all));
    let is_cleared = next.as_ref().is_some_and(|next| next.is_subset(cleared));
    let shown = if next == now || is_cleared {
        document
    } else {
        installed
    };
    Ok(NodeTls {
        ca,
        ..shown.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{test_identity, test_identity_from};

    fn names(tls: &NodeTls) -> BTreeSet<CaSubject> {
        TrustBundle::read(&tls.ca).unwrap().names()
    }

    fn with_ca(tls: &NodeTls, ca: String) -> NodeTls {
        NodeTls { ca, ..tls.clone() }
    }

    #[test]
    fn certificates_of_another_ca_wait_until_the_ca_is_cleared() {
        let (old, new) = (test_identity().tls, test_identity().tls);
        let none = BTreeSet::new();
        for document in [new.clone(), with_ca(&new, format!("{}{}", new.ca, old.ca))] {
            let held = interim_certificates(&document, &old, &none).unwrap();
            assert!(same_pairs(&held, &old));
            assert_eq!(names(&held), &names(&old) | &names(&new));
            assert_eq!(
                interim_certificates(&document, &held, &none).unwrap(),
                held,
                "applying the document again changes nothing"
            );

            let shown = interim_certificates(&document, &held, &names(&new)).unwrap();
            assert!(same_pairs(&shown, &new));
            assert_eq!(names(&shown), names(&held), "every CA is still trusted");
            // Some of the new certificates may already be installed.
            let half = NodeTls {
                server: new.server.clone(),
                ..held.clone()
            };
            assert_eq!(
                interim_certificates(&document, &half, &names(&new)).unwrap(),
                shown
            );
        }
        let another = test_identity().tls;
        assert!(
            same_pairs(
                &interim_certificates(&another, &new, &names(&new)).unwrap(),
                &new
            ),
            "the new certificates must wait, because the other members trust a different CA"
        );
    }

    #[test]
    fn a_renewal_by_the_same_ca_does_not_wait() {
        let old = test_identity_from(2020).tls;
        // Swap the two key pairs, so that both certificates change and the CA stays the same.
        let renewed = NodeTls {
            server: old.peer.clone(),
            peer: old.server.clone(),
            ..old.clone()
        };
        assert_eq!(
            interim_certificates(&renewed, &old, &BTreeSet::new()).unwrap(),
            renewed
        );
        assert_eq!(
            interim_certificates(&old, &old, &BTreeSet::new()).unwrap(),
            old
        );
    }
}
