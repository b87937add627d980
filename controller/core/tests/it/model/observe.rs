//! What a controller reads in a pass. Not all of it is of one moment: the world moves on between the parts.

use super::api::{Store, annotation, label, name, uid};
use super::controller::Known;
use super::lies::Lie;
use super::storage::is_published;
use super::world::{CLAIM, World};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube_core::Resource;
use scribe_core::chance::Redacted;
use scribe_core::destination::are_keys_open;
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{
    DestinationObserved, KeySecrets, Refusal, SecretSeen, SourceObserved, Surroundings,
};
use scribe_core::slots::SlotsSeen;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use scribe_mover_contract::control::MoverState;

fn owned<K: Resource<DynamicType = ()> + Clone>(store: &Store<K>, owner: &str) -> Vec<K> {
    let ours = |object: &&K| label(object.meta(), names::OWNER_UID) == Some(owner);
    store.values().filter(ours).cloned().collect()
}

fn surroundings(cluster_id: &str, refusals: Vec<Refusal>) -> Surroundings {
    Surroundings {
        cluster_id: cluster_id.to_owned(),
        privileged_movers: false,
        paused_by: None,
        control_token: Redacted("token".to_owned()),
        warnings: Vec::new(),
        refusals,
    }
}

/// A part of a pass is read at the beginning or at the end of it.
fn early<T>(world: &mut World, read: impl FnOnce(&World) -> T) -> Option<T> {
    world.dice.one_in(2).then(|| read(world))
}

/// What is known of the mover in the running pod of that name: what the last long poll brought, which may be old by now.
fn follow(
    world: &mut World,
    in_west: bool,
    pods: &[Pod],
    wanted: &str,
    known: &mut Known,
) -> Option<(String, MoverState)> {
    let running = |pod: &&Pod| name(*pod) == wanted && super::storage::phase(pod) == "Running";
    let pod = pods.iter().find(running).map(|pod| (uid(pod), name(pod)));
    if known.pod != pod {
        *known = Known { pod, state: None };
    }
    let (uid, _) = known.pod.as_ref()?;
    if !world.faults || known.state.is_none() || !world.dice.one_in(6) {
        let state = if in_west {
            world.senders.get(uid).map(super::sender::Sender::state)
        } else {
            world.receivers.get(uid).map(super::receiver::Receiver::state)
        };
        // A mover that does not answer any more is lost sight of after a while.
        if state.is_some() || !world.faults || world.dice.one_in(2) {
            known.state = state;
        }
    }
    Some((wanted.to_owned(), known.state.clone()?))
}

/// A ReplicationSource, and what was read so far.
pub struct SourceGlance {
    source: ReplicationSource,
    claim: Option<Option<PersistentVolumeClaim>>,
    cuts: Option<Vec<PersistentVolumeClaim>>,
    pods: Option<Vec<Pod>>,
}

fn read_claim(world: &World) -> Option<PersistentVolumeClaim> {
    world.west.api.claims.get(CLAIM).cloned()
}

impl SourceGlance {
    pub fn new(world: &mut World, source: ReplicationSource) -> Self {
        let owner = uid(&source);
        Self {
            claim: early(world, read_claim),
            cuts: early(world, |world| owned(&world.west.api.claims, &owner)),
            pods: early(world, |world| owned(&world.west.api.pods, &owner)),
            source,
        }
    }

    pub fn finish(
        self,
        world: &mut World,
        known: &mut Known,
        (refusals, mut hooks): (Vec<Refusal>, HooksSeen),
    ) -> SourceObserved {
        let owner = uid(&self.source);
        apply_cut(world, &self.source);
        if let Some(quiesce) = self.source.status.as_ref().and_then(|status| status.quiesce.as_ref()) {
            hooks.ended_sessions = world.ended_sessions(&quiesce.undo);
        }
        let pods = self.pods.unwrap_or_else(|| owned(&world.west.api.pods, &owner));
        let sync = self.source.status.as_ref().and_then(|status| status.current_sync.as_ref());
        let wanted = sync.map(|sync| names::source_pod(&name(&self.source), &sync.id, sync.attempt));
        let mover = follow(world, true, &pods, &wanted.unwrap_or_default(), known);
        let mut cuts = self.cuts.unwrap_or_else(|| owned(&world.west.api.claims, &owner));
        if let (Some(Lie::AppliedCut), Some(sync)) = (world.lie, sync) {
            let cut_name = names::source_cut(&name(&self.source), &sync.id);
            for cut in cuts.iter_mut().filter(|cut| sync.cut.is_some() && name(*cut) == cut_name) {
                cut.metadata.uid.clone_from(&sync.cut);
                cut.metadata.creation_timestamp.clone_from(&sync.cut_time);
            }
        }
        SourceObserved {
            claim: self.claim.unwrap_or_else(|| read_claim(world)),
            around: surroundings(world.west.api.cluster_id, refusals),
            source: self.source,
            cuts,
            snapshots_available: true,
            snapshots: Vec::new(),
            contents: Vec::new(),
            users: Vec::new(),
            pods,
            mover,
            slots: SlotsSeen::default(),
            hooks,
        }
    }
}

/// The lie that the cut is applied: one that vanished comes back.
fn apply_cut(world: &mut World, source: &ReplicationSource) {
    let sync = source.status.as_ref().and_then(|status| status.current_sync.as_ref());
    let wanted =
        sync.filter(|sync| sync.cut.is_some()).map(|sync| names::source_cut(&name(source), &sync.id));
    let lies = world.lie == Some(Lie::AppliedCut) && source.metadata.deletion_timestamp.is_none();
    let Some(cut) = world.last_cut.clone().filter(|_| lies) else { return };
    if wanted.is_some_and(|wanted| wanted == name(&cut)) {
        super::events::post_again(world, &cut);
    }
}

/// A ReplicationDestination, and what was read so far.
pub struct DestinationGlance {
    destination: ReplicationDestination,
    own_keys: SecretSeen,
    claim: Option<Option<PersistentVolumeClaim>>,
    service: Option<Option<Service>>,
    pods: Option<Vec<Pod>>,
    snapshots: Option<Vec<VolumeSnapshot>>,
}

fn look_at(secrets: &Store<Secret>, owner: &str, wanted: &str) -> SecretSeen {
    match secrets.get(wanted) {
        None => SecretSeen::Missing,
        Some(secret) if label(&secret.metadata, names::OWNER_UID) == Some(owner) => SecretSeen::Ours {
            resource_version: secret.metadata.resource_version.clone().unwrap_or_default(),
            relationship: annotation(&secret.metadata, names::RELATIONSHIP).map(str::to_owned),
        },
        Some(_) => SecretSeen::Foreign,
    }
}

fn read_service(world: &World, base: &str, owner: &str) -> Option<Service> {
    world
        .east
        .api
        .services
        .get(base)
        .filter(|service| label(&service.metadata, names::OWNER_UID) == Some(owner))
        .cloned()
}

fn read_snapshots(world: &World, owner: &str, claim: &str) -> Vec<VolumeSnapshot> {
    let is_of = |snapshot: &VolumeSnapshot| {
        snapshot.spec.source.persistent_volume_claim_name.as_deref() == Some(claim)
    };
    let snapshots = world.east.api.snapshots.values();
    let seen = snapshots
        .filter(|snapshot| label(&snapshot.metadata, names::OWNER_UID) == Some(owner) || is_of(snapshot));
    seen.cloned().collect()
}

impl DestinationGlance {
    pub fn new(world: &mut World, destination: ReplicationDestination) -> Self {
        let (owner, base) = (uid(&destination), names::destination_base(&name(&destination)));
        Self {
            own_keys: look_at(&world.east.api.secrets, &owner, &base),
            claim: early(world, |world| world.east.api.claims.get(&base).cloned()),
            service: early(world, |world| read_service(world, &base, &owner)),
            pods: early(world, |world| owned(&world.east.api.pods, &owner)),
            snapshots: early(world, |world| read_snapshots(world, &owner, &base)),
            destination,
        }
    }

    pub fn finish(
        self,
        world: &mut World,
        known: &mut Known,
        (refusals, hooks): (Vec<Refusal>, HooksSeen),
    ) -> Option<DestinationObserved> {
        let (owner, object_name) = (uid(&self.destination), name(&self.destination));
        let base = names::destination_base(&object_name);
        let key_secrets = are_keys_open(&self.destination).then(|| KeySecrets {
            own: self.own_keys,
            source: look_at(&world.east.api.secrets, &owner, &names::source_secret(&object_name)),
        });
        let version = |destination: &ReplicationDestination| destination.metadata.resource_version.clone();
        let now = world.east.api.destinations.get(&object_name).and_then(version);
        if key_secrets.is_some() && now != version(&self.destination) {
            return None;
        }
        let pods = self.pods.unwrap_or_else(|| owned(&world.east.api.pods, &owner));
        let snapshots = self.snapshots.unwrap_or_else(|| read_snapshots(world, &owner, &base));
        let contents = read_contents(world, &self.destination, &snapshots);
        let mover = follow(world, false, &pods, &base, known);
        let mut seen = DestinationObserved {
            key_secrets,
            claim: self.claim.unwrap_or_else(|| world.east.api.claims.get(&base).cloned()),
            service: self.service.unwrap_or_else(|| read_service(world, &base, &owner)),
            around: surroundings(world.east.api.cluster_id, refusals),
            destination: self.destination,
            pods,
            snapshots_available: true,
            snapshots,
            restores: Vec::new(),
            snapshot_class: None,
            contents,
            mover,
            hooks,
        };
        lie(world.lie, &mut seen);
        Some(seen)
    }
}

fn read_contents(
    world: &World,
    destination: &ReplicationDestination,
    snapshots: &[VolumeSnapshot],
) -> Vec<VolumeSnapshotContent> {
    let owner = uid(destination);
    let unpublished = snapshots.iter().filter(|snapshot| {
        label(&snapshot.metadata, names::OWNER_UID) == Some(&owner) && !is_published(snapshot)
    });
    let releasing = destination.status.iter().flat_map(|status| status.releasing.iter().cloned());
    let mut wanted: Vec<String> =
        unpublished.map(|snapshot| format!("snapcontent-{}", uid(snapshot))).chain(releasing).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.iter().filter_map(|wanted| world.east.api.contents.get(wanted).cloned()).collect()
}

/// The lie that a snapshot is ready as soon as it is cut.
fn lie(lie: Option<Lie>, seen: &mut DestinationObserved) {
    for status in seen.snapshots.iter_mut().filter_map(|snapshot| snapshot.status.as_mut()) {
        if lie == Some(Lie::PublishBeforeReady) && status.creation_time.is_some() {
            status.ready_to_use = Some(true);
        }
    }
}
