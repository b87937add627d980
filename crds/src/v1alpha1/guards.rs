//! Guards: what no sync does to a replica unless its user says that it is meant.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is refused before a sync deletes or writes anything. Judged by a dry run, which looks at names, sizes and times. Files are
/// all entries but folders; of a receiving claim with fewer than 100 files, or bytes fewer than 64Mi, shares are not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct Guards {
    /// What to do about a source without any file whose receiving claim has some. `Refuse` refuses the sync. `Allow` leaves it to
    /// `maxDeletedPercent`.
    #[serde(default)]
    pub empty_source: EmptySource,
    /// The most of the receiving claim's files, and of the bytes that the last sync brought into it, that a sync may delete, in percent.
    /// 100 turns this guard off.
    #[serde(default = "Guards::default_deleted")]
    #[schemars(range(min = 1, max = 100))]
    pub max_deleted_percent: u8,
    /// The most of the receiving claim's files that a sync may rewrite, in percent. 100 turns this guard off.
    #[serde(default = "Guards::default_rewritten")]
    #[schemars(range(min = 1, max = 100))]
    pub max_rewritten_percent: u8,
}

impl Guards {
    fn default_deleted() -> u8 {
        50
    }

    fn default_rewritten() -> u8 {
        80
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            empty_source: EmptySource::default(),
            max_deleted_percent: Self::default_deleted(),
            max_rewritten_percent: Self::default_rewritten(),
        }
    }
}

/// What to do about a source without any file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EmptySource {
    /// The sync is refused if the receiving claim has files.
    #[default]
    Refuse,
    /// The sync may delete all that `maxDeletedPercent` allows.
    Allow,
}

/// What a guard guards against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Guard {
    /// The source holds no file, and the receiving claim does.
    EmptySource,
    /// Too many files would be deleted.
    DeletedFiles,
    /// Too many bytes would be deleted.
    DeletedBytes,
    /// Too many files would be rewritten.
    RewrittenFiles,
    /// The source claim is not the one that was replicated before.
    OtherSource,
}

impl Guard {
    /// Every guard.
    pub const ALL: [Self; 5] =
        [Self::EmptySource, Self::DeletedFiles, Self::DeletedBytes, Self::RewrittenFiles, Self::OtherSource];

    /// As it stands in statuses and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptySource => "EmptySource",
            Self::DeletedFiles => "DeletedFiles",
            Self::DeletedBytes => "DeletedBytes",
            Self::RewrittenFiles => "RewrittenFiles",
            Self::OtherSource => "OtherSource",
        }
    }
}

/// A sync that a guard refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardedSync {
    /// The id of the sync. The annotation `scribe.dev/admit-sync` of the ReplicationSource admits the next one by it.
    pub sync_id: String,
    /// The uid of the source claim.
    pub source_uid: String,
    /// Which guard.
    pub guard: Guard,
    /// What it found, in words.
    pub message: String,
    /// When.
    pub time: Time,
}
