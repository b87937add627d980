//! Reads what a decision depends on, from the API server itself.
//!
//! Caches may be old, and a decision from an old view could delete what is needed: so every pass reads anew. Passes are few, because
//! only changes trigger them.

mod children;
mod classes;
mod hooks;
mod keys;
mod restores;
mod snapshots;
mod volume;

pub use hooks::hook_module;

use crate::context::Context;
use crate::router::Followed;
use children::Children;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use scribe_core::observed::{DestinationObserved, SourceObserved, Surroundings, Warning};
use scribe_core::slots::SlotsSeen;
use scribe_core::source::uses_claim;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource, SourceCopyMethod};
use serde::de::DeserializeOwned;
use snapshots::{is_of, is_published, is_ready};
use std::fmt::Debug;
use std::time::Instant;

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("read {what}")]
pub struct ObserveError {
    /// What was to be read.
    what: String,
    /// Why it could not be.
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What was seen, and whether something is unfinished.
pub struct Seen<T> {
    /// What the core is told.
    pub observed: T,
    /// The youngest child that is not what it should be, by its time of creation. Not everything that happens to such a child changes
    /// it: Events come without a trigger.
    pub pending_since: Option<Timestamp>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> ObserveError {
    let what = what.into();
    move |source| ObserveError { what, source: Box::new(source) }
}

/// Reads what surrounds a ReplicationSource.
///
/// # Errors
/// Fails if the API server does.
pub async fn source(ctx: &Context, source: &ReplicationSource) -> Result<Seen<SourceObserved>, ObserveError> {
    let (namespace, uid) = identity(&source.metadata);
    let name = &source.spec.source_pvc;
    ctx.router.follow(uid, Followed::Claim, namespace, name);
    let sync = source.status.as_ref().and_then(|status| status.current_sync.as_ref());
    let (claim, children, permissions) = tokio::try_join!(
        get::<PersistentVolumeClaim>(ctx, namespace, name),
        children::of(ctx, source),
        permissions(ctx, namespace),
    )?;
    let Children { cuts, pods, snapshots: own_snapshots, users } = children;
    let snapshots_available = own_snapshots.is_some();
    let snapshots = own_snapshots.unwrap_or_default();
    let releasing = source.status.as_ref().map(|status| status.releasing.as_slice()).unwrap_or_default();
    let unfinished: Vec<&ObjectMeta> = cuts
        .iter()
        .filter(|cut| !is_bound(cut))
        .map(|cut| &cut.metadata)
        .chain(pods.iter().filter(|pod| is_starting(pod)).map(|pod| &pod.metadata))
        .chain(snapshots.iter().filter(|snapshot| !is_ready(snapshot)).map(|snapshot| &snapshot.metadata))
        .collect();
    let pending_since = youngest(&unfinished);
    let (contents, events, volume, hooks) = tokio::try_join!(
        snapshots::contents(ctx, snapshots.iter().collect(), releasing),
        async { if unfinished.is_empty() { Ok(Vec::new()) } else { warning_events(ctx, namespace).await } },
        volume::reach(ctx, uid, claim.as_ref(), &cuts, &pods),
        hooks::of_source(ctx, namespace, uid, source),
    )?;
    let warnings = about(events, &unfinished);
    let around = surroundings(ctx, &source.metadata, permissions, warnings);
    // Last: who asks for a slot has seen his own pods, and whoever was counted after them.
    let slots = SlotsSeen { slots: ctx.slots.view(), volume };
    let mover_name = sync.map(|sync| names::source_pod(&source.name_any(), &sync.id, sync.attempt));
    let mover = ctx.movers.follow(uid, &pods, mover_name.as_deref(), &around.control_token);
    let observed = SourceObserved {
        source: source.clone(),
        around,
        claim,
        cuts,
        snapshots_available,
        snapshots,
        contents,
        users,
        pods,
        mover,
        slots,
        hooks,
    };
    Ok(Seen { observed, pending_since })
}

/// Reads what surrounds a ReplicationDestination.
///
/// # Errors
/// Fails if the API server does. That there is no VolumeSnapshot API is not a failure.
pub async fn destination(
    ctx: &Context,
    destination: &ReplicationDestination,
) -> Result<Seen<DestinationObserved>, ObserveError> {
    let (namespace, uid) = identity(&destination.metadata);
    let base = names::destination_base(&destination.name_any());
    let named = destination.spec.rsync.as_ref().and_then(|rsync| rsync.destination_pvc.clone());
    let claim_name = named.unwrap_or_else(|| base.clone());
    ctx.router.follow(uid, Followed::Claim, namespace, &claim_name);
    let (key_secrets, claim, service, pods, all_snapshots, permissions) = tokio::try_join!(
        keys::secrets(ctx, destination),
        get::<PersistentVolumeClaim>(ctx, namespace, &claim_name),
        get::<Service>(ctx, namespace, &base),
        owned::<Pod>(ctx, namespace, uid),
        snapshots::of(ctx, namespace, None),
        permissions(ctx, namespace),
    )?;
    let snapshots_available = all_snapshots.is_some();
    let mut snapshots = all_snapshots.unwrap_or_default();
    let full_name = format!("{namespace}/{}", destination.name_any());
    let is_left = |snapshot: &VolumeSnapshot| {
        is_published(snapshot) && snapshot.annotations().get(names::DESTINATION) == Some(&full_name)
    };
    snapshots.retain(|snapshot| {
        is_owned(&snapshot.metadata, uid) || is_of(snapshot, &claim_name) || is_left(snapshot)
    });
    let is_ours = |snapshot: &VolumeSnapshot| is_owned(&snapshot.metadata, uid);
    let mut unfinished: Vec<&ObjectMeta> = claim
        .iter()
        .filter(|claim| !is_bound(claim))
        .map(|claim| &claim.metadata)
        .chain(pods.iter().filter(|pod| is_starting(pod)).map(|pod| &pod.metadata))
        .chain(service.iter().filter(|service| has_no_address(service)).map(|service| &service.metadata))
        .chain(
            snapshots
                .iter()
                .filter(|snapshot| is_owned(&snapshot.metadata, uid) && !is_published(snapshot))
                .map(|snapshot| &snapshot.metadata),
        )
        .collect();
    let releasing = destination.status.as_ref().map(|status| status.releasing.as_slice()).unwrap_or_default();
    let unpublished = snapshots.iter().filter(|snapshot| is_ours(snapshot) && !is_published(snapshot));
    let is_finished = unfinished.is_empty() && releasing.is_empty();
    let known = snapshots_available.then_some(snapshots.as_slice());
    // All at once: between a snapshot that is ready and its publication there are two passes.
    let (contents, restores, snapshot_class, events) = tokio::try_join!(
        snapshots::contents(ctx, unpublished.collect(), releasing),
        restores::of(ctx, namespace, uid, &snapshots),
        classes::of(ctx, destination, known, is_ours),
        async { if is_finished { Ok(Vec::new()) } else { warning_events(ctx, namespace).await } },
    )?;
    unfinished.extend(contents.iter().map(|content| &content.metadata));
    let pending_since = youngest(&unfinished);
    let warnings = about(events, &unfinished);
    let around = surroundings(ctx, &destination.metadata, permissions, warnings);
    let mover = ctx.movers.follow(uid, &pods, Some(&base), &around.control_token);
    let names = destination.spec.hooks.iter().map(|hook| hook.module.as_str());
    let hooks = hooks::of(ctx, namespace, uid, names).await?;
    let service = service.filter(|service| is_owned(&service.metadata, uid));
    let observed = DestinationObserved {
        destination: destination.clone(),
        around,
        key_secrets,
        claim,
        service,
        pods,
        snapshots_available,
        snapshot_class,
        snapshots,
        restores,
        contents,
        mover,
        hooks,
    };
    Ok(Seen { observed, pending_since })
}

/// Namespace and uid: the API server gives both to every object of these kinds.
fn identity(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.uid.as_deref().unwrap_or_default())
}

fn surroundings(
    ctx: &Context,
    meta: &ObjectMeta,
    permissions: Permissions,
    warnings: Vec<Warning>,
) -> Surroundings {
    let (_, uid) = identity(meta);
    Surroundings {
        cluster_id: ctx.cluster_id.clone(),
        privileged_movers: permissions.privileged_movers,
        paused_by: permissions.paused_by,
        control_token: ctx.control_key.token(uid),
        warnings,
        refusals: ctx.refusals.show(uid, meta.generation, Instant::now()),
    }
}

async fn get<K>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    api.get_opt(name).await.map_err(failed(format!("{} {namespace}/{name}", K::kind(&()))))
}

async fn owned<K>(ctx: &Context, namespace: &str, uid: &str) -> Result<Vec<K>, ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let list = api.list(&labelled(uid)).await;
    list.map(|list| list.items).map_err(failed(format!("{} of {namespace}", K::plural(&()))))
}

fn labelled(uid: &str) -> ListParams {
    ListParams::default().labels(&format!("{}={uid}", names::OWNER_UID))
}

/// The pods that use the source claim: a mover is to read it beside them, or a clone is to be made where they run.
async fn users(ctx: &Context, source: &ReplicationSource) -> Result<Vec<Pod>, ObserveError> {
    let spec = source.spec.rsync.as_ref().map(|rsync| rsync.copy_method);
    let sync = source.status.as_ref().and_then(|status| status.current_sync.as_ref());
    let is_direct = [spec, sync.and_then(|sync| sync.copy_method)].contains(&Some(SourceCopyMethod::Direct));
    if sync.is_some_and(|sync| sync.cut.is_some()) && !is_direct {
        return Ok(Vec::new());
    }
    let (namespace, uid) = identity(&source.metadata);
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let list = api.list(&ListParams::default()).await.map_err(failed(format!("pods of {namespace}")))?;
    let mut pods = list.items;
    pods.retain(|pod| !is_owned(&pod.metadata, uid) && uses_claim(pod, &source.spec.source_pvc));
    Ok(pods)
}

/// What annotations of namespaces allow and forbid.
struct Permissions {
    privileged_movers: bool,
    paused_by: Option<String>,
}

async fn permissions(ctx: &Context, namespace: &str) -> Result<Permissions, ObserveError> {
    let (own, home) = tokio::try_join!(
        annotation(ctx, namespace, names::PRIVILEGED_MOVERS),
        annotation(ctx, &ctx.namespace, names::PAUSE_ALL),
    )?;
    let is_paused = home.is_some_and(|value| value != "false");
    Ok(Permissions {
        privileged_movers: own.as_deref() == Some("true"),
        paused_by: is_paused.then(|| ctx.namespace.clone()),
    })
}

async fn annotation(ctx: &Context, namespace: &str, key: &str) -> Result<Option<String>, ObserveError> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let meta = api.get_metadata_opt(namespace).await.map_err(failed(format!("Namespace {namespace}")))?;
    Ok(meta.and_then(|meta| meta.annotations().get(key).cloned()))
}

/// What Kubernetes warned of in a namespace.
async fn warning_events(ctx: &Context, namespace: &str) -> Result<Vec<Event>, ObserveError> {
    let api: Api<Event> = Api::namespaced(ctx.client.clone(), namespace);
    let list = api.list(&ListParams::default().fields("type=Warning")).await;
    Ok(list.map_err(failed(format!("Events of {namespace}")))?.items)
}

/// The warnings about these objects, newest last.
fn about(mut events: Vec<Event>, objects: &[&ObjectMeta]) -> Vec<Warning> {
    events.retain(|event| {
        let uid = event.involved_object.uid.as_deref();
        uid.is_some() && objects.iter().any(|meta| meta.uid.as_deref() == uid)
    });
    events.sort_by_key(last_seen);
    events.into_iter().filter_map(warning).collect()
}

fn warning(event: Event) -> Option<Warning> {
    Some(Warning {
        about: event.involved_object.uid?,
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    })
}

/// Events of the older and of the newer API carry their times in different places.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let old = event.last_timestamp.as_ref().map(|time| time.0);
    let new = event.event_time.as_ref().map(|time| time.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    series.max(old).max(new).or(created)
}

fn youngest(unfinished: &[&ObjectMeta]) -> Option<Timestamp> {
    unfinished.iter().filter_map(|meta| meta.creation_timestamp.as_ref()).map(|time| time.0).max()
}

fn is_owned(meta: &ObjectMeta, uid: &str) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(names::OWNER_UID)).is_some_and(|owner| owner == uid)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_none()
        && claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// Also one that is going: what holds it up is told in Events.
fn is_starting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending") == "Pending"
}

fn has_no_address(service: &Service) -> bool {
    let balanced = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balanced && balancer.and_then(|balancer| balancer.ingress.as_ref()).is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(value: serde_json::Value) -> Event {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_time_of_an_event_is_found_in_either_form() {
        let old = event(
            json!({"metadata": {"name": "a"}, "involvedObject": {}, "lastTimestamp": "2026-01-01T00:00:00Z"}),
        );
        let new = event(
            json!({"metadata": {"name": "b"}, "involvedObject": {}, "eventTime": "2026-01-01T00:00:01.000000Z"}),
        );
        let series = event(json!({
            "metadata": {"name": "c"}, "involvedObject": {}, "eventTime": "2025-01-01T00:00:00.000000Z",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}
        }));
        assert!(last_seen(&old) < last_seen(&new));
        assert!(last_seen(&new) < last_seen(&series));
    }

    #[test]
    fn a_load_balancer_without_an_address_is_unfinished() {
        let service = |value| serde_json::from_value::<Service>(value).unwrap();
        assert!(has_no_address(&service(json!({"spec": {"type": "LoadBalancer"}}))));
        assert!(!has_no_address(&service(json!({"spec": {"type": "ClusterIP"}}))));
        assert!(!has_no_address(&service(json!({
            "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        }))));
    }
}
