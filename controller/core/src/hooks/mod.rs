//! Hooks: what is asked of a module, and what is known of it.
//!
//! A decision never waits for a module. It asks by [`Action::CallHook`](crate::decision::Action::CallHook), a call that is whole data with
//! an id of its own; the controller runs it outside of the pass and looks at the object again when it is done. What came of it is a part of
//! what the next pass sees, and `decide` records it in the status. A call that no decision asks for any more is forgotten, with its answer: so each
//! pass asks for what it still needs.

mod context;
mod roll;

pub use context::SETTINGS_MOST;

pub(crate) use context::{Asked, context, last_sync, millis, settings_json};
pub(crate) use roll::{Entry, Roll, State};

use crate::text::sentences;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::Failure;
use scribe_hooks_contract::context::{Context, SyncStats};
use scribe_hooks_contract::points::{
    self, FailureReport, Point, Problem, Reaction, TransferOptions, Verdict,
};
use scribe_hooks_contract::reason;
use scribe_hooks_contract::retention::{Keep, ReplicaPoint};
use scribe_hooks_contract::undo::Undo;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of everything that an object's hooks depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HooksSeen {
    /// The HookModules that the spec names, by name. One that is not here does not exist.
    pub modules: BTreeMap<String, ModuleSeen>,
    /// The calls that were asked for, by id, as far as they are remembered.
    pub calls: BTreeMap<String, CallSeen>,
    /// The entries of the undo log whose session has ended by itself: what it held is not held any more.
    pub ended_sessions: BTreeSet<String>,
    /// What the ServiceAccount of a hook may not do although the module is granted it, in words. By HookModule and ServiceAccount.
    pub missing_rights: BTreeMap<(String, ActsAs), Vec<String>>,
}

/// What is known of a HookModule that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSeen {
    /// It is being read and compiled, or its turn has not come.
    Loading,
    /// There is nothing that could be run.
    Broken(String),
    /// It can be run.
    Ready {
        /// The SHA-256 of the module, in hexadecimal.
        digest: String,
        /// Where it can be asked.
        exports: Vec<Point>,
    },
}

/// A call that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum CallSeen {
    /// It runs, or waits for its turn.
    Running,
    /// It runs, and wants what undoes its next change to be written down first.
    Asks(Undo),
    /// It is over.
    Done(Result<HookAnswer, HookFailure>),
}

/// One call of a module, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct HookCall {
    /// The same call has the same id, in every pass and after a restart.
    pub id: String,
    /// The HookModule, in the namespace of the object.
    pub module: String,
    /// The module that is meant, by its SHA-256. Another one is not asked.
    pub digest: String,
    /// What it is asked.
    pub request: HookRequest,
}

/// What a module is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum HookRequest {
    /// What it has against these settings, as JSON.
    Validate(String),
    /// Whether to sync now.
    Decide(Box<Context>),
    /// How to transfer, and what would be done without it.
    Tune(Box<Context>, TransferOptions),
    /// Which of these replicas to keep.
    Choose(Box<Context>, Vec<ReplicaPoint>),
    /// To bring the application to rest.
    Quiesce(Box<Context>, ActsAs),
    /// To let it go on. A release, and an undo, end whatever quiesce of the object still runs, and begin after that.
    Release(Box<ReleaseRequest>, ActsAs),
    /// What is to be done before a sync; and whether it may begin.
    PreSync(Box<Context>, ActsAs),
    /// What is to be done after it.
    PostSync(Box<Context>, SyncStats, ActsAs),
    /// What to do about an attempt that failed.
    OnFailure(Box<Context>, FailureReport, ActsAs),
    /// Not the module but its host: to undo what was frozen, in this order.
    Undo(Vec<Undo>, ActsAs),
    /// Not the module but its host: whether what was frozen still is.
    Holds(Vec<Undo>, ActsAs),
}

/// The ServiceAccount that a hook acts as, in the namespace of its object. `None`: it may do nothing in Kubernetes.
pub type ActsAs = Option<String>;

/// What a module is told for a release.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseRequest {
    /// As for the quiesce.
    pub context: Context,
    /// What the quiesce answered; `None` where it is not known.
    pub token: Option<String>,
    /// Why it is released.
    pub reason: points::ReleaseReason,
    /// Counts the tries, from 1.
    pub number: u32,
}

impl HookRequest {
    /// The point that it belongs to; none: every module judges settings.
    pub fn point(&self) -> Option<Point> {
        match self {
            Self::Validate(_) => None,
            Self::Decide(_) => Some(Point::Decision),
            Self::Tune(..) => Some(Point::Transfer),
            Self::Choose(..) => Some(Point::Retention),
            Self::Quiesce(..) | Self::Release(..) | Self::Undo(..) | Self::Holds(..) => Some(Point::Quiesce),
            Self::PreSync(..) | Self::PostSync(..) => Some(Point::Lifecycle),
            Self::OnFailure(..) => Some(Point::Failure),
        }
    }
}

/// What a module answered.
#[derive(Clone, Debug, PartialEq)]
pub enum HookAnswer {
    /// What it has against the settings.
    Settings(Vec<Problem>),
    /// Whether to sync now.
    Verdict(Verdict),
    /// How to transfer.
    Options(TransferOptions),
    /// Which replicas to keep.
    Keeps(Vec<Keep>),
    /// The application is at rest.
    Frozen(points::Frozen),
    /// It goes on.
    Released,
    /// It was done.
    Done,
    /// What to do about an attempt that failed.
    Reaction(Reaction),
    /// What could not be undone, in the order in which it was frozen, and why. Nothing is left: all was undone.
    Undone {
        /// What is left.
        left: Vec<Undo>,
        /// Why, in words.
        words: String,
    },
    /// What is not frozen any more, in words. Nothing: all of it is.
    Lost(Vec<String>),
}

/// Why a module gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFailure {
    /// Which kind of failure.
    pub reason: reason::Reason,
    /// In words.
    pub message: String,
    /// When it wants to be asked again, in seconds from its answer.
    pub retry_after: Option<u32>,
}

/// Trouble with a hook, as conditions tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub reason: Reason,
    pub message: String,
}

impl Trouble {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A call that failed.
    pub fn of(failure: &HookFailure) -> Self {
        let reason = match failure.reason {
            reason::Reason::HookTimeout => Reason::HookTimeout,
            reason::Reason::HookFuel => Reason::HookFuel,
            reason::Reason::HookMemory => Reason::HookMemory,
            reason::Reason::HookTrap => Reason::HookTrap,
            reason::Reason::HookDenied => Reason::HookDenied,
            reason::Reason::HookRejected => Reason::HookRejected,
            reason::Reason::HookFailed => Reason::HookFailed,
            reason::Reason::HookRetryAfter => Reason::HookRetryAfter,
            reason::Reason::HookOutput => Reason::HookOutput,
            reason::Reason::HookModuleInvalid => Reason::HookModuleInvalid,
            reason::Reason::HookUnavailable => Reason::HookUnavailable,
        };
        Self::new(reason, crate::text::clean(&failure.message, 600))
    }

    /// An answer to something else than what was asked: a fault of ours.
    pub fn misunderstood() -> Self {
        Self::new(Reason::InternalError, "the answer is not one to what was asked")
    }
}

impl Trouble {
    /// In words, with the way out, if there is anything to do.
    pub fn told(&self) -> String {
        let action = self.reason.action();
        match action.strip_prefix("Nothing; ") {
            _ if action == "Nothing." => sentences(&self.message, ""),
            Some(rest) => sentences(&self.message, &capital(rest)),
            None => sentences(&self.message, action),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

impl From<&Failure> for Trouble {
    /// One that was recorded.
    fn from(failure: &Failure) -> Self {
        Self::new(failure.reason.parse().unwrap_or(Reason::HookFailed), failure.message.clone())
    }
}

impl From<&Trouble> for Failure {
    fn from(trouble: &Trouble) -> Self {
        Self { reason: trouble.reason.as_str().to_owned(), message: trouble.message.clone() }
    }
}

/// What stands for all of these parts together.
pub(crate) fn id(parts: &impl Serialize) -> String {
    // Parts are texts, numbers and requests: none of them can fail to be written.
    names::fingerprint(&serde_json::to_string(parts).unwrap_or_default())
}
