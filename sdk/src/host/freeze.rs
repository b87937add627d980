//! Changes that the host undoes at release, in reverse order, whatever becomes of the module. What undoes a change is written down before
//! the change is made. Only [`quiesce`](crate::Quiesce::quiesce) may call these.

use super::exec::{Command, Target};
use super::imports::freeze as import;
use crate::{HookError, ObjectRef};

pub use crate::bindings::host::scribe::hooks::freeze::Error;

/// Scales a workload down. Undone by the old count, unless somebody else has scaled since.
///
/// # Errors
/// `denied` without a grant, `window-closed` where the time for it is over, and what the API server says.
pub fn scale_down(workload: &ObjectRef, replicas: u32) -> Result<(), Error> {
    import::scale_down(workload, replicas)
}

/// Sets an annotation. Undone by the old value, unless somebody else has changed it since.
///
/// # Errors
/// Those of [`scale_down`].
pub fn annotate(target: &ObjectRef, key: &str, value: &str) -> Result<(), Error> {
    import::annotate(target, key, value)
}

/// Suspends a CronJob.
///
/// # Errors
/// Those of [`scale_down`].
pub fn suspend_cronjob(target: &ObjectRef) -> Result<(), Error> {
    import::suspend_cronjob(target)
}

/// Runs `apply`, and `undo` at release: also where `apply` failed or was never answered. Should the controller die, `undo` has to wait for
/// the next one; a command that undoes itself after a time does not.
///
/// # Errors
/// Those of [`scale_down`]; `apply` ended with another code than 0.
pub fn exec_with_undo(target: &Target, apply: &Command, undo: &Command) -> Result<(), Error> {
    import::exec_with_undo(target, apply, undo)
}

/// Starts a command that holds something, such as a lock, as long as its stdin stays open, and returns when it has printed a line that
/// contains `ready_marker`. The command must end when its stdin does: that is how it is released, also where the controller dies.
///
/// # Errors
/// Those of [`scale_down`]; the command ended, or its time was up, before that line was seen.
pub fn hold_session(target: &Target, command: &Command, ready_marker: &str) -> Result<(), Error> {
    import::hold_session(target, command, ready_marker)
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        Self::Failed(match error {
            Error::Denied(why) => format!("freeze: denied: {why}"),
            Error::Failed(why) => format!("freeze: {why}"),
            Error::WindowClosed => "freeze: the time for it is over: raise quiesce.maxWindow".to_owned(),
        })
    }
}
