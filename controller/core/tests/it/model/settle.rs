//! The faults are over: everything comes to the end that it would have come to without them, soon, and then rests.

use super::api::{Kind, is_leaving, name, uid};
use super::controller::{Controller, Side};
use super::events::with;
use super::truth::check;
use super::world::{CLAIM, NAME, World};
use kube_core::Resource;
use scribe_crds::conditions;
use scribe_crds::v1alpha1::{DeletionPolicy, Phase, ReplicationDestination, ReplicationSource};

/// How many rounds of everything there may be until all is well: a round without anything to do is followed by the next time that
/// something waits for.
const ROUNDS: u32 = 1500;
/// Steps of one kind within a round.
const STEPS: u32 = 400;

impl World {
    /// Everything goes on, without faults, until the source's next sync is published and nothing is left to do.
    pub fn settle(&mut self) -> Result<(), String> {
        self.heal();
        let began = (self.now, self.passes, self.writes);
        let mut asked = false;
        for _ in 0..ROUNDS {
            let moved = self.round()?;
            if self.truth.objection.is_some() {
                return Ok(());
            }
            if moved {
                continue;
            }
            if self.mend() {
                asked = false;
                continue;
            }
            if !asked {
                self.write_source();
                self.tag();
                asked = true;
                continue;
            }
            if self.is_well(began.0) {
                return self.rests();
            }
            self.wait();
        }
        Err(format!(
            "it does not settle: {} passes, {} writes; source {:#?} destination {:#?}",
            self.passes - began.1,
            self.writes - began.2,
            self.west.api.sources.get(NAME).and_then(|it| it.status.as_ref()),
            self.east.api.destinations.get(NAME).and_then(|it| it.status.as_ref()),
        ))
    }

    fn heal(&mut self) {
        self.faults = false;
        self.link = true;
        for cluster in [&mut self.west, &mut self.east] {
            cluster.skew = 0;
            cluster.api.exhausted = None;
            cluster.storage.fails = false;
        }
        // What was written down by a clock that was ahead lies in the past again.
        self.pass_time(3600);
        self.log("the faults are over");
    }

    /// What users do in the end, as the messages tell them to. Whether there was anything.
    fn mend(&mut self) -> bool {
        if self.make_objects() || self.carry_keys() {
            return true;
        }
        if self.unpause() {
            return true;
        }
        // Another claim than the one that the destination belongs to: that takes a new destination.
        let pinned = self.east.api.destinations.get(NAME).and_then(|it| it.status.as_ref()?.source.clone());
        let claim = self.west.api.claims.get(CLAIM).map(uid);
        if pinned.is_some_and(|pinned| Some(pinned.claim_uid) != claim) {
            self.east.api.delete::<ReplicationDestination>(NAME, None, None);
            return true;
        }
        false
    }

    /// Everybody does what there is to do. Whether there was anything.
    fn round(&mut self) -> Result<bool, String> {
        let mut moved = false;
        for place in 0..self.sources.len() {
            moved |= with(self, |world| &mut world.sources, place, |world, it| pass(world, it, "source"))?;
        }
        for place in 0..self.destinations.len() {
            moved |= with(
                self,
                |world| &mut world.destinations,
                place,
                |world, it| pass(world, it, "destination"),
            )?;
        }
        for _ in 0..STEPS {
            let Some(what) = self.any_step() else { return Ok(moved) };
            self.log(what);
            check(self);
            moved = true;
        }
        Err("movers and storage never rest".to_owned())
    }

    /// A step of a mover, the storage or a kubelet, if there is one to take.
    fn any_step(&mut self) -> Option<String> {
        if let Some(what) = self.collect_garbage() {
            return Some(what);
        }
        for in_west in [true, false] {
            let cluster = if in_west { &mut self.west } else { &mut self.east };
            let (api, storage) = (&mut cluster.api, &mut cluster.storage);
            for snapshot in api.snapshots.keys().cloned().collect::<Vec<_>>() {
                if storage.make_content(api, &snapshot)
                    || storage.show(api, &snapshot)
                    || storage.drop_snapshot(api, &snapshot)
                {
                    return Some(format!("snapshot controller sees to {snapshot}"));
                }
            }
            for content in api.contents.keys().cloned().collect::<Vec<_>>() {
                if storage.snapshotter(api, &content).is_some() || storage.drop_content(api, &content) {
                    return Some(format!("snapshotter sees to {content}"));
                }
            }
            let claims: Vec<String> = cluster.api.claims.keys().cloned().collect();
            let pods: Vec<String> = cluster.api.pods.keys().cloned().collect();
            for claim in claims {
                if let Some(what) = self.cut_clone(in_west, &claim) {
                    return Some(what);
                }
                let cluster = if in_west { &mut self.west } else { &mut self.east };
                if cluster.storage.bind(&mut cluster.api, &claim)
                    || cluster.storage.release(&mut cluster.api, &claim)
                {
                    return Some(format!("storage sees to {claim}"));
                }
            }
            if let Some(pod) = pods.into_iter().find(|pod| self.kubelet(in_west, pod)) {
                return Some(format!("kubelet sees to {pod}"));
            }
        }
        (0..self.senders.len()).find_map(|_| self.step_sender())
    }

    /// Time passes until something is due.
    fn wait(&mut self) {
        let sources = self.sources.iter().filter_map(|it| it.wakes(self));
        let destinations = self.destinations.iter().filter_map(|it| it.wakes(self));
        let movers = self.senders.values().filter_map(super::sender::Sender::wakes);
        let next = sources.chain(destinations).chain(movers).filter(|at| *at > self.now).min();
        let seconds = next.map_or(60, |at| (at - self.now).clamp(1, 60));
        self.pass_time(seconds);
        self.log(format!("{seconds} s pass"));
    }

    /// Whether a sync that began since then is published, and nothing runs.
    fn is_well(&self, since: i64) -> bool {
        let source = self.west.api.sources.get(NAME).and_then(|it| it.status.as_ref());
        source.is_some_and(|status| {
            let last = status.last_attempt.as_ref();
            status.current_sync.is_none()
                && last.is_some_and(|last| last.failure.is_none() && last.started_at.0.as_second() >= since)
                && self.newest_replica().is_some()
                && self.newest_replica() == self.source_content()
        })
    }

    /// I8 and I11: the end is the one that there would have been without faults, and one more pass of everybody writes nothing.
    fn rests(&mut self) -> Result<(), String> {
        for place in 0..self.sources.len() {
            with(self, |world| &mut world.sources, place, one_pass)?;
            with(self, |world| &mut world.destinations, place, one_pass)?;
        }
        let source = self.west.api.sources.get(NAME).ok_or("no source")?;
        let destination = self.east.api.destinations.get(NAME).ok_or("no destination")?;
        let (source_uid, destination_uid) = (uid(source), uid(destination));
        let status = destination.status.clone().unwrap_or_default();
        let sent = source.status.clone().unwrap_or_default();
        let expect = |is: bool, what: &str| if is { Ok(()) } else { Err(what.to_owned()) };
        expect(status.phase == Some(Phase::Listening), "the destination does not listen")?;
        expect(status.dirty.is_none(), "the claim is dirty")?;
        expect(status.current_sync.is_none(), "the destination still has a sync")?;
        expect(status.consecutive_failures == 0 && sent.consecutive_failures == 0, "failures are counted")?;
        expect(sent.quiesce.is_none() && !self.application.is_at_rest(), "the application stands still")?;
        expect(status.recovery_point == sent.recovery_point, "the sides differ in the recovery point")?;
        let kept =
            usize::try_from(destination.spec.retain.clone().unwrap_or_default().last).unwrap_or(usize::MAX);
        // A hook may have to leave some for its next run.
        expect(status.replicas.len() <= kept || !destination.spec.hooks.is_empty(), "too many replicas")?;
        for (all, kind, wanted) in [
            (&sent.conditions, conditions::DEGRADED, "False"),
            (&status.conditions, conditions::DEGRADED, "False"),
            (&status.conditions, conditions::PROMOTABLE, "True"),
        ] {
            let is = all.iter().any(|it| it.type_ == kind && it.status == wanted);
            expect(is, &format!("{kind} is not {wanted}: {all:?}"))?;
        }
        let left = self.left_of(true, &source_uid);
        expect(left.is_empty(), &format!("the source leaves {left:?}"))?;
        let unpublished: Vec<String> = self
            .left_of(false, &destination_uid)
            .into_iter()
            .filter(|it| it.starts_with("VolumeSnapshot"))
            .collect();
        expect(unpublished.is_empty(), &format!("the destination leaves {unpublished:?}"))
    }

    /// Both objects are deleted: what stays is what has to.
    pub fn delete_everything(&mut self) -> Result<(), String> {
        self.west.api.delete::<ReplicationSource>(NAME, None, None);
        self.east.api.delete::<ReplicationDestination>(NAME, None, None);
        let retains = self
            .east
            .api
            .destinations
            .get(NAME)
            .is_some_and(|it| it.spec.deletion_policy == DeletionPolicy::Retain);
        let replicas = self.east.api.snapshots.len();
        for _ in 0..60 {
            if !self.round()? {
                self.wait();
            }
        }
        if self.application.is_at_rest() {
            return Err("the source goes, and the application stands still".to_owned());
        }
        let are_gone = self.west.api.sources.is_empty() && self.east.api.destinations.is_empty();
        if !are_gone {
            return Err("the objects do not go".to_owned());
        }
        let claims = self.west.api.claims.keys().chain(self.east.api.claims.keys());
        let mut left: Vec<String> = claims.filter(|claim| *claim != CLAIM).cloned().collect();
        left.extend(self.west.api.pods.keys().chain(self.east.api.pods.keys()).cloned());
        left.extend(self.east.api.services.keys().cloned());
        left.extend(self.secrets_left());
        let snapshots: Vec<String> = self
            .east
            .api
            .snapshots
            .values()
            .filter(|it| !super::storage::is_published(it))
            .map(name)
            .collect();
        left.extend(snapshots);
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
        if retains && self.east.api.snapshots.len() != replicas {
            return Err("replicas went with their destination".to_owned());
        }
        Ok(())
    }
}

/// Whole passes of one controller, until it has nothing to write. Whether it had.
fn pass<S: Side>(world: &mut World, controller: &mut Controller<S>, side: &str) -> Result<bool, String> {
    let mut moved = false;
    for _ in 0..STEPS {
        if !controller.is_due(world) {
            return Ok(moved);
        }
        let what = controller.step(world);
        let object = S::Object::store(world.api(S::IN_WEST)).get(NAME);
        let is_gone = object.is_none_or(|object| is_leaving(object) && object.meta().finalizers.is_none());
        if what.is_none() && is_gone {
            return Ok(moved);
        }
        moved |= controller.has_written;
        world.log(format!("{side}: {}", what.unwrap_or_default()));
        check(world);
        // One that is late only now writes what was decided long ago; it may be refused, and looks again.
        if controller.is_idle()
            && !controller.has_written
            && controller.wake.is_some_and(|wake| wake <= world.now)
        {
            return Ok(moved);
        }
    }
    Err(format!("the {side} controller never rests"))
}

/// One more pass, which has nothing to do.
fn one_pass<S: Side>(world: &mut World, controller: &mut Controller<S>) -> Result<(), String> {
    while controller.step(world).is_some() && !controller.is_idle() {}
    if controller.has_written { Err("a further pass still writes".to_owned()) } else { Ok(()) }
}
