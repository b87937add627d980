//! Why a registry did not do what it was asked.

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// Why a registry did not do what it was asked. The text is for whoever named it, and shows in the status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    /// The text names nothing in a registry.
    #[error(
        "`{reference}` is not the name of an artifact ({why}): write it like registry.example.com/hooks/name:1.0 or …/name@sha256:…"
    )]
    Reference {
        /// The text.
        reference: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client could not be made.
    #[error("make a client for registries: {0}")]
    Client(String),
    /// Nobody may, or not this one.
    #[error("{reference}: the registry refuses these credentials, or wants some")]
    Unauthorized {
        /// What was asked for.
        reference: String,
    },
    /// There is no such artifact.
    #[error("{reference} is not there")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// It is something else.
    #[error("{reference} is not a WASM module: {found}")]
    WrongType {
        /// What was asked for.
        reference: String,
        /// What it is.
        found: String,
    },
    /// It is too much.
    #[error("{reference}: {what} is larger than {most} bytes")]
    TooLarge {
        /// What was asked for.
        reference: String,
        /// What of it.
        what: &'static str,
        /// What is allowed.
        most: u64,
    },
    /// What came is not what the digest says.
    #[error("{reference}: {detail}; do not use this registry until it is known why")]
    Digest {
        /// What was asked for.
        reference: String,
        /// What was expected, and what came.
        detail: String,
    },
    /// From here, it may not be asked for.
    #[error("{reference} may not be asked for from here: {detail}")]
    Denied {
        /// What was asked for.
        reference: String,
        /// Why not.
        detail: String,
    },
    /// Nobody who is trusted has signed it.
    #[error("{reference} is not signed by a trusted key: {detail}")]
    Unsigned {
        /// What was asked for.
        reference: String,
        /// What there is instead.
        detail: String,
    },
    /// The registry cannot be reached, or is out of order.
    #[error("{reference}: the registry does not answer: {detail}")]
    Unavailable {
        /// What was asked for.
        reference: String,
        /// What happened.
        detail: String,
    },
    /// The registry answers what a registry does not.
    #[error("{reference}: the registry answers what cannot be understood: {detail}")]
    Protocol {
        /// What was asked for.
        reference: String,
        /// What it answers.
        detail: String,
    },
}

impl OciError {
    /// Whether the same request may succeed later, unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn of(reference: &str, error: &OciDistributionError) -> Self {
        let reference = reference.to_owned();
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Unauthorized { reference },
            OciDistributionError::ServerError { code: 401 | 403, .. } => Self::Unauthorized { reference },
            OciDistributionError::ServerError { code: 404, .. }
            | OciDistributionError::ImageManifestNotFoundError(_) => Self::NotFound { reference },
            OciDistributionError::ServerError { code, .. } if *code == 429 || *code >= 500 => {
                Self::Unavailable { reference, detail: format!("status {code}") }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let has =
                    |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
                if has(&[OciErrorCode::Denied, OciErrorCode::Unauthorized]) {
                    Self::Unauthorized { reference }
                } else if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::BlobUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    Self::NotFound { reference }
                } else if has(&[OciErrorCode::Toomanyrequests]) {
                    Self::Unavailable { reference, detail: "too many requests".to_owned() }
                } else {
                    Self::Protocol { reference, detail: short(&envelope.to_string()) }
                }
            }
            OciDistributionError::DigestError(error) => {
                Self::Digest { reference, detail: short(&error.to_string()) }
            }
            OciDistributionError::RequestError(error) => {
                Self::Unavailable { reference, detail: short(&chain(error)) }
            }
            OciDistributionError::IoError(error) => {
                Self::Unavailable { reference, detail: short(&error.to_string()) }
            }
            other => Self::Protocol { reference, detail: short(&other.to_string()) },
        }
    }
}

/// A registry's own words are cut, and cannot end the line.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 300;
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = clean.take(MOST).collect();
    if text.chars().count() > MOST {
        short.push('…');
    }
    short
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
