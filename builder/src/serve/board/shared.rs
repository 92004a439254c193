//! The state that all requests for the board share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::access::Access;
use super::client_ca::ClientCa;
use super::subscribers::Pages;
use crate::status::{ClusterAccess, Report};

/// The state that the board needs in addition to the server's records.
#[derive(Debug, Default)]
pub(in crate::serve) struct Board {
    pub(super) access: Access,
    /// The operator's client certificate, with which the server queries the members.
    pub(super) cluster_access: Option<ClusterAccess>,
    /// The newest report on the members.
    report: Mutex<Option<Arc<Report>>>,
    /// The open pages.
    pub(super) pages: Pages,
}

impl Board {
    /// Reads the token and the authorities, and finds the client certificate.
    pub(in crate::serve) fn new(
        out: &Path,
        token: Option<&Path>,
        ca: Option<&Path>,
        client: Option<&Path>,
    ) -> Result<Self> {
        Ok(Self {
            access: Access::read(token, ca)?,
            cluster_access: client
                .map(|client| ClusterAccess::open(out, None, Some(client)))
                .transpose()?,
            ..Self::default()
        })
    }

    /// Returns the authorities whose client certificates are accepted.
    pub(in crate::serve) fn client_ca(&self) -> Option<&ClientCa> {
        self.access.ca.as_ref()
    }

    /// Returns the newest report on the members, if there is one.
    pub(super) fn report(&self) -> Option<Arc<Report>> {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the report.
    pub(super) fn set_report(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(report));
    }
}
