//! The control API: what a controller and its mover say to each other over HTTP.
//!
//! | Request | Body | Answer |
//! |---|---|---|
//! | `GET /v1/state?after=REVISION&wait=SECONDS` | | [`MoverState`], as soon as its revision is above `after`, or after `wait` |
//! | `POST /v1/answers` | [`AnswerTo`] | 204; 409 if the question is no longer open |
//! | `POST /v1/orders` | [`Order`] | 204; 409 with a text if the order is stale |
//!
//! Every request carries `Authorization: Bearer TOKEN`; without it the answer is 401 and nothing else.

use crate::guards::Guarded;
use crate::job::Termination;
use crate::peer::{Abilities, Commit, Counts, Handshake, HandshakeAnswer, PublicationState, Published};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest [`MoverState::waiting`], in bytes.
pub const MAX_WAITING: usize = 512;

/// All that a controller needs to know about a mover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoverState {
    /// The protocol version, see [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Random for each start of the mover's process: a change means that it lost its caches, its session and its questions.
    pub instance: String,
    /// Rises with every change of this state.
    pub revision: u64,
    /// What the mover is doing.
    pub activity: Activity,
    /// Destination: set while every write is refused. Each sealing has a higher number than the one before.
    #[serde(default)]
    pub seal: Option<u64>,
    /// Destination: the session that may write, or that wrote what is now sealed.
    #[serde(default)]
    pub session: Option<SessionState>,
    /// Source: what the destination says that it waits for, on one line of at most [`MAX_WAITING`] bytes.
    #[serde(default)]
    pub waiting: Option<String>,
    /// How far the transfer is. A destination shows what the source of its session says.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Destination: what its controller has to decide, oldest first.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// Destination: what its file system can keep, as probed at the start.
    #[serde(default)]
    pub abilities: Option<Abilities>,
    /// Destination: free bytes of the volume, as of the last change of state.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Destination: size of the volume in bytes.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// Destination: how the last session ended that did not commit.
    #[serde(default)]
    pub last_failure: Option<SessionFailure>,
    /// Source: its last words, while it is about to exit. The same stand in the pod's termination message, which the kubelet shows up to a second
    /// later. Whoever asks for what comes after this revision has heard them, and the mover waits a little for that.
    #[serde(default)]
    pub ended: Option<Box<Termination>>,
}

/// What a mover is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Activity {
    /// Reads its job and its keys, probes the file system.
    Starting,
    /// Source: tries to reach the destination.
    Connecting,
    /// Source: looks at what there is to send, before it asks to begin.
    Surveying,
    /// Source: was told to wait by the destination.
    Waiting,
    /// Destination: waits for a session, sealed or not.
    Listening,
    /// Data is being moved.
    Transferring,
    /// Flushes and seals (destination), waits for that (source).
    Committing,
    /// Source: asks whether it is published.
    AwaitingPublication,
    /// Source: is about to exit.
    Finished,
}

/// The session that a destination mover serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionState {
    /// The sync.
    pub sync_id: String,
    /// Its attempt.
    pub attempt: u32,
    /// The fencing token that its controller gave it.
    pub token: u64,
    /// Whether a connection of it is open.
    pub connected: bool,
}

/// How a session ended without a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionFailure {
    /// The sync.
    pub sync_id: String,
    /// Its attempt.
    pub attempt: u32,
    /// The name of a reason in `scribe_crds::conditions`.
    pub reason: String,
    /// What happened, in words.
    pub message: String,
}

/// How far a transfer is. Bytes and entries of the volume, not of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes dealt with.
    pub bytes_done: u64,
    /// Bytes in all, as far as known.
    pub bytes_total: u64,
    /// Entries dealt with.
    pub files_done: u64,
    /// Entries in all, as far as known.
    pub files_total: u64,
    /// Bytes per second, of late.
    pub rate: u64,
}

/// What a destination mover asks its controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Unique within an [`MoverState::instance`].
    pub id: u64,
    /// When it was asked, by the mover's clock.
    pub asked_at: Timestamp,
    /// What it is about.
    pub about: QuestionKind,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum QuestionKind {
    /// A source wants to begin, or to go on. The answer is [`Answer::Handshake`].
    Handshake(Box<Handshake>),
    /// A source has sent everything; the mover has ended every writer, flushed and sealed, and asks to have it recorded.
    /// The answer is [`Answer::Commit`].
    Commit {
        /// What the source said.
        commit: Commit,
        /// The seal that was set for it.
        seal: u64,
    },
    /// A source asks what has become of a sync. The answer is [`Answer::Published`].
    Published(Published),
    /// A guard keeps the source of the session from sending. The answer is [`Answer::Guarded`].
    Guarded {
        /// What the source said.
        guarded: Guarded,
        /// No write was allowed in this session, and none will be: the claim is what it was when it began.
        untouched: bool,
    },
}

/// A controller's answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerTo {
    /// The [`MoverState::instance`] that asked.
    pub instance: String,
    /// The [`Question::id`].
    pub question: u64,
    /// The answer.
    pub answer: Answer,
}

/// What a controller decided, after it recorded it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Answer {
    /// To [`QuestionKind::Handshake`]. The mover adds abilities and free space before it passes it on.
    Handshake(Box<HandshakeAnswer>),
    /// To [`QuestionKind::Commit`]: recorded, or why not. After a refusal the mover stays sealed until it is told otherwise.
    Commit(CommitVerdict),
    /// To [`QuestionKind::Published`].
    Published(PublicationState),
    /// To [`QuestionKind::Guarded`]: it stands in the status, or was of no session that is known.
    Guarded,
}

/// Whether a commit was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum CommitVerdict {
    /// It stands in the status.
    Recorded {
        /// The uid of the receiving claim.
        claim_uid: String,
        /// How long the source should go on asking `published?`, in seconds.
        publish_deadline: u64,
        /// What has become of it, if it is published already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<PublicationState>,
    },
    /// It does not, and will not.
    Refused {
        /// The name of a reason in `scribe_crds::conditions`.
        reason: String,
        /// In words.
        message: String,
    },
}

/// What a controller wants of a mover, unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase")]
pub enum Order {
    /// Allow writes again. Refused if the current seal is another: what a controller decided before a pause may be stale.
    Unseal {
        /// The seal to lift.
        seal: u64,
    },
    /// End the session and its processes, and seal. Refused if another session is served; if none is, seal all the same.
    EndSession {
        /// The fencing token of the session; of none, it does not matter.
        token: u64,
    },
}

/// What a mover moved so far, for metrics.
pub type TransferCounts = Counts;
