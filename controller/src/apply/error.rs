//! Why a write failed, and what follows from that.

use crate::mover_client::MoverError;
use kube::core::Status;
use scribe_core::observed::Refusal;

/// A write that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused it for good.
    #[error("{operation} {}: {}", refusal.object, refusal.message)]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// What was refused, and why.
        refusal: Refusal,
    },
    /// The world is another than the one that was observed.
    #[error("{operation} {object}")]
    Conflict {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// In the API server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// It may work the next time.
    #[error("{operation} {object}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// It is another controller's turn.
    #[error("this controller has not renewed its Lease in time")]
    TermOver,
    /// A mover could not be told.
    #[error(transparent)]
    Mover(#[from] MoverError),
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The user has to be told, and to act.
    Refused,
    /// Observe anew, and decide again.
    Conflict,
    /// Try again after a pause.
    Transient,
}

impl ApplyError {
    /// Sorts an answer of the API server.
    ///
    /// Admission webhooks may answer with any code; those that mean "no" are refusals. 401 is not: a token is being renewed.
    pub fn new(operation: &'static str, object: String, error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                // A precondition that failed, or an object that is gone, of which more than its absence was expected.
                404 | 409 => Self::Conflict { operation, object, source: Box::new(error) },
                400 | 402 | 403 | 405 | 406 | 413 | 422 => {
                    let message = status.message.clone();
                    Self::refused(operation, object, message)
                }
                _ => Self::Failed { operation, object, source: Box::new(error) },
            },
            _ => Self::Failed { operation, object, source: Box::new(error) },
        }
    }

    /// The same for a Secret. The API server's words may repeat what it refuses, so only those about permission are passed on. That
    /// somebody else wrote the fields that are to be applied is a refusal: what he wrote may be needed.
    pub fn of_secret(operation: &'static str, object: String, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::new(operation, object, error) };
        if let Some(conflicts) = field_conflicts(status) {
            let message = format!(
                "somebody else wrote what is to be written now ({conflicts}): delete it, and it is made anew, or rename it"
            );
            return Self::refused(operation, object, message);
        }
        if matches!(status.code, 400 | 413 | 422) {
            let message = format!("the API server answered {} {}", status.code, status.reason);
            return Self::refused(operation, object, message);
        }
        Self::new(operation, object, error)
    }

    /// The object is not the one that was observed.
    pub fn changed(operation: &'static str, object: String) -> Self {
        let status = Status::failure("it has changed meanwhile", "Conflict").with_code(409);
        Self::Conflict { operation, object, source: Box::new(kube::Error::Api(Box::new(status))) }
    }

    /// A refusal, in the API server's words or in ours.
    pub fn refused(operation: &'static str, object: String, message: String) -> Self {
        // The quota admission plugin says so in words only.
        let quota = message.contains("exceeded quota");
        Self::Refused { operation, refusal: Refusal { object, quota, message } }
    }

    /// What follows from it.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { .. } => Class::Refused,
            Self::Conflict { .. } => Class::Conflict,
            Self::Failed { .. } | Self::Mover(_) | Self::TermOver => Class::Transient,
        }
    }
}

/// Which fields belong to which other manager, if that is why an apply was refused. Their values are not told.
fn field_conflicts(status: &Status) -> Option<String> {
    let causes = status.details.as_ref().filter(|_| status.code == 409)?.causes.iter();
    let conflicts: Vec<String> = causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| format!("{} at {}", cause.message, cause.field))
        .collect();
    (!conflicts.is_empty()).then(|| conflicts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::{StatusCause, StatusDetails};

    fn answer(code: u16, message: &str) -> ApplyError {
        let status = Status::failure(message, "").with_code(code);
        ApplyError::new("create", "Pod a".to_owned(), kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn answers_are_sorted_by_what_follows() {
        for code in [400, 403, 422] {
            assert_eq!(answer(code, "denied").class(), Class::Refused, "{code}");
        }
        for code in [404, 409] {
            assert_eq!(answer(code, "conflict").class(), Class::Conflict, "{code}");
        }
        for code in [401, 429, 500, 503, 504] {
            assert_eq!(answer(code, "busy").class(), Class::Transient, "{code}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let status = Status::failure("data: Invalid value: hunter2", "Invalid").with_code(422);
        let error = ApplyError::of_secret("apply", "Secret a".to_owned(), kube::Error::Api(Box::new(status)));
        assert_eq!(error.class(), Class::Refused);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn what_somebody_else_wrote_into_a_secret_is_not_overwritten() {
        let sorted = |reason: &str| {
            let cause = StatusCause {
                reason: reason.to_owned(),
                message: "conflict with \"kubectl-edit\" using v1".to_owned(),
                field: ".data.source".to_owned(),
            };
            let details = StatusDetails {
                name: "a".to_owned(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![cause],
                retry_after_seconds: 0,
            };
            let status = Status::failure("no", "Conflict").with_code(409).with_details(details);
            ApplyError::of_secret("apply", "Secret a".to_owned(), kube::Error::Api(Box::new(status)))
        };
        let refused = sorted("FieldManagerConflict");
        assert_eq!(refused.class(), Class::Refused);
        let text = refused.to_string();
        for words in ["Secret a", "\"kubectl-edit\"", ".data.source", "delete"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(sorted("SomethingElse").class(), Class::Conflict);
    }

    #[test]
    fn a_quota_is_told_from_other_refusals() {
        let quota = |message| match answer(403, message) {
            ApplyError::Refused { refusal, .. } => refusal.quota,
            other => panic!("{other:?}"),
        };
        assert!(quota(
            "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
        ));
        assert!(!quota("pods \"a\" is forbidden: violates PodSecurity"));
    }
}
