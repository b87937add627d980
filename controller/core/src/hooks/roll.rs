//! The hooks of one object: which of them can be asked, and what is wrong with the others.

use super::context::SETTINGS_MOST;
use super::settings_json;
use super::{
    ActsAs, CallSeen, HookAnswer, HookCall, HookFailure, HookRequest, HooksSeen, ModuleSeen, Trouble, id,
};
use crate::text::clean;
use scribe_crds::conditions::{Reason, Status};
use scribe_crds::v1alpha1::{DestinationHook, Failure, HookSettings, HookStatus, OnError, SourceHook};
use scribe_hooks_contract::points::{Point, Problem};

/// How many of the problems that a module has with its settings are told.
const PROBLEMS: usize = 5;
/// Bytes of what is told of missing rights.
const RIGHTS_MOST: usize = 4000;

/// A hook as it stands in a spec.
pub(crate) struct Named<'a> {
    module: &'a str,
    points: Vec<Point>,
    settings: Option<&'a HookSettings>,
    on_error: OnError,
    acts_as: ActsAs,
}

impl<'a> From<&'a SourceHook> for Named<'a> {
    fn from(hook: &'a SourceHook) -> Self {
        Self {
            module: &hook.module,
            points: hook.points.iter().copied().map(Point::from).collect(),
            settings: hook.settings.as_ref(),
            on_error: hook.on_error,
            acts_as: hook.service_account_name.clone(),
        }
    }
}

impl<'a> From<&'a DestinationHook> for Named<'a> {
    fn from(hook: &'a DestinationHook) -> Self {
        Self {
            module: &hook.module,
            points: hook.points.iter().copied().map(Point::from).collect(),
            settings: hook.settings.as_ref(),
            // All replicas stay, whatever breaks; and no sync is held up.
            on_error: OnError::Continue,
            acts_as: None,
        }
    }
}

/// Whether a hook can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// It can.
    Ready {
        /// The SHA-256 of the module.
        digest: String,
    },
    /// Soon, by itself.
    Waits(Trouble),
    /// Not before somebody does something.
    Broken(Trouble),
}

/// One hook, and what its status is to say.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub on_error: OnError,
    pub acts_as: ActsAs,
    pub settings_json: String,
    pub state: State,
    pub record: HookStatus,
    /// What went wrong in this pass, where that is not recorded.
    pub failed: Option<Trouble>,
    /// What is wrong although nothing went wrong yet.
    pub warning: Option<Trouble>,
}

impl Entry {
    /// The name of its HookModule.
    pub fn module(&self) -> &str {
        &self.record.module
    }

    /// Stands for the module and the settings that an answer is of.
    pub fn judged(&self) -> &str {
        self.record.judged.as_deref().unwrap_or_default()
    }

    /// What is wrong, or was when it was asked last.
    fn trouble(&self) -> Option<Trouble> {
        if let State::Broken(trouble) = &self.state {
            return Some(trouble.clone());
        }
        let decision = self.record.decision.as_ref().and_then(|record| record.failure.as_ref());
        let transfer = self.record.transfer.as_ref().and_then(|record| record.failure.as_ref());
        let reaction = self.record.reaction.as_ref().and_then(|record| record.failure.as_ref());
        let recorded = decision.or(transfer).or(reaction);
        let failed = self.failed.clone().or_else(|| recorded.map(Trouble::from));
        failed.or_else(|| self.warning.clone())
    }
}

/// The hooks of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roll {
    pub entries: Vec<Entry>,
    /// What is asked, in this pass.
    pub calls: Vec<HookCall>,
}

impl Roll {
    /// Looks at every hook of a spec. `before`: what the status said of them.
    pub fn look<'a>(hooks: impl Iterator<Item = Named<'a>>, before: &[HookStatus], seen: &HooksSeen) -> Self {
        let mut roll = Self::default();
        for (number, hook) in hooks.enumerate() {
            let known = |record: &&HookStatus| record.module == hook.module && record.points == hook.points;
            let fresh = || HookStatus {
                module: hook.module.to_owned(),
                points: hook.points.clone(),
                ..HookStatus::default()
            };
            let mut record = before.iter().find(known).cloned().unwrap_or_else(fresh);
            let settings_json = settings_json(hook.settings);
            let state = if settings_json.len() > SETTINGS_MOST {
                let message = format!(
                    "spec.hooks[{number}].settings has {} bytes as JSON, and {SETTINGS_MOST} are allowed",
                    settings_json.len()
                );
                State::Broken(Trouble::new(Reason::InvalidSpec, message))
            } else {
                roll.state(&hook, number, &settings_json, &mut record, seen)
            };
            let missing = seen.missing_rights.get(&(hook.module.to_owned(), hook.acts_as.clone()));
            let warning = missing
                .map(|words| Trouble::new(Reason::HookRightsMissing, clean(&words.join("; "), RIGHTS_MOST)));
            let (on_error, acts_as, failed) = (hook.on_error, hook.acts_as.clone(), None);
            roll.entries.push(Entry { on_error, acts_as, settings_json, state, record, failed, warning });
        }
        roll
    }

    fn state(
        &mut self,
        hook: &Named<'_>,
        number: usize,
        settings_json: &str,
        record: &mut HookStatus,
        seen: &HooksSeen,
    ) -> State {
        let module = hook.module;
        let broken = |reason, message: String| State::Broken(Trouble::new(reason, message));
        let (digest, exports) = match seen.modules.get(module) {
            None => {
                let message = format!("HookModule {module} of spec.hooks[{number}] does not exist");
                return broken(Reason::HookModuleMissing, message);
            }
            Some(ModuleSeen::Loading) => {
                let message = format!("HookModule {module} is being loaded");
                return State::Waits(Trouble::new(Reason::ModuleLoading, message));
            }
            Some(ModuleSeen::Broken(words)) => {
                let message = format!("HookModule {module} cannot be used: {words}");
                return broken(Reason::HookModuleNotReady, message);
            }
            Some(ModuleSeen::Ready { digest, exports }) => (digest, exports),
        };
        record.digest = Some(digest.clone());
        if let Some(point) = hook.points.iter().find(|point| !exports.contains(point)) {
            let there: Vec<String> = exports.iter().map(|point| format!("{point:?}")).collect();
            let there = if there.is_empty() { "nowhere".to_owned() } else { there.join(" and ") };
            let message = format!("HookModule {module} can be asked at {there}, and not at {point:?}");
            return broken(Reason::HookPointMissing, message);
        }
        self.judge(module, number, digest, settings_json, record, seen)
    }

    /// Lets the module judge the settings, once.
    fn judge(
        &mut self,
        module: &str,
        number: usize,
        digest: &str,
        settings_json: &str,
        record: &mut HookStatus,
        seen: &HooksSeen,
    ) -> State {
        let id = id(&("validate", digest, settings_json));
        if record.judged.as_ref() != Some(&id) {
            let call = HookCall {
                id: id.clone(),
                module: module.to_owned(),
                digest: digest.to_owned(),
                request: HookRequest::Validate(settings_json.to_owned()),
            };
            match self.ask(seen, &call) {
                None => {
                    let message = format!("HookModule {module} judges the settings of spec.hooks[{number}]");
                    return State::Waits(Trouble::new(Reason::HookRunning, message));
                }
                Some(Ok(HookAnswer::Settings(problems))) => {
                    record.judged = Some(id);
                    record.refusal = (!problems.is_empty()).then(|| words(&problems));
                }
                Some(Ok(_)) => return State::Broken(Trouble::misunderstood()),
                Some(Err(failure)) => {
                    // Remembered, and tried again.
                    self.calls.push(call);
                    let Trouble { reason, message } = Trouble::of(&failure);
                    let message = format!(
                        "HookModule {module} cannot judge the settings of spec.hooks[{number}]: {message}"
                    );
                    return State::Broken(Trouble::new(reason, message));
                }
            }
        }
        match &record.refusal {
            None => State::Ready { digest: digest.to_owned() },
            Some(words) => {
                let message =
                    format!("HookModule {module} refuses the settings of spec.hooks[{number}]: {words}");
                State::Broken(Trouble::new(Reason::HookSettingsInvalid, message))
            }
        }
    }

    /// The answer to a call, if it is there; else the call is asked for.
    pub fn ask(&mut self, seen: &HooksSeen, call: &HookCall) -> Option<Result<HookAnswer, HookFailure>> {
        match seen.calls.get(&call.id) {
            Some(CallSeen::Done(result)) => Some(result.clone()),
            Some(CallSeen::Running | CallSeen::Asks(_)) | None => {
                self.calls.push(call.clone());
                None
            }
        }
    }

    /// The hook of that point, if there is one.
    pub fn at(&self, point: Point) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.record.points.contains(&point))
    }

    /// The hook of that point, to be changed.
    pub fn at_mut(&mut self, point: Point) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.record.points.contains(&point))
    }

    /// What keeps a sync from being started: a hook that is broken, unless a sync is to go on without it, and one that is not known yet.
    pub fn holds_up(&self) -> Option<Trouble> {
        let broken = self.entries.iter().find_map(|entry| match &entry.state {
            State::Broken(trouble) if entry.on_error == OnError::Fail => Some(trouble.clone()),
            State::Broken(_) | State::Ready { .. } | State::Waits(_) => None,
        });
        broken.or_else(|| self.waits().cloned())
    }

    fn waits(&self) -> Option<&Trouble> {
        self.entries.iter().find_map(|entry| match &entry.state {
            State::Waits(trouble) => Some(trouble),
            State::Broken(_) | State::Ready { .. } => None,
        })
    }

    /// What the condition about hooks is to say; `None`: there are no hooks.
    pub fn verdict(&self) -> Option<(Status, Reason, String)> {
        if self.entries.is_empty() {
            return None;
        }
        let told = |status, trouble: &Trouble| (status, trouble.reason, trouble.told());
        if let Some(trouble) = self.entries.iter().find_map(Entry::trouble) {
            return Some(told(Status::False, &trouble));
        }
        if let Some(trouble) = self.waits() {
            return Some(told(Status::Unknown, trouble));
        }
        Some((Status::True, Reason::HooksCanRun, Reason::HooksCanRun.meaning().to_owned()))
    }

    /// What the status is to say.
    pub fn into_records(self) -> Vec<HookStatus> {
        let record = |entry: Entry| {
            let problem = entry.trouble().map(|trouble| Failure {
                reason: trouble.reason.as_str().to_owned(),
                message: trouble.told(),
            });
            HookStatus { problem, ..entry.record }
        };
        self.entries.into_iter().map(record).collect()
    }
}

/// What a module has against its settings, as one line.
fn words(problems: &[Problem]) -> String {
    let one = |problem: &Problem| {
        let path = clean(problem.path.as_deref().unwrap_or_default(), 128);
        let separator = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        format!("settings{separator}{path}: {}", clean(&problem.message, 200))
    };
    let mut lines: Vec<String> = problems.iter().take(PROBLEMS).map(one).collect();
    if problems.len() > PROBLEMS {
        lines.push(format!("and {} more", problems.len() - PROBLEMS));
    }
    lines.join("; ")
}
