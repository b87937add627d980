//! A controller, stopped after every read and every write: it can be late, die, or be one of two.

use super::api::{Kind, WriteError, at, name, uid};
use super::apply::{Writer, act};
use super::hooks::{self, Calls};
use super::lies::Lie;
use super::refusals::Refusals;
use super::rest;
use super::world::{NAME, World};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;
use scribe_core::decision::{Action, ChildKind, ChildRef, Decision};
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{DestinationObserved, Refusal, SourceObserved};
use scribe_crds::v1alpha1::{DestinationStatus, ReplicationDestination, ReplicationSource, SourceStatus};
use scribe_mover_contract::control::MoverState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;

/// One side of a replication.
pub trait Side: Sized {
    type Object: Kind;
    type Status: Clone + PartialEq + Serialize + DeserializeOwned;
    /// What was read of a pass that is not complete.
    type Glance;
    type Seen;
    const IN_WEST: bool;
    fn begin(world: &mut World, object: Self::Object) -> Self::Glance;
    /// `None`: the object has changed meanwhile, and what was seen of it does not fit together.
    fn finish(
        world: &mut World,
        glance: Self::Glance,
        known: &mut Known,
        told: (Vec<Refusal>, HooksSeen),
    ) -> Option<Self::Seen>;
    fn decide(world: &mut World, seen: &Self::Seen, now: i64) -> Decision<Self::Status>;
    fn object(seen: &Self::Seen) -> &Self::Object;
    fn status(object: &Self::Object) -> Option<&Self::Status>;
    fn set_status(object: &mut Self::Object, status: Self::Status);
}

pub struct SourceSide;
pub struct DestinationSide;

/// The mover that a controller follows, as it last heard of it: the pod's uid and name, and its state.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub pod: Option<(String, String)>,
    pub state: Option<MoverState>,
}

/// The calls of modules that a controller remembers, and those that its last decision asks for.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    pub calls: Calls,
    pub asked: Vec<Action>,
}

/// One controller of one side.
pub struct Controller<S: Side> {
    pass: Pass<S>,
    known: Known,
    asking: Asking,
    refusals: Refusals,
    /// When it wants to look again, in seconds.
    pub wake: Option<i64>,
    /// What it has looked at last: the API server's version and the mover's revision.
    pub looked_at: Option<(u64, u64)>,
    /// Whether its last whole pass had anything to write, or a call has come to something.
    pub has_written: bool,
    /// It does nothing before this step.
    pub stopped_until: u64,
}

impl<S: Side> Default for Controller<S> {
    fn default() -> Self {
        Self {
            pass: Pass::Idle,
            known: Known::default(),
            asking: Asking::default(),
            refusals: Refusals::default(),
            wake: None,
            looked_at: None,
            has_written: true,
            stopped_until: 0,
        }
    }
}

enum Pass<S: Side> {
    Idle,
    Looking(Box<S::Glance>),
    Writing(Box<Writing<S>>),
}

struct Writing<S: Side> {
    seen: S::Object,
    writer: Writer,
    steps: VecDeque<Step<S::Status>>,
    /// How many of the steps come before the status.
    before: usize,
    passed_over: Option<WriteError>,
}

enum Step<T> {
    Act(Action),
    Status(Box<T>),
}

impl<S: Side> Controller<S> {
    pub fn is_idle(&self) -> bool {
        matches!(self.pass, Pass::Idle)
    }

    /// One read or write. What it was; nothing if there is no object to look at.
    pub fn step(&mut self, world: &mut World) -> Option<String> {
        match std::mem::replace(&mut self.pass, Pass::Idle) {
            Pass::Idle => {
                let cluster = if S::IN_WEST { &mut world.west } else { &mut world.east };
                self.looked_at = Some((cluster.api.version, 0));
                let object = S::Object::store(&mut cluster.api).get(NAME).cloned()?;
                self.looked_at = Some(world.version_of(S::IN_WEST));
                self.pass = Pass::Looking(Box::new(S::begin(world, object)));
                Some("looks".to_owned())
            }
            Pass::Looking(glance) => Some(self.decide(world, *glance)),
            Pass::Writing(writing) => Some(self.write(world, *writing)),
        }
    }

    /// All that it knows is lost, and so is what was held by its process.
    pub fn die(&mut self, world: &mut World) {
        let calls = std::mem::take(&mut self.asking.calls);
        *self = Self::default();
        if world.lie == Some(Lie::RememberedRest) {
            self.asking.calls = calls;
        }
        world.controller_dies();
    }

    fn decide(&mut self, world: &mut World, glance: S::Glance) -> String {
        world.passes += 1;
        let clock = if S::IN_WEST { world.west.api.clock } else { world.east.api.clock };
        // It is told of refusals of this very object only; of another by its name nothing is known.
        let refusals = self.refusals.show(clock);
        let hooks = hooks::seen(world, &self.asking.calls);
        let may_change = hooks::may_change(&hooks);
        let Some(seen) = S::finish(world, glance, &mut self.known, (refusals, hooks)) else {
            self.wake = Some(clock);
            return "saw two times at once".to_owned();
        };
        let decision = S::decide(world, &seen, clock);
        self.wake = decision.wake.map(|wake| wake.as_second());
        if may_change {
            self.wake = Some(self.wake.map_or(clock + 1, |wake| wake.min(clock + 1)));
        }
        self.asking.asked = hooks::asked(decision.first.iter().chain(&decision.then).cloned());
        let object = S::object(&seen).clone();
        let status = decision.status.filter(|status| S::status(&object) != Some(status));
        let before = decision.first.len() + usize::from(status.is_some());
        let mut steps: VecDeque<Step<S::Status>> = decision.first.into_iter().map(Step::Act).collect();
        steps.extend(status.map(|status| Step::Status(Box::new(status))));
        // Calls are begun when the rest is done; but those that come first do not wait for it.
        let is_write = |action: &Action| !matches!(action, Action::CallHook(_) | Action::RememberHook { .. });
        steps.extend(decision.then.into_iter().filter(is_write).map(Step::Act));
        self.has_written = !steps.is_empty();
        let meta: &ObjectMeta = object.meta();
        let writer = Writer {
            in_west: S::IN_WEST,
            owner: uid(&object),
            version: meta.resource_version.clone(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            speaks_to: self.known.pod.as_ref().map(|(uid, _)| uid.clone()),
        };
        let what = format!("decides, {} to write", steps.len());
        let writing = Writing { seen: object, writer, steps, before, passed_over: None };
        self.go_on(world, writing);
        what
    }

    fn go_on(&mut self, world: &mut World, writing: Writing<S>) {
        if writing.steps.is_empty() {
            self.end(world, writing.passed_over.map_or(Ok(()), Err), true);
        } else {
            self.pass = Pass::Writing(Box::new(writing));
        }
    }

    fn write(&mut self, world: &mut World, mut writing: Writing<S>) -> String {
        let Some(step) = writing.steps.pop_front() else { return String::new() };
        let mut what = match &step {
            Step::Act(action) => describe(action),
            Step::Status(_) => "status".to_owned(),
        };
        if world.faults && world.dice.one_in(40) {
            self.die(world);
            return format!("dies before: {what}");
        }
        let fault = if world.faults { world.dice.roll(40) } else { 40 };
        let result = match (fault, &step) {
            (_, Step::Act(Action::CallHook(call))) => {
                hooks::ask(world, &mut self.asking.calls, call);
                Ok(())
            }
            (_, Step::Act(Action::AnswerHook { call, entry, answer })) => {
                rest::answered(world, &mut self.asking.calls, call, entry, answer.is_ok());
                Ok(())
            }
            (0, _) => Err(WriteError::Failed),
            (_, Step::Act(action)) => act::<S>(world, &mut writing.writer, action),
            (_, Step::Status(status)) => write_status::<S>(world, &mut writing, status),
        };
        world.writes += 1;
        let result = if fault == 1 { result.and(Err(WriteError::Failed)) } else { result };
        if let Err(error) = &result {
            what = format!("{what}: {error:?} (fault {fault})");
        }
        let is_recorded = writing.before == 0;
        writing.before = writing.before.saturating_sub(1);
        match (result, &step) {
            (Ok(()), _) => self.go_on(world, writing),
            (Err(error), Step::Act(action)) if holds_up_nothing(action, &error) => {
                writing.passed_over.get_or_insert(error);
                self.go_on(world, writing);
            }
            (Err(error), _) => self.end(world, Err(error), is_recorded),
        }
        what
    }

    fn end(&mut self, world: &mut World, result: Result<(), WriteError>, is_recorded: bool) {
        let clock = if S::IN_WEST { world.west.api.clock } else { world.east.api.clock };
        match result {
            Ok(()) => {
                self.refusals.done();
                let asked = std::mem::take(&mut self.asking.asked);
                if hooks::run(world, &mut self.asking.calls, &asked) {
                    self.wake = Some(clock);
                    self.has_written = true;
                }
            }
            Err(WriteError::Refused(refusal)) => {
                self.refusals.add(refusal, is_recorded, clock);
                let retry = clock + super::refusals::PAUSE;
                self.wake = Some(self.wake.map_or(retry, |wake| wake.min(retry)));
            }
            Err(WriteError::Conflict | WriteError::Failed) => self.wake = Some(clock),
        }
        if let Some(retry) = self.refusals.retry_at() {
            self.wake = Some(self.wake.map_or(retry, |wake| wake.min(retry)));
        }
    }

    /// Whether anything has changed since it last looked, or its time has come.
    pub fn is_due(&self, world: &World) -> bool {
        let clock = if S::IN_WEST { world.west.api.clock } else { world.east.api.clock };
        !self.is_idle()
            || self.looked_at != Some(world.version_of(S::IN_WEST))
            || self.wake.is_some_and(|wake| wake <= clock)
    }

    /// When it wants to look again, by the true clock.
    pub fn wakes(&self, world: &World) -> Option<i64> {
        let skew = if S::IN_WEST { world.west.skew } else { world.east.skew };
        self.wake.map(|wake| wake - skew)
    }
}

fn write_status<S: Side>(
    world: &mut World,
    writing: &mut Writing<S>,
    status: &S::Status,
) -> Result<(), WriteError> {
    // As the API server would give it back.
    let text = serde_json::to_string(status).unwrap_or_default();
    let stored: S::Status = serde_json::from_str(&text).map_err(|_| WriteError::Failed)?;
    if stored != *status {
        world.truth.object(format!("the status does not survive being stored: {text}"));
    }
    let api = if S::IN_WEST { &mut world.west.api } else { &mut world.east.api };
    let writer = &mut writing.writer;
    let object_name = name(&writing.seen);
    let (owner, version) = (writer.owner.clone(), writer.version.clone());
    api.patch(&object_name, Some(&owner), version.as_deref(), |object| S::set_status(object, stored))?;
    writer.version =
        S::Object::store(api).get(&object_name).and_then(|object| object.meta().resource_version.clone());
    Ok(())
}

/// What a failed write does not hold up: an answer that is not heard, and the deletion of a snapshot that is refused.
fn holds_up_nothing(action: &Action, error: &WriteError) -> bool {
    match action {
        Action::Answer { .. } => true,
        Action::Delete(ChildRef { kind: ChildKind::Snapshot, .. }) => matches!(error, WriteError::Refused(_)),
        _ => false,
    }
}

fn describe(action: &Action) -> String {
    crate::render::action(action)
}

impl Side for SourceSide {
    type Object = ReplicationSource;
    type Status = SourceStatus;
    type Glance = super::observe::SourceGlance;
    type Seen = SourceObserved;
    const IN_WEST: bool = true;

    fn begin(world: &mut World, object: ReplicationSource) -> Self::Glance {
        Self::Glance::new(world, object)
    }

    fn finish(
        world: &mut World,
        glance: Self::Glance,
        known: &mut Known,
        told: (Vec<Refusal>, HooksSeen),
    ) -> Option<Self::Seen> {
        Some(glance.finish(world, known, told))
    }

    fn decide(world: &mut World, seen: &Self::Seen, now: i64) -> Decision<SourceStatus> {
        scribe_core::source::decide(seen, &world.settings, at(now), &mut world.chance)
    }

    fn object(seen: &Self::Seen) -> &ReplicationSource {
        &seen.source
    }

    fn status(object: &ReplicationSource) -> Option<&SourceStatus> {
        object.status.as_ref()
    }

    fn set_status(object: &mut ReplicationSource, status: SourceStatus) {
        object.status = Some(status);
    }
}

impl Side for DestinationSide {
    type Object = ReplicationDestination;
    type Status = DestinationStatus;
    type Glance = super::observe::DestinationGlance;
    type Seen = DestinationObserved;
    const IN_WEST: bool = false;

    fn begin(world: &mut World, object: ReplicationDestination) -> Self::Glance {
        Self::Glance::new(world, object)
    }

    fn finish(
        world: &mut World,
        glance: Self::Glance,
        known: &mut Known,
        told: (Vec<Refusal>, HooksSeen),
    ) -> Option<Self::Seen> {
        glance.finish(world, known, told)
    }

    fn decide(world: &mut World, seen: &Self::Seen, now: i64) -> Decision<DestinationStatus> {
        scribe_core::destination::decide(seen, &world.settings, at(now), &mut world.chance)
    }

    fn object(seen: &Self::Seen) -> &ReplicationDestination {
        &seen.destination
    }

    fn status(object: &ReplicationDestination) -> Option<&DestinationStatus> {
        object.status.as_ref()
    }

    fn set_status(object: &mut ReplicationDestination, status: DestinationStatus) {
        object.status = Some(status);
    }
}
