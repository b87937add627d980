//! The words of version 0.1 as the newest ones, and back.

use scribe_hooks_contract::{context, effects, points, retention};

use super::exports::{decision, failure, promotion, quiesce, retention as keep, settings, transfer};
use super::host::{events, exec, freeze, http, kube, log, state, types};
use crate::outcome::Refusal;

/// Enums and variants whose cases are the same on both sides.
macro_rules! same {
    ($from:ty => $to:ty { $($plain:ident),* $(; $($holding:ident),+)? }) => {
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                type Given = $from;
                match value {
                    $(Given::$plain => Self::$plain,)*
                    $($(Given::$holding(inner) => Self::$holding(inner),)+)?
                }
            }
        }
    };
}

same!(context::Role => types::Role { Source, Destination });
same!(context::CopyMethod => types::CopyMethod { Clone, Snapshot, Direct });
same!(context::Trigger => types::Trigger { Schedule, Manual, Change, Retry, Promotion });
same!(log::Level => effects::Level { Debug, Info, Warn, Error });
same!(events::Kind => effects::EventKind { Normal, Warning });
same!(kube::PatchKind => effects::PatchKind { Merge, Strategic, Json, Apply });
same!(effects::StateError => state::Error { ; TooLarge, Conflict, Unavailable });
same!(effects::KubeError => kube::Error { NotFound; Denied, Conflict, Invalid, Unavailable, TooLarge });
same!(effects::ExecError => exec::Error { TimedOut; Denied, NoSuchTarget, NotRunning, Unavailable });
same!(effects::FreezeError => freeze::Error { WindowClosed; Denied, Failed });
same!(effects::HttpError => http::Error { TimedOut; Denied, Dns, Connect, Tls, TooLarge, Protocol });
same!(points::Comparison => transfer::Comparison { Content, Metadata });
same!(transfer::Comparison => points::Comparison { Content, Metadata });
same!(quiesce::Consistency => points::Consistency { Application, Filesystem, Crash });
same!(points::ReleaseReason => quiesce::ReleaseReason {
    CutTaken, CutFailed, QuiesceFailed, WindowExpired, Cancelled, ControllerRestarted, ObjectDeleted
});
same!(points::Phase => failure::Phase {
    Decision, PreSync, Quiesce, Cut, Transfer, Publish, PostSync, Retention, Promotion
});
same!(failure::Reaction => points::Reaction { Default, FullResync; RetryAfter, Suspend });

/// Records whose fields are the same on both sides.
macro_rules! fields {
    ($from:ty => $to:ty { $($field:ident),+ }) => {
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                #[allow(clippy::useless_conversion, reason = "most fields have the same type on both sides")]
                Self { $($field: value.$field.into()),+ }
            }
        }
    };
}

fields!(effects::Entry => state::Entry { value, revision });
fields!(exec::Target => effects::Target { pod, label_selector, container, all_matching });
fields!(exec::Command => effects::Command { argv, stdin, timeout_seconds, max_output });
fields!(effects::Outcome => exec::Outcome { pod, exit_code, stdout, stderr, truncated });
fields!(http::Request => effects::Request { method, url, headers, body, timeout_seconds, secret_headers });
fields!(effects::Response => http::Response { status, headers, body });
fields!(types::ObjectRef => context::ObjectRef { api_version, kind, namespace, name, uid });
fields!(context::ObjectRef => types::ObjectRef { api_version, kind, namespace, name, uid });
fields!(settings::Info => points::Info { name, version, settings_schema });
fields!(types::Problem => points::Problem { path, message });
fields!(keep::Keep => retention::Keep { id, reason });
fields!(points::FailureReport => failure::Report { phase, code, message, mover_exit, retryable });
fields!(points::Candidate => promotion::Candidate { volume, taken, recovery_point_age_seconds });
fields!(context::SyncStats => types::SyncStats {
    started, finished, bytes_sent, bytes_total, files_changed, files_deleted, mover_exit
});
fields!(context::Attempt => types::Attempt { attempt_id, number, trigger, now, deadline });

impl From<context::Replication> for types::Replication {
    fn from(value: context::Replication) -> Self {
        let context::Replication {
            object,
            role,
            generation,
            source_pvc,
            destination_pvc,
            copy_method,
            labels,
        } = value;
        Self {
            ref_: object.into(),
            role: role.into(),
            generation,
            source_pvc: source_pvc.map(Into::into),
            destination_pvc: destination_pvc.map(Into::into),
            copy_method: copy_method.into(),
            labels: labels.into_iter().collect(),
        }
    }
}

impl From<context::Context> for types::Context {
    fn from(value: context::Context) -> Self {
        let context::Context { replication, attempt, last, settings_json } = value;
        let context::LastSync { succeeded, consecutive_failures } = last;
        Self {
            replication: replication.into(),
            attempt: attempt.into(),
            last: types::LastSync { succeeded: succeeded.map(Into::into), consecutive_failures },
            settings_json,
        }
    }
}

impl From<decision::Verdict> for points::Verdict {
    fn from(value: decision::Verdict) -> Self {
        match value {
            decision::Verdict::Proceed => Self::Proceed,
            decision::Verdict::Skip(message) => Self::Skip(message),
            decision::Verdict::Defer((seconds, message)) => Self::Defer { seconds, message },
        }
    }
}

impl From<points::TransferOptions> for transfer::Options {
    fn from(value: points::TransferOptions) -> Self {
        let points::TransferOptions { bandwidth_kib, comparison, excludes, timeout_seconds } = value;
        Self { bandwidth_kib, comparison: comparison.map(Into::into), excludes, timeout_seconds }
    }
}

impl From<transfer::Options> for points::TransferOptions {
    fn from(value: transfer::Options) -> Self {
        let transfer::Options { bandwidth_kib, comparison, excludes, timeout_seconds } = value;
        Self { bandwidth_kib, comparison: comparison.map(Into::into), excludes, timeout_seconds }
    }
}

impl From<retention::ReplicaPoint> for keep::Point {
    fn from(value: retention::ReplicaPoint) -> Self {
        let retention::ReplicaPoint { id, created, size_bytes, labels, pinned, in_use, ready } = value;
        Self { id, created, size_bytes, labels: labels.into_iter().collect(), pinned, in_use, ready }
    }
}

impl From<quiesce::Frozen> for points::Frozen {
    fn from(value: quiesce::Frozen) -> Self {
        let quiesce::Frozen { token, achieved, note } = value;
        Self { token, achieved: achieved.into(), note }
    }
}

impl From<types::HookError> for Refusal {
    fn from(value: types::HookError) -> Self {
        match value {
            types::HookError::RetryAfter((seconds, message)) => Self::RetryAfter(seconds, message),
            types::HookError::Rejected(message) => Self::Rejected(message),
            types::HookError::Failed(message) => Self::Failed(message),
        }
    }
}
