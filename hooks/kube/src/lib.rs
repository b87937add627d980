//! Does what hooks ask for: over the Kubernetes API and the network. [`scribe_hooks`] has judged it before.
//!
//! ```text
//! once in a process:  Platform::new(own client, …)     Identities::new(config, own client)
//! for each call:      platform.host(Call { acting: identities.client(namespace, service account), subject, module, journal })
//!                         ─► module.effectful(limits, grants, host)
//! at release:         platform.undo(acting, namespace, entry) for every entry of the log, the last one first
//! while frozen:       platform.sessions().holds(entry.id) for every entry that is a session
//! when it changes:    review::missing(own, namespace, service account, review::needed(grants))
//! ```
//!
//! # In the controller
//!
//! [`Identities`] makes clients that act as each hook's ServiceAccount. The controller's own role needs `create` on `serviceaccounts/token` and on
//! `subjectaccessreviews`, `get`, `create` and `update` on `configmaps` (the modules' stores), and `create` on `events.events.k8s.io`. The [`Journal`] writes each entry into
//! the status of the object, under the version that was seen, and refuses ([`JournalError::Closed`]) when the quiesce that it belongs to is no longer
//! the current one. An entry leaves the log when [`Platform::undo`] has answered `Ok`, whatever the outcome says, and stays on an `Err`.
//! A cut counts only if [`Sessions::holds`] says yes for every session of the log after the cut was seen.
//!
//! # At the command line
//!
//! `acting` and `own` are the user's own client. The journal may be a file, or memory where the program undoes before it ends: a session ends with the
//! program in any case.
//!
//! # What cannot be promised
//!
//! A command goes on when its stream is closed, unless it ends with its stdin (kubernetes#89031): so does one that took too long. A command that does
//! not read more than some kilobytes of its stdin is not seen to end. A session whose controller has vanished with its node holds until the API
//! server has noticed, which takes minutes. A change whose request was on the way when this process was killed may still be made after its undo
//! was run by another process, if that one is there within moments.
#![warn(missing_docs)]

mod api;
mod cause;
mod events;
mod exec;
mod freeze;
mod host;
pub mod http;
mod identity;
mod object;
mod pods;
pub mod review;
mod sessions;
mod store;
mod stream;
mod undo;
mod wait;

pub use cause::chain;
pub use freeze::{Journal, JournalError};
pub use host::{Call, KubeHost, Platform, Subject};
pub use identity::{Identities, IdentityError};
pub use sessions::Sessions;
pub use undo::{UndoError, UndoOutcome};
