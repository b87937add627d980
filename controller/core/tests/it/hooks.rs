//! Modules that say what a test wants them to say.

use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookAnswer, HookFailure, HookRequest, HooksSeen, ModuleSeen};
use scribe_hooks_contract::points::{Point, Problem, TransferOptions, Verdict};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::retention::Keep;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is known of modules, and what they say when they are asked. What is left out is never answered, but for settings, which are fine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Modules {
    /// By name.
    #[serde(default)]
    pub modules: BTreeMap<String, Known>,
    #[serde(default)]
    pub says: Says,
}

/// What is known of a module.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Known {
    Loading,
    Broken(String),
    /// Its exports; its digest is its name.
    Ready(Vec<Point>),
}

/// Answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Says {
    #[serde(default)]
    pub settings: Option<Said<Vec<Problem>>>,
    #[serde(default)]
    pub decide: Option<Said<Verdict>>,
    #[serde(default)]
    pub tune: Option<Said<TransferOptions>>,
    #[serde(default)]
    pub choose: Option<Said<Vec<Keep>>>,
}

/// An answer, or none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said<T> {
    /// It is still running.
    Nothing,
    Answers(T),
    Fails {
        reason: Reason,
        message: String,
    },
}

impl<T> Said<T> {
    fn call(&self, answer: impl FnOnce(T) -> HookAnswer) -> CallSeen
    where
        T: Clone,
    {
        match self {
            Self::Nothing => CallSeen::Running,
            Self::Answers(said) => CallSeen::Done(Ok(answer(said.clone()))),
            Self::Fails { reason, message } => {
                CallSeen::Done(Err(HookFailure { reason: *reason, message: message.clone() }))
            }
        }
    }
}

impl Says {
    fn answer(&self, request: &HookRequest) -> CallSeen {
        let fine = Said::Answers(Vec::new());
        match request {
            HookRequest::Validate(_) => self.settings.as_ref().unwrap_or(&fine).call(HookAnswer::Settings),
            HookRequest::Decide(_) => {
                self.decide.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Verdict)
            }
            HookRequest::Tune(..) => self.tune.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Options),
            HookRequest::Choose(..) => self.choose.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Keeps),
        }
    }
}

impl Modules {
    /// One module of that name, with these exports.
    pub fn one(name: &str, exports: &[Point]) -> Self {
        let modules = [(name.to_owned(), Known::Ready(exports.to_vec()))].into();
        Self { modules, says: Says::default() }
    }

    /// Shows the modules.
    pub fn show(&self, seen: &mut HooksSeen) {
        let known = |known: &Known| match known {
            Known::Loading => ModuleSeen::Loading,
            Known::Broken(words) => ModuleSeen::Broken(words.clone()),
            Known::Ready(exports) => {
                ModuleSeen::Ready { digest: "0123abcd".repeat(8), exports: exports.clone() }
            }
        };
        seen.modules = self.modules.iter().map(|(name, module)| (name.clone(), known(module))).collect();
    }

    /// Runs the calls that a pass asks for, and forgets all others. The number of those that were asked for the first time.
    pub fn run(&self, seen: &mut HooksSeen, then: &[Action]) -> usize {
        let before = std::mem::take(&mut seen.calls);
        let mut new = 0;
        for action in then {
            let Action::CallHook(call) = action else { continue };
            let known = before.get(&call.id).filter(|known| **known != CallSeen::Running);
            new += usize::from(!before.contains_key(&call.id));
            let result = known.cloned().unwrap_or_else(|| self.says.answer(&call.request));
            seen.calls.insert(call.id.clone(), result);
        }
        new
    }
}
