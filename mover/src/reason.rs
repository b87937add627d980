//! Why a mover ends without success, in the words of the reasons' table in `scribe-crds`.

use scribe_mover_contract::job::Outcome;

macro_rules! reasons {
    ($($name:ident,)+) => {
        /// The reasons that a mover itself can give; peers and controllers have more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($name,)+
        }

        impl Reason {
            #[cfg(test)]
            const ALL: &[Reason] = &[$(Reason::$name,)+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    ClientKeyRejected,
    CommitRefused,
    ConnectionLost,
    DestinationFull,
    DestinationUnreachable,
    FidelityRefused,
    HostKeyMismatch,
    InternalError,
    KeysMissing,
    NeedsPrivilege,
    ProtocolMismatch,
    PublicationFailed,
    PublicationTimeout,
    SourceReadError,
    SyncGuarded,
    TransferFailed,
}

/// Why a sync did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// Whether it is worth another attempt.
    pub outcome: Outcome,
    /// The name of a reason: ours, or one that the peer gave.
    pub reason: String,
    /// What happened, in words, without secrets.
    pub message: String,
}

impl Failure {
    pub fn new(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome, reason: reason.as_str().to_owned(), message: message.into() }
    }

    pub fn transient(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Outcome::Transient, reason, message)
    }

    pub fn permanent(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Outcome::Permanent, reason, message)
    }

    /// Something that no administrator can cause: a program is missing in the image, a local pipe breaks.
    pub fn internal(error: &anyhow::Error) -> Self {
        Self::transient(Reason::InternalError, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_table() {
        for reason in Reason::ALL {
            assert!(reason.as_str().parse::<scribe_crds::conditions::Reason>().is_ok(), "{reason:?}");
        }
    }
}
