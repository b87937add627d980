//! How a mover pod runs, and what both ends say about a copy.

use k8s_openapi::api::core::v1::{Affinity, PodSecurityContext, ResourceRequirements, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the mover pod runs. Movers are restricted (in the sense of the Pod Security Standards) by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverConfig {
    /// The security context of the mover pod. `runAsUser` should be the user that owns the data. `runAsUser: 0` runs a
    /// mover with the few capabilities that keep owners and devices. That, and anything else that is less than restricted (an
    /// unconfined profile, sysctls), needs the namespace annotation `scribe.dev/privileged-movers: "true"`. A source never sets `fsGroup`: the kubelet would rewrite the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_security_context: Option<PodSecurityContext>,
    /// The service account of the mover pod. Its token is never mounted. Default: the namespace's own default account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_service_account: Option<String>,
    /// Labels to put on the mover pod, for network policies for example.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mover_pod_labels: BTreeMap<String, String>,
    /// Requests and limits of the mover container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_resources: Option<ResourceRequirements>,
    /// Where the mover pod may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_affinity: Option<Affinity>,
    /// Taints that the mover pod tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mover_tolerations: Vec<Toleration>,
}

/// How the mover finds out which files changed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Comparison {
    /// Compare every file by its content. Safe for every copy.
    #[default]
    Content,
    /// Compare by size and modification time. Safe only where the application was frozen at the cut: data written shortly
    /// before a cut can reach the disk seconds before its time stamp does.
    Metadata,
}

/// What to do about attributes that the destination's file system cannot keep.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Fidelity {
    /// Drop what cannot be kept, and list it in `status.fidelity`.
    #[default]
    BestEffort,
    /// Refuse the sync.
    Strict,
}

/// What a replica can be relied upon to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Consistency {
    /// The application was quiesced at the cut.
    Application,
    /// The file system was frozen at the cut.
    Filesystem,
    /// What a power failure would have left behind.
    Crash,
    /// Files were read while they were written.
    None,
}

impl Consistency {
    /// The value as it stands in statuses, annotations and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Filesystem => "filesystem",
            Self::Crash => "crash",
            Self::None => "none",
        }
    }
}
