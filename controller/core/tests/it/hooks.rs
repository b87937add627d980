//! Modules that say what a test wants them to say.

use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookAnswer, HookFailure, HookRequest, HooksSeen, ModuleSeen};
use scribe_hooks_contract::points::{Frozen, Point, Problem, Reaction, TransferOptions, Verdict};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::retention::Keep;
use scribe_hooks_contract::undo::Undo;
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
    #[serde(default)]
    pub quiesce: Option<Said<Frozen>>,
    /// What it freezes before it says that.
    #[serde(default)]
    pub freezes: Vec<Undo>,
    #[serde(default)]
    pub release: Option<Said<()>>,
    #[serde(default)]
    pub pre_sync: Option<Said<()>>,
    #[serde(default)]
    pub post_sync: Option<Said<()>>,
    #[serde(default)]
    pub on_failure: Option<Said<Reaction>>,
    /// The entries that the host cannot undo.
    #[serde(default)]
    pub stuck: Vec<String>,
    /// What is not as it was set any more, in words.
    #[serde(default)]
    pub lost: Vec<String>,
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
                let retry_after = (*reason == Reason::HookRetryAfter).then_some(30);
                CallSeen::Done(Err(HookFailure { reason: *reason, message: message.clone(), retry_after }))
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
            HookRequest::Quiesce(..) => {
                self.quiesce.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Frozen)
            }
            HookRequest::Release(..) => {
                self.release.as_ref().unwrap_or(&Said::Nothing).call(|()| HookAnswer::Released)
            }
            HookRequest::PreSync(..) => {
                self.pre_sync.as_ref().unwrap_or(&Said::Nothing).call(|()| HookAnswer::Done)
            }
            HookRequest::PostSync(..) => {
                self.post_sync.as_ref().unwrap_or(&Said::Nothing).call(|()| HookAnswer::Done)
            }
            HookRequest::OnFailure(..) => {
                self.on_failure.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Reaction)
            }
            HookRequest::Undo(log, _) => {
                let left: Vec<Undo> =
                    log.iter().filter(|undo| self.stuck.contains(&undo.id)).cloned().collect();
                let words =
                    if left.is_empty() { String::new() } else { "the pod does not answer".to_owned() };
                CallSeen::Done(Ok(HookAnswer::Undone { left, words }))
            }
            HookRequest::Holds(..) => CallSeen::Done(Ok(HookAnswer::Lost(self.lost.clone()))),
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
    pub fn run<'a>(&self, seen: &mut HooksSeen, asked: impl Iterator<Item = &'a Action>) -> usize {
        let before = std::mem::take(&mut seen.calls);
        let mut new = 0;
        for action in asked {
            match action {
                Action::CallHook(call) => {
                    let known = before.get(&call.id).filter(|known| **known != CallSeen::Running);
                    new += usize::from(!before.contains_key(&call.id));
                    let result = known.cloned().unwrap_or_else(|| self.begin(&call.request));
                    seen.calls.insert(call.id.clone(), result);
                }
                Action::RememberHook { call } => {
                    if let Some(known) = before.get(call) {
                        seen.calls.entry(call.clone()).or_insert_with(|| self.go_on(known));
                    }
                }
                Action::AnswerHook { call, entry, answer } => {
                    assert_eq!(before.get(call).and_then(asks), Some(entry.as_str()));
                    seen.calls.insert(call.clone(), self.answered(entry, answer));
                }
                _ => {}
            }
        }
        new
    }

    /// Runs these calls, and forgets none: the pass was not carried out.
    pub fn begin_all(&self, seen: &mut HooksSeen, asked: &[Action]) {
        for action in asked {
            if let Action::CallHook(call) = action {
                seen.calls.insert(call.id.clone(), self.begin(&call.request));
            }
        }
    }

    fn begin(&self, request: &HookRequest) -> CallSeen {
        match (request, self.says.freezes.first()) {
            (HookRequest::Quiesce(..), Some(undo)) => CallSeen::Asks(undo.clone()),
            _ => self.says.answer(request),
        }
    }

    /// A call that runs may have come to its end.
    fn go_on(&self, known: &CallSeen) -> CallSeen {
        match (known, &self.says.quiesce) {
            (CallSeen::Running, Some(said)) => said.call(HookAnswer::Frozen),
            _ => known.clone(),
        }
    }

    fn answered(&self, entry: &str, answer: &Result<(), String>) -> CallSeen {
        let mut freezes = self.says.freezes.iter().skip_while(|undo| undo.id != entry).skip(1);
        match (answer, freezes.next()) {
            (Err(words), _) => {
                Said::Fails { reason: Reason::HookFailed, message: words.clone() }.call(HookAnswer::Frozen)
            }
            (Ok(()), Some(next)) => CallSeen::Asks(next.clone()),
            (Ok(()), None) => self.says.quiesce.as_ref().unwrap_or(&Said::Nothing).call(HookAnswer::Frozen),
        }
    }
}

fn asks(call: &CallSeen) -> Option<&str> {
    match call {
        CallSeen::Asks(undo) => Some(&undo.id),
        CallSeen::Running | CallSeen::Done(_) => None,
    }
}
