//! What is to be done, as data.

use crate::hooks::HookCall;
use crate::slots::Claim;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use scribe_crds::conditions::Reason;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::Guard;
use scribe_mover_contract::control::{Answer, Order};

/// What to do with an object of which `S` is the status.
///
/// The order is fixed: `first`, the status (under the resource version that was observed), `then`. So the record is ahead of the
/// deed: what `then` does may be lost with the process, and is decided again from what is observed. `first` is only for what the
/// status is about to claim, and must bear being done twice.
///
/// A failed write of any step ends the pass; nothing after it is done, and the object is observed anew. Two exceptions, on which nothing
/// else rests: an answer that a mover does not hear, and the deletion of a snapshot that is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<S> {
    /// Done before the status is written.
    pub first: Vec<Action>,
    /// The status to be. `None`: leave the object alone.
    pub status: Option<S>,
    /// Done after the status is written.
    pub then: Vec<Action>,
    /// Told to the user, each once (the reporter drops repetitions).
    pub events: Vec<Note>,
    /// A sync that came to its end with this status.
    pub ended: Option<SyncEnded>,
    /// What it means for the limits on movers. A slot that is taken has to be confirmed before any of this is done.
    pub slot: Claim,
    /// A guard that refused a sync with this status.
    pub tripped: Option<Guard>,
    /// Whether an application was let go on for another reason than a complete cut, or without its hook.
    pub forced_release: bool,
    /// Look again at this time, even if nothing changes.
    pub wake: Option<Timestamp>,
}

impl<S> Default for Decision<S> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            status: None,
            then: Vec::new(),
            events: Vec::new(),
            ended: None,
            slot: Claim::Nothing,
            tripped: None,
            forced_release: false,
            wake: None,
        }
    }
}

/// One write, or one word to a mover. It holds whole objects, so that carrying it out needs no judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put our finalizer on the object.
    AddFinalizer,
    /// Take it off: everything is gone that has to be.
    RemoveFinalizer,
    /// POST, once. If an object of that name exists, bears our owner label and names the owner, that is success, for a Secret a
    /// conflict: what it holds may be something else. Another one is a refusal.
    Create(Child),
    /// Server-side apply; of a Secret without force, and under its resource version, if it names one. An object of that name that is
    /// not ours is a refusal.
    Apply(Child),
    /// Patch the address and the port into the source's Secret, so that the keys need not be read back. A Secret that is not there, or
    /// is not ours, is a refusal.
    ApplyAddress {
        /// The Secret.
        secret: String,
        /// Its resource version, if it has to be the one that was seen.
        resource_version: Option<String>,
        /// The address.
        address: String,
        /// The port.
        port: u16,
    },
    /// Delete, under a precondition on the uid, and a Secret, of which that is not known, only if it is ours. Already gone is success.
    Delete(ChildRef),
    /// Put our owner label on a claim that we did not make, under its resource version.
    LabelClaim {
        /// The claim.
        name: String,
        /// Its uid.
        uid: String,
        /// The resource version at which it bore no owner label.
        resource_version: String,
    },
    /// Take our labels off a claim that stays.
    UnlabelClaim {
        /// The claim.
        name: String,
        /// Its uid.
        uid: String,
        /// Those labels, by their keys.
        labels: Vec<&'static str>,
        /// What to write on it instead.
        annotations: std::collections::BTreeMap<String, String>,
    },
    /// Annotate a snapshot as published and remove every owner reference, in one patch under its resource version.
    PublishSnapshot {
        /// The snapshot.
        name: String,
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The annotations to set.
        annotations: std::collections::BTreeMap<String, String>,
    },
    /// Put our owner label on a replica of the destination that had this name before, under its resource version.
    AdoptSnapshot {
        /// The snapshot.
        name: String,
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The uid of the destination that it belonged to.
        from: String,
    },
    /// Set `deletionPolicy: Delete` on a content that is being given up.
    ReleaseContent {
        /// The content.
        name: String,
    },
    /// Answer a question of a mover. A mover that no longer asks (409) is success.
    Answer {
        /// The mover pod.
        pod: String,
        /// The instance that asked.
        instance: String,
        /// The question.
        question: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// Give a mover an order. A stale order (409) is success: the object is observed anew.
    Order {
        /// The mover pod.
        pod: String,
        /// The order.
        order: Order,
    },
    /// Call a module, outside of this pass, unless that call runs or has been answered. The object is looked at again when it is done. The
    /// calls of a pass that was carried out are all that are remembered.
    CallHook(Box<HookCall>),
    /// Remember a call that was asked for; do not begin it.
    RememberHook {
        /// Its id.
        call: String,
    },
    /// Tell a call whether what undoes its next change stands in the status. One that no longer asks is success.
    AnswerHook {
        /// Its id.
        call: String,
        /// The entry of the undo log.
        entry: String,
        /// Whether it was written; if not, why.
        answer: Result<(), String>,
    },
    /// End the sessions that are held for this object: what is written down of them is about to be forgotten.
    EndSessions,
}

/// A child object, whole, with its labels and its owner reference.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// A claim.
    Claim(Box<PersistentVolumeClaim>),
    /// A pod.
    Pod(Box<Pod>),
    /// A Service.
    Service(Box<Service>),
    /// A Secret. Never printed.
    Secret(SecretChild),
    /// A snapshot.
    Snapshot(Box<VolumeSnapshot>),
}

/// A Secret whose content is never printed.
#[derive(Clone, PartialEq)]
pub struct SecretChild(pub Box<Secret>);

impl std::fmt::Debug for SecretChild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret {:?}", self.0.metadata.name)
    }
}

/// Names one child for deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRef {
    /// What it is.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Its uid; `None` for Secrets, which are never read.
    pub uid: Option<String>,
    /// Its resource version, where what was seen of it has to be so still.
    pub resource_version: Option<String>,
}

/// The kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// A claim.
    Claim,
    /// A pod. Deleted with a grace period of a few seconds.
    Pod,
    /// A Service.
    Service,
    /// A Secret.
    Secret,
    /// A snapshot.
    Snapshot,
}

/// An Event for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why: it decides between Normal and Warning.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// The end of a sync, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncEnded {
    /// How.
    pub result: SyncResult,
    /// Why, if it failed.
    pub reason: Option<Reason>,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncResult {
    /// A new replica was published.
    Success,
    /// Nothing had changed; the recovery point moved on.
    Unchanged,
    /// It failed.
    Failure,
    /// It was given up because the object or its claim went away.
    Aborted,
}
