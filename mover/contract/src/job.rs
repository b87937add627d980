//! What a controller tells a mover to do, and what a source mover leaves behind.

use crate::guards::{Guarded, Guards};
use crate::peer::{Comparison, Consistency, Counts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The environment variable that holds a [`Job`] as JSON. It holds no secrets.
pub const JOB_VARIABLE: &str = "SCRIBE_JOB";

/// What a mover is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "camelCase")]
pub enum Job {
    /// Send one cut, once.
    Source(Box<SourceJob>),
    /// Receive, for as long as the pod lives.
    Destination(DestinationJob),
}

/// One attempt to send one cut. Its keys (`source`, `destination.pub`, `address`, `port`, `relationship`) are files
/// under [`crate::KEYS_DIR`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceJob {
    /// The protocol version, see [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The id of the sync.
    pub sync_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The uid of the namespace kube-system of the source's cluster.
    pub cluster_id: String,
    /// The uid of the source claim.
    pub claim_uid: String,
    /// The uid of the cut.
    pub cut_uid: String,
    /// The time of the data.
    pub data_time: Timestamp,
    /// What the cut can be relied upon to be.
    pub consistency: Consistency,
    /// How changed files are found.
    pub comparison: Comparison,
    /// Refuse when the destination cannot keep an attribute, in place of dropping it.
    pub strict_fidelity: bool,
    /// The generation of the relationship.
    pub generation: u64,
    /// Namespace and name of the ReplicationSource, for people.
    pub source_name: String,
    /// The recovery point objective, in seconds.
    #[serde(default)]
    pub rpo_seconds: Option<i64>,
    /// The schedule and its time zone.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Used in place of the Secret's `address`.
    #[serde(default)]
    pub address: Option<String>,
    /// Used in place of the Secret's `port`.
    #[serde(default)]
    pub port: Option<u16>,
    /// The most bytes per second to send.
    #[serde(default)]
    pub bandwidth_limit: Option<u64>,
    /// rsync exclude patterns.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// What is refused before the first write; nothing if the user has admitted this sync.
    #[serde(default)]
    pub guards: Option<Guards>,
    /// Limits in time.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Receive. Its keys (`destination`, `destination.pub`, `source.pub`) are files under [`crate::KEYS_DIR`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationJob {
    /// The protocol version, see [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The uid of the receiving claim.
    pub claim_uid: String,
    /// Limits in time.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Limits in time, in seconds. Every one is a flag of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// How long one attempt to connect may take.
    pub connect: u64,
    /// How long a peer may be silent before the connection counts as lost (at most 120).
    pub silence: u64,
    /// How long a destination waits for its controller's answer to a question before it tells the peer to come back.
    pub answer: u64,
    /// How long a source tries to reach a destination that refuses the connection or does not answer, before the
    /// mover ends with `DestinationUnreachable`.
    pub unreachable: u64,
    /// How long a source waits between two `published?`.
    pub poll: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: 30, silence: 60, answer: 60, unreachable: 60, poll: 1 }
    }
}

/// What a source mover writes to its termination message, at most [`MAX_TERMINATION`] bytes of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// The protocol version, see [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The sync that it was about.
    pub sync_id: String,
    /// How it ended. Also the exit code, see [`Outcome::exit_code`].
    pub result: Outcome,
    /// Why it failed: the name of a reason in `scribe_crds::conditions`.
    #[serde(default)]
    pub reason: Option<String>,
    /// What happened, in words, without secrets.
    pub message: String,
    /// What was moved.
    #[serde(default)]
    pub counts: Counts,
    /// Whether the destination said that this sync is published. Only that moves the recovery point.
    #[serde(default)]
    pub published: bool,
    /// Whether it is published because nothing had changed, without a new replica.
    #[serde(default)]
    pub unchanged: bool,
    /// What the destination could not keep.
    #[serde(default)]
    pub fidelity: Vec<String>,
    /// Things worth saying that did not stop the sync: clock skew, for example.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// A newer recovery point that the destination reported, of whichever sync: data time and sync id.
    #[serde(default)]
    pub recovery_point: Option<(Timestamp, String)>,
    /// The guard that kept it from sending, with the numbers.
    #[serde(default)]
    pub guarded: Option<Guarded>,
    /// Whether the guards have let it pass. From then on the receiving claim changes.
    #[serde(default)]
    pub guards_passed: bool,
}

/// The kubelet keeps no more of a termination message.
pub const MAX_TERMINATION: usize = 4096;

/// How a source mover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The sync is published.
    Done,
    /// It may work the next time.
    Transient,
    /// It will not work until somebody changes something.
    Permanent,
    /// The peer refused.
    Refused,
}

impl Outcome {
    /// The exit code of the mover.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Transient => 1,
            Self::Permanent => 2,
            Self::Refused => 3,
        }
    }
}
