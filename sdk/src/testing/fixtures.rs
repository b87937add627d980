use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Host;
use crate::retention::Point;
use crate::{
    Attempt, Context, CopyMethod, Hook, LastSync, ObjectRef, Problem, Replication, Role, Timestamp, Trigger,
};

/// A context with these settings: the first attempt of a scheduled sync of the source `db`, at [`Host::NOW`]. Change what the test is about.
///
/// # Panics
/// The settings cannot be read.
#[must_use]
pub fn context<S: DeserializeOwned>(settings: &Value) -> Context<S> {
    let settings = crate::settings::read(&settings.to_string());
    Context {
        settings: settings.unwrap_or_else(|problem: Problem| unreadable(&problem)),
        replication: Replication {
            ref_: object("scribe.dev/v1alpha1", "ReplicationSource", "db"),
            role: Role::Source,
            generation: 1,
            source_pvc: Some(object("v1", "PersistentVolumeClaim", "db")),
            destination_pvc: None,
            copy_method: CopyMethod::Clone,
            labels: Vec::new(),
        },
        attempt: Attempt {
            attempt_id: "00000000-0000-0000-0000-000000000001".to_owned(),
            number: 1,
            trigger: Trigger::Schedule,
            now: Host::NOW,
            deadline: Host::NOW + 60_000,
        },
        last: LastSync { succeeded: None, consecutive_failures: 0 },
    }
}

#[allow(clippy::panic, reason = "a test's own mistake")]
fn unreadable<S>(problem: &Problem) -> S {
    panic!("settings: {}", problem.line())
}

/// An object as the host names it: with the namespace `default`.
#[must_use]
pub fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
    ObjectRef { namespace: "default".to_owned(), ..ObjectRef::new(api_version, kind, name) }
}

/// A replica that is ready, of data of the time `created`.
#[must_use]
pub fn point(id: &str, created: Timestamp) -> Point {
    Point {
        id: id.to_owned(),
        created,
        size_bytes: None,
        labels: Vec::new(),
        pinned: false,
        in_use: false,
        ready: true,
    }
}

/// Judges settings as the host would have them judged.
///
/// # Errors
/// All that is wrong with them.
pub fn validate<T: Hook>(settings: &Value) -> Result<(), Vec<Problem>> {
    crate::settings::judge::<T>(&settings.to_string())
}

/// That a hook's committed schema is the one which was made from its settings, so that it does not fall behind them.
///
/// # Panics
/// It is not. The message has the schema as it should be.
pub fn assert_schema<T: Hook>(made: &Value) {
    let committed = T::SCHEMA.map(serde_json::from_str::<Value>);
    assert!(matches!(&committed, Some(Ok(schema)) if schema == made), "the schema should be:\n{made:#}\n");
}
