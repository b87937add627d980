//! What to do with a ReplicationSource.
//!
//! A sync is the record `status.currentSync` and two objects, the cut (see [`cut`] for what it is with which copy method) and the mover pod
//! of the current attempt. What to do next follows from which of the three are there:
//!
//! | Record | Cut | Pod | Next |
//! |---|---|---|---|
//! | none | | | [`rest`]: wait for a trigger, then write the record and make the cut |
//! | there | none, and none recorded | | make the cut |
//! | there | there | none | record the cut's uid, make the pod of this attempt |
//! | there | there | runs | wait; a cut or a pod that takes too long is a failed attempt |
//! | there | | ended | [`sync`]: success, another attempt after `retryAt`, or the end |
//!
//! While `retryAt` is set, what the current attempt's pod had to say has been recorded, and the pod is a leftover. Whatever bears our
//! label and is none of the three is deleted.

mod attempt;
mod cut;
mod decision_hook;
mod deletion;
mod ending;
mod failure_hook;
mod guards;
mod hooks;
mod lifecycle;
mod objective;
mod outcome;
mod quiesce;
mod report;
mod rest;
mod retry;
mod slot;
mod snapshots;
mod sync;
mod transfer_hook;
mod trigger;
mod validate;

pub use cut::uses_claim;

use crate::build::meta::Owner;
use crate::chance::Chance;
use crate::decision::{Action, ChildKind, ChildRef, Decision, Note};
use crate::hooks::Roll;
use crate::observed::SourceObserved;
use crate::settings::Settings;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{CurrentSync, SourceStatus};
use validate::Plan;

/// A clock that is this far ahead of a time that was recorded before is only a little off; beyond it, one of the two was wrong, and the
/// record no longer holds anything up. In seconds.
const CLOCK_TOLERANCE: i64 = 300;
/// The longest that a hook can put anything off, in seconds.
const LONGEST_WAIT: i64 = 24 * 3600;

/// Decides what to do next with a ReplicationSource.
///
/// *Guarantees*: the same observation with the status that was decided gives the same status and no action that was not due already.
/// Nothing is made before the record of it stands in the status. An external source is left alone.
pub fn decide(
    seen: &SourceObserved,
    settings: &Settings,
    now: Timestamp,
    chance: &mut dyn Chance,
) -> Decision<SourceStatus> {
    let Some(rsync) = &seen.source.spec.rsync else {
        return Decision::default();
    };
    let mut pass = Pass::new(seen, settings, now, chance);
    if seen.source.metadata.deletion_timestamp.is_some() {
        return deletion::decide(pass);
    }
    let mut plan = Plan::of(seen, rsync, settings);
    hooks::look(&mut pass, &mut plan);
    failure_hook::advance(&mut pass);
    failure_hook::hold(&mut pass, &mut plan);
    pass.longest_gap = objective::longest_gap(&pass, plan.valid.as_ref());
    pass.rpo = objective::of(&pass, plan.valid.as_ref());
    if let Some(valid) = &plan.valid {
        pass.status.effective = Some(report::effective(valid, pass.rpo, seen.claim.as_ref()));
    }
    if pass.status.current_sync.is_some() {
        sync::go_on(&mut pass, &plan);
    }
    if pass.status.current_sync.is_none() {
        rest::decide(&mut pass, &plan);
    }
    pass.finish(&plan)
}

/// One decision in the making.
struct Pass<'a> {
    seen: &'a SourceObserved,
    settings: &'a Settings,
    /// In whole seconds: Kubernetes keeps no more, and what is stored has to equal what is read.
    now: Timestamp,
    chance: &'a mut dyn Chance,
    owner: Owner,
    /// The longest time between the next ticks of the schedule, in seconds.
    longest_gap: Option<i64>,
    /// The recovery point objective, in seconds.
    rpo: Option<i64>,
    /// What is known of the hooks.
    roll: Roll,
    status: SourceStatus,
    out: Decision<SourceStatus>,
}

impl<'a> Pass<'a> {
    fn new(
        seen: &'a SourceObserved,
        settings: &'a Settings,
        now: Timestamp,
        chance: &'a mut dyn Chance,
    ) -> Self {
        Self {
            seen,
            settings,
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
            chance,
            owner: Owner::source(&seen.source),
            longest_gap: None,
            rpo: None,
            roll: Roll::default(),
            status: seen.source.status.clone().unwrap_or_default(),
            out: Decision::default(),
        }
    }

    fn then(&mut self, action: Action) {
        self.out.then.push(action);
    }

    fn note(&mut self, reason: Reason, message: impl Into<String>) {
        self.out.events.push(Note { reason, message: message.into() });
    }

    /// Looks again at this time, or earlier.
    fn wake_at(&mut self, at: Timestamp) {
        if at > self.now {
            self.out.wake = Some(self.out.wake.map_or(at, |before| before.min(at)));
        }
    }

    fn cut_name(&self, sync: &CurrentSync) -> String {
        names::source_cut(&self.owner.name, &sync.id)
    }

    fn pod_name(&self, sync: &CurrentSync) -> String {
        names::source_pod(&self.owner.name, &sync.id, sync.attempt)
    }

    /// The pods that are ours.
    fn pods(&self) -> impl Iterator<Item = &'a Pod> + use<'a, '_> {
        self.seen.pods.iter().filter(|pod| self.owner.owns(&pod.metadata))
    }

    /// The cuts that are ours.
    fn cuts(&self) -> impl Iterator<Item = &'a PersistentVolumeClaim> + use<'a, '_> {
        self.seen.cuts.iter().filter(|cut| self.owner.owns(&cut.metadata))
    }

    /// The snapshots that are ours.
    fn snapshots(&self) -> impl Iterator<Item = &'a VolumeSnapshot> + use<'a, '_> {
        self.seen.snapshots.iter().filter(|snapshot| self.owner.owns(&snapshot.metadata))
    }

    fn find_snapshot(&self, name: &str) -> Option<&'a VolumeSnapshot> {
        self.snapshots().find(|snapshot| snapshot.metadata.name.as_deref() == Some(name))
    }

    fn find_pod(&self, name: &str) -> Option<&'a Pod> {
        self.pods().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    fn find_cut(&self, name: &str) -> Option<&'a PersistentVolumeClaim> {
        self.cuts().find(|cut| cut.metadata.name.as_deref() == Some(name))
    }

    /// The pod that works on the current attempt.
    fn live_pod(&self, sync: &CurrentSync) -> Option<&'a Pod> {
        if sync.retry_at.is_some() { None } else { self.find_pod(&self.pod_name(sync)) }
    }

    /// Pods and cuts of ours that belong to nothing that still runs. A cut that was given up is one of them, and so is the pod on it.
    fn leftovers(&self) -> Vec<(ChildKind, &'a ObjectMeta)> {
        let sync = self.status.current_sync.as_ref().filter(|sync| !cut::is_given_up(sync));
        let pod = sync.filter(|sync| sync.retry_at.is_none()).map(|sync| self.pod_name(sync));
        let cut = sync.map(|sync| self.cut_name(sync));
        let pods = self.pods().map(|pod| &pod.metadata).filter(|meta| meta.name != pod);
        let claims = self.cuts().map(|claim| &claim.metadata).filter(|meta| meta.name != cut);
        let snapshots = self.snapshots().map(|snapshot| &snapshot.metadata).filter(|meta| meta.name != cut);
        let kinds = [(ChildKind::Pod, pods.collect()), (ChildKind::Claim, claims.collect())];
        let kinds = kinds.into_iter().chain([(ChildKind::Snapshot, snapshots.collect::<Vec<_>>())]);
        kinds.flat_map(|(kind, metas)| metas.into_iter().map(move |meta| (kind, meta))).collect()
    }

    /// Whether something is left of a cut that was given up, or still stands for it in the storage system.
    fn discards(&self, sync: &CurrentSync) -> bool {
        let name = self.cut_name(sync);
        self.find_cut(&name).is_some()
            || self.find_snapshot(&name).is_some()
            || snapshots::still_there(self).next().is_some()
    }

    /// Completes the decision.
    fn finish(mut self, plan: &Plan) -> Decision<SourceStatus> {
        // Deletions come first: a creation that is refused ends the pass, and may well need the room.
        let leftovers = self.leftovers();
        let mut deletions = snapshots::release(&mut self, &leftovers);
        deletions.extend(leftovers.into_iter().filter_map(|(kind, meta)| delete(kind, meta)));
        self.out.then.splice(0..0, deletions);
        if self.status.current_sync.is_some() {
            let valid = plan.valid.as_ref().filter(|_| plan.hold.is_none());
            let next = valid.and_then(|valid| valid.trigger.next_after(self.now));
            self.status.next_sync_time = next.map(Time);
            if !has_finalizer(&self.seen.source.metadata) {
                self.out.first.push(Action::AddFinalizer);
            }
        } else {
            self.status.progress = None;
        }
        quiesce::advance(&mut self);
        lifecycle::advance(&mut self);
        failure_hook::tell(&mut self);
        hooks::report(&mut self);
        objective::report(&mut self, plan.valid.as_ref());
        hooks::finish(&mut self);
        slot::keep(&mut self);
        // What is called cannot fail; a write can, and ends the pass. No application stands still because a pod cannot be made.
        self.out
            .then
            .sort_by_key(|action| !matches!(action, Action::CallHook(_) | Action::AnswerHook { .. }));
        self.status.observed_generation = self.seen.source.metadata.generation;
        self.out.status = Some(self.status);
        self.out
    }
}

fn has_finalizer(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER)
}

/// Deletes an object, unless that is under way already.
fn delete(kind: ChildKind, meta: &ObjectMeta) -> Option<Action> {
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    let name = meta.name.clone().unwrap_or_default();
    Some(Action::Delete(ChildRef { kind, name, uid: meta.uid.clone(), resource_version: None }))
}

/// A moment some seconds after another, as far as there is one.
fn after(moment: Timestamp, seconds: i64) -> Timestamp {
    moment.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
