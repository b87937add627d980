//! What is really so, whatever anybody says, and what must never be: asked after every step.

use super::api::{Store, annotation, is_leaving, is_owned, label, name, uid};
use super::receiver::{Receiver, Session};
use super::storage::{Content, is_published, is_ready};
use super::world::{KEYS, NAME, World, entry};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::{DeletionPolicy, RecoveryPoint, ReplicationDestination};
use std::collections::{BTreeMap, BTreeSet};

/// A cut that was made.
#[derive(Clone, Debug)]
struct Cut {
    sync: String,
    /// Of its object, by the API server's clock.
    created: Timestamp,
    /// What it holds, once it was really cut.
    content: Option<Content>,
    /// Whether the application was at rest then.
    at_rest: bool,
}

/// A replica that was published.
#[derive(Clone, Debug)]
struct Published {
    content: Content,
    sync: String,
    data_time: String,
}

/// What is really so.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// By uid.
    cuts: BTreeMap<String, Cut>,
    /// Every one that there ever was, by uid.
    published: BTreeMap<String, Published>,
    /// Whether there is a good replica, and nobody but the controller may take it away.
    has_replica: bool,
    /// The highest fencing token, by the uid of the destination.
    tokens: BTreeMap<String, u64>,
    sessions: u64,
    /// Replicas of an application at rest.
    pub quiesced: u64,
    /// The uids of snapshots that somebody else deleted: what that leaves behind under Retain is not ours to know of.
    taken: BTreeSet<String>,
    /// The recovery point of each source, by uid.
    points: BTreeMap<String, Timestamp>,
    /// The first thing that must not be.
    pub objection: Option<String>,
}

impl Truth {
    /// Something is as it must not be.
    pub fn object(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.objection.get_or_insert(what);
    }

    pub fn cut_is_made(&mut self, uid: String, sync: String, created: Timestamp) {
        self.cuts.insert(uid, Cut { sync, created, content: None, at_rest: false });
    }

    pub fn cut_is_taken(&mut self, uid: &str, content: Content, at_rest: bool) {
        if let Some(cut) = self.cuts.get_mut(uid) {
            cut.content = Some(content);
            cut.at_rest = at_rest;
        }
    }

    /// Somebody else deletes a snapshot.
    pub fn take_snapshot(&mut self, uid: String) {
        self.taken.insert(uid);
    }

    /// A mover begins to receive into a claim.
    pub fn begin_receiver<'a>(&mut self, new: &Receiver, mut others: impl Iterator<Item = &'a Receiver>) {
        if others.any(|other| other.claim_uid == new.claim_uid) {
            self.object("two movers receive into one claim");
        }
    }

    /// A session begins.
    pub fn begin_session(
        &mut self,
        owner: &str,
        session: &Session,
        destination: Option<&ReplicationDestination>,
    ) {
        self.sessions += 1;
        let highest = self.tokens.entry(owner.to_owned()).or_default();
        let rises = session.token > *highest;
        *highest = session.token.max(*highest);
        if !rises {
            self.object("a fencing token that is not above every one before");
        }
        // One that is gone, or made anew, has a mover that is about to go.
        let Some(status) = destination.filter(|it| uid(*it) == owner).and_then(|it| it.status.as_ref())
        else {
            return;
        };
        if status
            .key_fingerprints
            .as_ref()
            .is_some_and(|keys| keys.relationship != session.hello.relationship)
        {
            self.object("a source of another relationship may send");
        }
        if status.source.as_ref().is_none_or(|source| source.claim_uid != session.hello.claim_uid) {
            self.object("a source that is not pinned may send");
        }
    }

    /// Whether this is what a sync of that id cut at that time.
    fn is_cut(&self, sync: &str, data_time: &str, content: Content) -> bool {
        self.cuts.values().any(|cut| {
            cut.sync == sync && cut.created.to_string() == data_time && cut.content == Some(content)
        })
    }

    /// Whether this is what a sync cut at that time while the application was at rest.
    fn is_cut_at_rest(&self, sync: &str, data_time: &str, content: Content) -> bool {
        let is_it = |cut: &&Cut| {
            cut.sync == sync && cut.created.to_string() == data_time && cut.content == Some(content)
        };
        self.cuts.values().filter(is_it).any(|cut| cut.at_rest)
    }

    /// Whether what a sync cut at that time has been published, under that sync's name or as a replica that equals it.
    fn was_published(&self, point: &RecoveryPoint) -> bool {
        let mut contents = self
            .cuts
            .values()
            .filter(|cut| cut.sync == point.sync_id && cut.created == point.data_time.0)
            .filter_map(|cut| cut.content);
        contents.any(|content| self.published.values().any(|published| published.content == content))
    }

    /// How many sessions and how many replicas there were.
    pub fn counts(&self) -> (u64, u64) {
        (self.sessions, u64::try_from(self.published.len()).unwrap_or_default())
    }
}

/// A replica of whatever owner that a reader can use.
fn is_good(world: &World, snapshot: &VolumeSnapshot) -> bool {
    is_published(snapshot)
        && !is_leaving(snapshot)
        && world.east.storage.held_by(snapshot).is_some()
        && is_ready(&world.east.api, snapshot)
}

/// Asks everything. The first objection stays.
pub fn check(world: &mut World) {
    let objection = replicas(world)
        .and_then(|()| last_replica(world))
        .and_then(|()| destination(world))
        .and_then(|()| seal(world))
        .and_then(|()| source(world));
    if let Err(objection) = objection {
        world.truth.object(objection);
    }
}

/// I1, I2 and I4: what is published is one whole cut, can be used, and never changes.
fn replicas(world: &mut World) -> Result<(), String> {
    for snapshot in world.east.api.snapshots.values().filter(|snapshot| is_published(snapshot)) {
        let text = |key| annotation(&snapshot.metadata, key).unwrap_or_default().to_owned();
        let (sync, data_time, uid) = (text(names::SYNC_ID), text(names::DATA_TIME), uid(snapshot));
        let called = name(snapshot);
        let held = world.east.storage.held_by(snapshot);
        if let Some(before) = world.truth.published.get(&uid) {
            let same = before.sync == sync && before.data_time == data_time;
            // One that goes may have lost its content first.
            if !same || held.is_some_and(|held| held != before.content) {
                return Err(format!("replica {called} has changed"));
            }
            continue;
        }
        let Some(content) = held.filter(|_| is_ready(&world.east.api, snapshot)) else {
            return Err(format!("replica {called} is published before it is ready"));
        };
        if !snapshot.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
            return Err(format!("replica {called} has an owner that could take it along"));
        }
        if !world.truth.is_cut(&sync, &data_time, content) {
            return Err(format!(
                "replica {called} of sync {sync} is not what was cut at {data_time}: {content:?}"
            ));
        }
        if annotation(&snapshot.metadata, names::CONSISTENCY) == Some("filesystem") {
            world.truth.quiesced += 1;
            if !world.truth.is_cut_at_rest(&sync, &data_time, content) {
                return Err(format!("replica {called} is said to be of an application at rest, and is not"));
            }
        }
        world.truth.published.insert(uid, Published { content, sync, data_time });
    }
    Ok(())
}

/// I3: once there was a good replica there is one.
fn last_replica(world: &mut World) -> Result<(), String> {
    let is_any_good = world.east.api.snapshots.values().any(|snapshot| is_good(world, snapshot));
    let goes_by_wish = world.east.api.destinations.get(NAME).is_some_and(|destination| {
        is_leaving(destination) && destination.spec.deletion_policy == DeletionPolicy::Delete
    });
    if goes_by_wish {
        world.truth.has_replica = false;
    } else if world.truth.has_replica && !is_any_good {
        return Err("the last good replica is gone".to_owned());
    } else {
        world.truth.has_replica = is_any_good;
    }
    Ok(())
}

/// I1, I2 and I9 of the destination's status, and that the claim is what the record says.
fn destination(world: &World) -> Result<(), String> {
    let Some(destination) = world.east.api.destinations.get(NAME) else { return Ok(()) };
    let Some(status) = &destination.status else { return Ok(()) };
    if is_leaving(destination) {
        return Ok(());
    }
    if let Some(image) = &status.latest_image {
        let snapshot = world.east.api.snapshots.get(&image.name);
        let Some(snapshot) = snapshot.filter(|snapshot| is_good(world, snapshot)) else {
            return if world.truth.has_replica {
                Err(format!("latestImage {} cannot be used", image.name))
            } else {
                Ok(())
            };
        };
        let Some(point) = &status.recovery_point else {
            return Err("a latestImage without a recovery point".to_owned());
        };
        let content = world.east.storage.held_by(snapshot).unwrap_or_default();
        if !world.truth.is_cut(&point.sync_id, &point.data_time.0.to_string(), content) {
            return Err(format!("{} is not the recovery point {point:?}", image.name));
        }
    } else if status.recovery_point.is_some() {
        return Err("a recovery point without a replica".to_owned());
    }
    if let (None, Some(received)) = (&status.dirty, &status.received)
        && let Some(content) = world.east.storage.volumes.get(&received.claim_uid)
        && !world.truth.is_cut(&received.sync_id, &received.data_time.0.to_string(), *content)
    {
        return Err(format!(
            "the claim is not what was received with sync {}: {content:?}",
            received.sync_id
        ));
    }
    keys(&world.east.api.secrets, destination)
}

/// Once the keys are published, both Secrets and the status hold the same ones.
fn keys(secrets: &Store<Secret>, destination: &ReplicationDestination) -> Result<(), String> {
    let Some(status) =
        destination.status.as_ref().filter(|status| status.method_status.contains_key("sshKeys"))
    else {
        return Ok(());
    };
    let own = secrets.get(&names::destination_base(NAME));
    let carried = secrets.get(&names::source_secret(NAME));
    let (Some(own), Some(carried), Some(recorded)) = (own, carried, &status.key_fingerprints) else {
        return Err("keys that are published are not there".to_owned());
    };
    let halves_fit =
        ["source.pub", "destination.pub"].iter().all(|key| entry(own, key) == entry(carried, key));
    if halves_fit && entry(carried, "relationship") == recorded.relationship {
        Ok(())
    } else {
        Err("halves of different keys are published".to_owned())
    }
}

/// Nobody writes while a snapshot of ours may yet be cut.
fn seal(world: &World) -> Result<(), String> {
    for receiver in world.receivers.values().filter(|receiver| receiver.seal.is_none()) {
        let ours =
            |snapshot: &&VolumeSnapshot| label(&snapshot.metadata, names::OWNER_UID) == Some(&receiver.owner);
        let uncut = world
            .east
            .api
            .snapshots
            .values()
            .filter(ours)
            .find(|snapshot| !is_published(snapshot) && world.east.storage.held_by(snapshot).is_none());
        if let Some(snapshot) = uncut {
            return Err(format!("unsealed while {} is not cut", name(snapshot)));
        }
        let is_taken = |content: &VolumeSnapshotContent| {
            let of = content.spec.volume_snapshot_ref.uid.as_ref();
            of.is_some_and(|of| world.truth.taken.contains(of))
        };
        let open = world.east.api.contents.values().find(|content| {
            let is_cut = content.status.as_ref().is_some_and(|status| status.creation_time.is_some());
            !is_cut && !is_taken(content)
        });
        if let Some(content) = open {
            return Err(format!("unsealed while {} may be cut", name(content)));
        }
    }
    Ok(())
}

/// I9 of the source's status.
fn source(world: &mut World) -> Result<(), String> {
    let Some(source) = world.west.api.sources.get(NAME) else { return Ok(()) };
    let point = source.status.as_ref().and_then(|status| status.recovery_point.as_ref());
    let uid = uid(source);
    let before = world.truth.points.get(&uid).copied();
    let time = point.map(|point| point.data_time.0);
    if time < before {
        return Err(format!("the source's recovery point goes back from {before:?} to {time:?}"));
    }
    let Some(point) = point else { return Ok(()) };
    if before != time && !world.truth.was_published(point) {
        return Err(format!("the source's recovery point was never published: {point:?}"));
    }
    world.truth.points.insert(uid, point.data_time.0);
    Ok(())
}

impl World {
    /// I8: an object goes after all that it made. What another controller, which is late, makes just now is left to the collector.
    pub fn check_gone(&mut self, in_west: bool, owner: &str) {
        if self.sources.len() > 1 {
            return;
        }
        let left = self.left_of(in_west, owner);
        if !left.is_empty() {
            self.truth.object(format!("the object goes, and {} stays", left.join(", ")));
        }
    }

    /// What an owner's is there apart from replicas and Secrets, which go last.
    pub fn left_of(&self, in_west: bool, owner: &str) -> Vec<String> {
        let api = if in_west { &self.west.api } else { &self.east.api };
        let pods = api
            .pods
            .values()
            .filter(|it| is_owned(&it.metadata, owner))
            .map(|it| format!("pod {}", name(it)));
        let claims = api
            .claims
            .values()
            .filter(|it| is_owned(&it.metadata, owner))
            .map(|it| format!("claim {}", name(it)));
        let services = api
            .services
            .values()
            .filter(|it| is_owned(&it.metadata, owner))
            .map(|it| format!("Service {}", name(it)));
        let snapshots = api.snapshots.values().filter(|it| is_owned(&it.metadata, owner));
        pods.chain(claims)
            .chain(services)
            .chain(snapshots.map(|it| format!("VolumeSnapshot {}", name(it))))
            .collect()
    }

    /// Secrets of somebody who is gone.
    pub fn secrets_left(&self) -> Vec<String> {
        let all = self.west.api.secrets.values().chain(self.east.api.secrets.values());
        all.filter(|secret| name(*secret) != KEYS).map(name).collect()
    }

    /// The newest replica of the destination holds this.
    pub fn newest_replica(&self) -> Option<Content> {
        let status = self.east.api.destinations.get(NAME)?.status.as_ref()?;
        let snapshot = self.east.api.snapshots.get(&status.latest_image.as_ref()?.name)?;
        self.east.storage.held_by(snapshot)
    }
}
