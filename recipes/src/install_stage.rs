//! The stages in which a machine becomes a member. The machine reports each stage to the server
//! that installs the machine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One stage. The kickstart's scripts report the first four stages, and firstboot reports the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallStage {
    /// `%pre` is running: the installer has booted.
    Started,
    /// `%pre` has chosen the tree and the disk. From now on, the installation changes the disk.
    Installing,
    /// The installation is complete and on the disk.
    Installed,
    /// The installation failed. The report of this stage contains the reason.
    Failed,
    /// firstboot has made the machine a healthy member.
    Healthy,
    /// firstboot refuses to start etcd. The report of this stage contains the reason.
    Refused,
}

/// The error for a string that is not the name of a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a stage: expected started, installing, installed, failed, healthy or refused"
)]
pub struct InstallStageError(String);

impl InstallStage {
    const ALL: [Self; 6] = [
        Self::Started,
        Self::Installing,
        Self::Installed,
        Self::Failed,
        Self::Healthy,
        Self::Refused,
    ];

    /// Returns the name of the stage in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Failed => "failed",
            Self::Healthy => "healthy",
            Self::Refused => "refused",
        }
    }

    /// Returns whether only an installed system can reach the stage.
    pub fn follows_installation(self) -> bool {
        matches!(self, Self::Installed | Self::Healthy | Self::Refused)
    }
}

impl FromStr for InstallStage {
    type Err = InstallStageError;

    fn from_str(text: &str) -> Result<Self, InstallStageError> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| InstallStageError(text.to_owned()))
    }
}

impl fmt::Display for InstallStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_one_name_in_text_and_json() {
        for stage in InstallStage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
            assert_eq!(
                serde_json::to_string(&stage).unwrap(),
                format!("\"{stage}\"")
            );
        }
        assert!(
            "Installed"
                .parse::<InstallStage>()
                .unwrap_err()
                .to_string()
                .contains("expected started")
        );
    }

    #[test]
    fn only_an_installed_system_proves_an_installation() {
        let proven: Vec<_> = InstallStage::ALL
            .into_iter()
            .filter(|stage| stage.follows_installation())
            .collect();
        assert_eq!(
            proven,
            [
                InstallStage::Installed,
                InstallStage::Healthy,
                InstallStage::Refused
            ]
        );
    }
}
