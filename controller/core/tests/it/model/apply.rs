//! Carries actions out as the controller does: what is success, what a conflict, what a refusal.

use super::api::{Api, Kind, WriteError, is_owned, label, name, uid};
use super::controller::Side;
use super::lies::Lie;
use super::storage::{claim_of, is_published};
use super::world::{CLAIM, NAME, World};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube_core::Resource;
use scribe_core::decision::{Action, Child, ChildKind, ChildRef};
use scribe_core::observed::Refusal;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_mover_contract::control::{Answer, CommitVerdict, Order};
use scribe_mover_contract::peer::{PublicationState, Verdict};
use std::collections::BTreeMap;

/// Who writes, and the replication object as he knows it.
pub struct Writer {
    pub in_west: bool,
    /// The uid of the replication object.
    pub owner: String,
    /// Its resource version, after this pass's own writes.
    pub version: Option<String>,
    pub finalizers: Vec<String>,
    /// The uid of the mover pod that is followed.
    pub speaks_to: Option<String>,
}

fn refused<K: Resource<DynamicType = ()>>(name: &str) -> WriteError {
    let message = "an object of that name exists and does not belong to this one: delete or rename it";
    let object = format!("{} {name}", K::kind(&()));
    WriteError::Refused(Refusal { object, quota: false, message: message.to_owned() })
}

/// Carries one action out.
pub fn act<S: Side>(world: &mut World, writer: &mut Writer, action: &Action) -> Result<(), WriteError> {
    let owner = writer.owner.clone();
    match action {
        Action::AddFinalizer => set_finalizer::<S>(world, writer, true),
        Action::RemoveFinalizer => {
            world.check_gone(writer.in_west, &owner);
            set_finalizer::<S>(world, writer, false)
        }
        Action::Create(child) => create(world, writer, child),
        Action::Apply(child) => apply(world.api(writer.in_west), &owner, child),
        Action::ApplyAddress { secret, resource_version, address, port } => {
            let api = world.api(writer.in_west);
            let found = api
                .secrets
                .get(secret)
                .filter(|found| label(&found.metadata, names::OWNER_UID) == Some(&owner));
            let Some(uid) = found.map(uid) else { return Err(refused::<Secret>(secret)) };
            api.patch(secret, Some(&uid), resource_version.as_deref(), |secret: &mut Secret| {
                let data = secret.data.get_or_insert_default();
                for (key, value) in [("address", address.clone()), ("port", port.to_string())] {
                    data.insert(key.to_owned(), k8s_openapi::ByteString(value.into_bytes()));
                }
            })
        }
        Action::Delete(child) => {
            delete(world, writer, child);
            Ok(())
        }
        Action::LabelClaim { name, uid, resource_version } => {
            let change = |claim: &mut PersistentVolumeClaim| {
                claim.metadata.labels.get_or_insert_default().insert(names::OWNER_UID.to_owned(), owner);
            };
            world.api(writer.in_west).patch(name, Some(uid), Some(resource_version), change)
        }
        Action::UnlabelClaim { name, uid, labels, annotations } => {
            let change = |claim: &mut PersistentVolumeClaim| {
                for label in labels {
                    claim.metadata.labels.get_or_insert_default().remove(*label);
                }
                claim.metadata.annotations.get_or_insert_default().extend(annotations.clone());
            };
            // Gone, or another claim by that name.
            let _ = world.api(writer.in_west).patch(name, Some(uid), None, change);
            Ok(())
        }
        Action::PublishSnapshot { name, uid, resource_version, annotations } => {
            if world.lie == Some(Lie::PruneBeforePublish) {
                prune_early(world, writer, name);
            }
            let change = |snapshot: &mut VolumeSnapshot| {
                snapshot.metadata.annotations.get_or_insert_default().extend(annotations.clone());
                snapshot.metadata.owner_references = None;
            };
            world.api(writer.in_west).patch(name, Some(uid), Some(resource_version), change)
        }
        Action::AdoptSnapshot { name, uid, resource_version, from } => {
            let change = |snapshot: &mut VolumeSnapshot| {
                let meta = &mut snapshot.metadata;
                meta.labels.get_or_insert_default().insert(names::OWNER_UID.to_owned(), owner);
                meta.annotations.get_or_insert_default().insert(names::ADOPTED_FROM.to_owned(), from.clone());
            };
            world.api(writer.in_west).patch(name, Some(uid), Some(resource_version), change)
        }
        Action::ReleaseContent { name } => {
            let change =
                |content: &mut VolumeSnapshotContent| content.spec.deletion_policy = "Delete".to_owned();
            world.api(writer.in_west).change(name, change);
            Ok(())
        }
        Action::Answer { instance, question, answer, .. } => {
            answered(world, writer, instance, *question, answer)
        }
        Action::Order { order, .. } => {
            let receiver = writer.speaks_to.as_ref().and_then(|pod| world.receivers.get_mut(pod));
            receiver.ok_or(WriteError::Failed)?.order(order);
            Ok(())
        }
        // Seen to by the controller itself.
        Action::CallHook(_)
        | Action::RememberHook { .. }
        | Action::AnswerHook { .. }
        | Action::EndSessions => Ok(()),
    }
}

fn answered(
    world: &mut World,
    writer: &Writer,
    instance: &str,
    question: u64,
    answer: &Answer,
) -> Result<(), WriteError> {
    let receiver = writer.speaks_to.as_ref().and_then(|pod| world.receivers.get_mut(pod));
    let receiver = receiver.ok_or(WriteError::Failed)?;
    let token = receiver.session.as_ref().map(|session| session.token);
    receiver.answer(instance, question, answer);
    let has_to_wait = match answer {
        Answer::Handshake(said) => matches!(said.verdict, Verdict::Wait { .. }),
        Answer::Published(state) => matches!(state, PublicationState::NotYet { .. }),
        Answer::Commit(_) | Answer::Guarded => false,
    };
    if let Some(seal) = receiver.seal.filter(|_| has_to_wait && world.lie == Some(Lie::UnsealBeforeCut)) {
        receiver.order(&Order::Unseal { seal });
    }
    let begun = receiver.session.as_ref().filter(|session| Some(session.token) != token);
    if let Some(session) = begun {
        world.truth.begin_session(&receiver.owner, session, world.east.api.destinations.get(NAME));
    }
    let is_recorded = matches!(answer, Answer::Commit(CommitVerdict::Recorded { .. }));
    if is_recorded && world.lie == Some(Lie::RepeatedCommit) {
        let clear = |destination: &mut scribe_crds::v1alpha1::ReplicationDestination| {
            if let Some(status) = &mut destination.status {
                status.dirty = None;
            }
        };
        world.east.api.change(NAME, clear);
    }
    Ok(())
}

fn set_finalizer<S: Side>(world: &mut World, writer: &mut Writer, wanted: bool) -> Result<(), WriteError> {
    let finalizer = names::FINALIZER.to_owned();
    if writer.finalizers.contains(&finalizer) == wanted {
        return Ok(());
    }
    writer.finalizers.retain(|other| *other != finalizer);
    if wanted {
        writer.finalizers.push(finalizer);
    }
    let (owner, version, finalizers) =
        (writer.owner.clone(), writer.version.clone(), writer.finalizers.clone());
    let api = world.api(writer.in_west);
    let is_there = S::Object::store(api).contains_key(NAME);
    if !is_there && !wanted {
        return Ok(());
    }
    api.patch(NAME, Some(&owner), version.as_deref(), |object: &mut S::Object| {
        object.meta_mut().finalizers = Some(finalizers);
    })?;
    writer.version =
        S::Object::store(api).get(NAME).and_then(|object| object.meta().resource_version.clone());
    Ok(())
}

/// POST, once. One that is ours already is the outcome of an earlier try.
fn post<K: Kind>(api: &mut Api, owner: &str, child: &K) -> Result<bool, WriteError> {
    if api.post(child)? {
        return Ok(true);
    }
    let name = name(child);
    match K::store(api).get(&name) {
        Some(found) if !is_owned(found.meta(), owner) => Err(refused::<K>(&name)),
        Some(_) | None => Ok(false),
    }
}

fn create(world: &mut World, writer: &Writer, child: &Child) -> Result<(), WriteError> {
    let owner = &writer.owner;
    match child {
        Child::Claim(claim) => {
            let is_new = post(world.api(writer.in_west), owner, &**claim)?;
            if writer.in_west {
                world.remember_cut(claim, is_new);
            }
        }
        Child::Pod(pod) => {
            if writer.in_west && !mounts_read_only(pod) {
                world.truth.object("the source's mover could write to what it reads");
            }
            post(world.api(writer.in_west), owner, &**pod)?;
        }
        Child::Service(service) => {
            post(world.api(writer.in_west), owner, &**service)?;
        }
        Child::Snapshot(snapshot) => {
            post(world.api(writer.in_west), owner, &**snapshot)?;
        }
        Child::Secret(secret) => {
            // Created empty, and then applied: it can stay empty in between.
            let dies = world.faults && world.dice.one_in(10);
            let api = world.api(writer.in_west);
            let mut empty = Secret { data: None, ..(*secret.0).clone() };
            empty.metadata.annotations = None;
            if !api.post(&empty)? {
                let found = api.secrets.get(&name(&*secret.0));
                let is_foreign =
                    found.is_some_and(|found| label(&found.metadata, names::OWNER_UID) != Some(owner));
                return Err(if is_foreign {
                    refused::<Secret>(&name(&*secret.0))
                } else {
                    WriteError::Conflict
                });
            }
            if dies {
                return Err(WriteError::Failed);
            }
            apply_secret(api, owner, &secret.0)?;
        }
    }
    Ok(())
}

/// Whether a source's mover reads a copy, and cannot write to it.
fn mounts_read_only(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claim_of(pod) != CLAIM && claims.all(|claim| claim.read_only == Some(true))
}

fn apply(api: &mut Api, owner: &str, child: &Child) -> Result<(), WriteError> {
    match child {
        Child::Secret(secret) => apply_secret(api, owner, &secret.0),
        Child::Service(service) => apply_service(api, owner, service),
        Child::Claim(claim) => {
            post(api, owner, &**claim)?;
            api.patch(&name(&**claim), None, None, |stored: &mut PersistentVolumeClaim| {
                let wanted = claim.spec.as_ref().and_then(|spec| spec.resources.clone());
                stored.spec.get_or_insert_default().resources = wanted;
            })
        }
        Child::Pod(_) | Child::Snapshot(_) => panic!("it is created, never applied: {child:?}"),
    }
}

fn apply_service(api: &mut Api, owner: &str, service: &Service) -> Result<(), WriteError> {
    post(api, owner, service)?;
    api.patch(&name(service), None, None, |stored: &mut Service| {
        let ip = stored.spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
        stored.metadata.annotations.clone_from(&service.metadata.annotations);
        stored.metadata.labels.clone_from(&service.metadata.labels);
        stored.spec.clone_from(&service.spec);
        stored.spec.get_or_insert_default().cluster_ip = ip.or(Some("10.0.0.7".to_owned()));
    })
}

fn apply_secret(api: &mut Api, owner: &str, secret: &Secret) -> Result<(), WriteError> {
    let secret_name = name(secret);
    let version = secret.metadata.resource_version.as_deref();
    match api.secrets.get(&secret_name) {
        None if version.is_some() => return Err(WriteError::Conflict),
        None => {
            api.post(secret)?;
            return Ok(());
        }
        Some(found) if label(&found.metadata, names::OWNER_UID) != Some(owner) => {
            return Err(refused::<Secret>(&secret_name));
        }
        Some(found) => {
            let wanted: BTreeMap<_, _> = secret.data.clone().unwrap_or_default();
            let has = found.data.clone().unwrap_or_default();
            let annotations = secret.metadata.annotations.clone().unwrap_or_default();
            let is_same = wanted.iter().all(|(key, value)| has.get(key) == Some(value))
                && annotations
                    .iter()
                    .all(|(key, value)| super::api::annotation(&found.metadata, key) == Some(value));
            if is_same {
                return Ok(());
            }
        }
    }
    api.patch(&secret_name, None, version, |stored: &mut Secret| {
        stored.data.get_or_insert_default().extend(secret.data.clone().unwrap_or_default());
        let annotations = stored.metadata.annotations.get_or_insert_default();
        annotations.extend(secret.metadata.annotations.clone().unwrap_or_default());
    })
}

fn delete(world: &mut World, writer: &Writer, child: &ChildRef) {
    let (uid, version) = (child.uid.as_deref(), child.resource_version.as_deref());
    if child.kind == ChildKind::Claim && writer.in_west && child.name == CLAIM {
        world.truth.object("the source claim is being deleted");
    }
    let api = world.api(writer.in_west);
    match child.kind {
        ChildKind::Claim => api.delete::<PersistentVolumeClaim>(&child.name, uid, version),
        ChildKind::Pod => api.delete::<Pod>(&child.name, uid, version),
        ChildKind::Service => api.delete::<Service>(&child.name, uid, version),
        ChildKind::Secret => {
            let found = api.secrets.get(&child.name);
            if found.is_some_and(|found| label(&found.metadata, names::OWNER_UID) == Some(&writer.owner)) {
                api.delete::<Secret>(&child.name, None, None);
            }
        }
        ChildKind::Snapshot => api.delete::<VolumeSnapshot>(&child.name, uid, version),
    }
}

fn prune_early(world: &mut World, writer: &Writer, newest: &str) {
    let api = world.api(writer.in_west);
    let old: Vec<String> =
        api.snapshots.values().filter(|snapshot| is_published(snapshot)).map(name).collect();
    for old in old.iter().filter(|old| *old != newest) {
        api.delete::<VolumeSnapshot>(old, None, None);
    }
}
