//! The settings in `[update]` that the image contains.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::schedule::Schedule;
use crate::window::Window;

/// The default number of seconds for which a member must stay healthy on a new image.
pub const SOAK: u32 = 60;

/// The settings in `[update]` that apply to running nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Update {
    /// Who starts an update.
    pub mode: UpdateMode,
    /// The URL of the folder that contains `release.json` and `image/`. The operator can specify
    /// another source with `--from`. The recipe's reader requires this URL for
    /// [`UpdateMode::Auto`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Url>,
    /// The number of seconds for which a member must stay healthy on a new image before the next
    /// member may install the image.
    pub soak_seconds: u32,
    /// When an update reboots the node.
    #[serde(default, skip_serializing_if = "Reboot::is_never")]
    pub reboot: Reboot,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            mode: UpdateMode::Manual,
            from: None,
            soak_seconds: SOAK,
            reboot: Reboot::Never,
        }
    }
}

/// Who starts an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateMode {
    /// The operator, with `firstboot update` on each node.
    Manual,
    /// Each node itself, through `firstboot-update.timer`.
    Auto(AutoUpdatePolicy),
}

/// When an update reboots the node. The reboot happens before the health check of the new image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// Never: the operator reboots the node.
    #[default]
    Never,
    /// Only if the update changes a file that takes effect only after a boot.
    WhenNeeded,
    /// After every update.
    Always,
}

impl Reboot {
    /// Returns whether an update never reboots the node. The cluster document omits the value
    /// `never`, because `never` is the default.
    pub const fn is_never(&self) -> bool {
        matches!(self, Self::Never)
    }
}

/// When a node updates itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AutoUpdatePolicy {
    /// When the node looks for a newer image.
    pub every: Schedule,
    /// When an update may begin, in the node's time zone. `None` means at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl Update {
    /// Returns the policy with which the node updates itself, or `None` if the node does not update
    /// itself.
    pub const fn auto(&self) -> Option<AutoUpdatePolicy> {
        match self.mode {
            UpdateMode::Manual => None,
            UpdateMode::Auto(auto) => Some(auto),
        }
    }
}
