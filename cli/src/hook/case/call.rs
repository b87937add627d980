//! The functions of hooks, what each is given, and what it answers.

use std::collections::BTreeSet;

use clap::ValueEnum;
use scribe_hooks::contract::context::SyncStats;
use scribe_hooks::contract::points::{
    Candidate, FailureReport, Frozen, Phase, Problem, Reaction, ReleaseReason, TransferOptions, Verdict,
};
use scribe_hooks::contract::retention::{Keep, ReplicaPoint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::{CandidateInput, PointInput, StatsInput};

/// What a function without an answer is said to have answered.
pub const DONE: &str = "done";

/// A function of a hook, by its name in the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// Are these settings good?
    Validate,
    /// Decision: sync now?
    Decide,
    /// Transfer: how?
    Tune,
    /// Retention: which replicas stay?
    Choose,
    /// Quiesce: before the cut
    Quiesce,
    /// Quiesce: after it
    Release,
    /// Lifecycle: before a sync
    PreSync,
    /// Lifecycle: after it
    PostSync,
    /// Failure: what now?
    OnFailure,
    /// Promotion: before it
    BeforePromotion,
    /// Promotion: after it
    AfterPromotion,
}

impl Function {
    /// As in the WIT package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Decide => "decide",
            Self::Tune => "tune",
            Self::Choose => "choose",
            Self::Quiesce => "quiesce",
            Self::Release => "release",
            Self::PreSync => "pre-sync",
            Self::PostSync => "post-sync",
            Self::OnFailure => "on-failure",
            Self::BeforePromotion => "before-promotion",
            Self::AfterPromotion => "after-promotion",
        }
    }

    /// Whether it has effects, and so a host to ask for them.
    pub fn is_effectful(self) -> bool {
        !matches!(self, Self::Validate | Self::Decide | Self::Tune | Self::Choose)
    }

    /// An answer as the function would give it, with the fields that may be left out.
    ///
    /// # Errors
    ///
    /// It cannot be an answer of this function.
    pub fn complete_answer(self, answer: &Value) -> Result<Value, String> {
        match self {
            Self::Validate => round_trip::<Vec<Problem>>(answer),
            Self::Decide => round_trip::<Verdict>(answer),
            Self::Tune => round_trip::<TransferOptions>(answer),
            Self::Choose => round_trip::<Vec<Keep>>(answer),
            Self::Quiesce => round_trip::<Frozen>(answer),
            Self::OnFailure => round_trip::<Reaction>(answer),
            Self::Release | Self::PreSync | Self::PostSync | Self::BeforePromotion | Self::AfterPromotion => {
                if answer == DONE {
                    Ok(DONE.into())
                } else {
                    Err(format!("{} answers nothing: write `{DONE}`", self.name()))
                }
            }
        }
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    let typed: T = typed(value.clone())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Reads a value, and says where in it something is wrong.
///
/// # Errors
///
/// The place, and what is wrong there.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
    })
}

/// A call of a function, with all that it is given but the context.
#[derive(Clone, Debug)]
pub enum Call {
    Validate,
    Decide,
    Tune { defaults: TransferOptions },
    Choose(Choice),
    Quiesce,
    Release { token: Option<String>, reason: ReleaseReason, try_number: u32 },
    PreSync,
    PostSync { stats: SyncStats },
    OnFailure { report: FailureReport },
    BeforePromotion { candidate: Candidate },
    AfterPromotion { candidate: Candidate },
}

/// What a retention hook is asked, and what follows from its answer.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The replicas.
    pub points: Vec<ReplicaPoint>,
    /// No more than so many are deleted in one run.
    pub max_delete_per_run: Option<usize>,
    /// Whether it is asked twice, and the answers compared.
    pub verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NoInput {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TuneInput {
    #[serde(default)]
    defaults: TransferOptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChooseInput {
    #[serde(default)]
    points: Vec<PointInput>,
    max_delete_per_run: Option<usize>,
    #[serde(default)]
    verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReleaseInput {
    token: Option<String>,
    reason: Option<ReleaseReason>,
    try_number: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostSyncInput {
    #[serde(default)]
    stats: StatsInput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FailureInput {
    #[serde(default)]
    report: ReportInput,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReportInput {
    phase: Option<Phase>,
    code: Option<String>,
    message: Option<String>,
    mover_exit: Option<i32>,
    retryable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PromotionInput {
    #[serde(default)]
    candidate: CandidateInput,
}

impl Call {
    /// Reads what a function is given. `now` is the time of the call, in milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    ///
    /// The field below `input`, and what is wrong with it.
    pub fn read(function: Function, input: Option<Value>, now: u64) -> Result<Self, String> {
        fn given<T: DeserializeOwned + Default>(input: Option<Value>) -> Result<T, String> {
            input.map_or_else(|| Ok(T::default()), typed)
        }
        let nothing = |input| {
            given::<NoInput>(input).map_err(|why| format!("{} is given nothing: {why}", function.name()))
        };
        Ok(match function {
            Function::Validate => nothing(input).map(|NoInput {}| Self::Validate)?,
            Function::Decide => nothing(input).map(|NoInput {}| Self::Decide)?,
            Function::Quiesce => nothing(input).map(|NoInput {}| Self::Quiesce)?,
            Function::PreSync => nothing(input).map(|NoInput {}| Self::PreSync)?,
            Function::Tune => Self::Tune { defaults: given::<TuneInput>(input)?.defaults },
            Function::Choose => {
                let ChooseInput { points, max_delete_per_run, verify } = given(input)?;
                let points: Vec<_> = points.into_iter().map(PointInput::complete).collect();
                let mut ids = BTreeSet::new();
                if let Some(at) = points.iter().position(|point| !ids.insert(&point.id)) {
                    return Err(format!(
                        "points[{at}].id: `{}` is there already: name each replica once",
                        points[at].id
                    ));
                }
                Self::Choose(Choice { points, max_delete_per_run, verify })
            }
            Function::Release => {
                let ReleaseInput { token, reason, try_number } = given(input)?;
                Self::Release {
                    token,
                    reason: reason.unwrap_or(ReleaseReason::CutTaken),
                    try_number: try_number.unwrap_or(1),
                }
            }
            Function::PostSync => {
                Self::PostSync { stats: given::<PostSyncInput>(input)?.stats.complete(now) }
            }
            Function::OnFailure => {
                Self::OnFailure { report: given::<FailureInput>(input)?.report.complete() }
            }
            Function::BeforePromotion => {
                Self::BeforePromotion { candidate: given::<PromotionInput>(input)?.candidate.complete(now) }
            }
            Function::AfterPromotion => {
                Self::AfterPromotion { candidate: given::<PromotionInput>(input)?.candidate.complete(now) }
            }
        })
    }

    /// Which function is called.
    pub fn function(&self) -> Function {
        match self {
            Self::Validate => Function::Validate,
            Self::Decide => Function::Decide,
            Self::Tune { .. } => Function::Tune,
            Self::Choose(_) => Function::Choose,
            Self::Quiesce => Function::Quiesce,
            Self::Release { .. } => Function::Release,
            Self::PreSync => Function::PreSync,
            Self::PostSync { .. } => Function::PostSync,
            Self::OnFailure { .. } => Function::OnFailure,
            Self::BeforePromotion { .. } => Function::BeforePromotion,
            Self::AfterPromotion { .. } => Function::AfterPromotion,
        }
    }
}

impl ReportInput {
    fn complete(self) -> FailureReport {
        FailureReport {
            phase: self.phase.unwrap_or(Phase::Transfer),
            code: self.code.unwrap_or_else(|| "TransferFailed".to_owned()),
            message: self.message.unwrap_or_else(|| "rsync ended with 12".to_owned()),
            mover_exit: self.mover_exit,
            retryable: self.retryable.unwrap_or(true),
        }
    }
}
