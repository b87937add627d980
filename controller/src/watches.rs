//! Everything that triggers a pass.
//!
//! Watches carry metadata only: a pass reads what it needs itself. So they cost little memory, and an object that this version cannot
//! read does not stop them.

use crate::context::Context;
use crate::kinds::{Reconciled, Side};
use crate::reconcile::reconcile;
use crate::router::{Followed, Owner, Router};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::utils::{Backoff, WatchStreamExt};
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::runtime::{Predicate, PredicateConfig, predicates};
use kube::{Api, Client, Resource, ResourceExt};
use scribe_crds::names::{MANAGED_BY, MANAGED_BY_VALUE, OWNER_UID};
use scribe_crds::snapshots::VolumeSnapshot;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Whether a watch has seen everything that was there when it began.
#[derive(Clone, Debug)]
pub struct Synced {
    /// What it watches.
    pub what: &'static str,
    is_done: watch::Sender<bool>,
}

impl Synced {
    /// Of a watch that has not begun.
    pub fn new(what: &'static str) -> Self {
        Self { what, is_done: watch::Sender::new(false) }
    }

    /// Whether it has.
    pub fn is_done(&self) -> bool {
        *self.is_done.borrow()
    }

    async fn wait(&self) {
        // The sender is here, so the channel cannot be closed.
        let _ = self.is_done.subscribe().wait_for(|is_done| *is_done).await;
    }

    /// It has.
    pub fn done(&self) {
        self.is_done.send_replace(true);
    }
}

/// A watch that comes back whenever it fails, and says so once for each kind of failure.
pub fn events<K>(api: Api<K>, config: watcher::Config, synced: Synced) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut last_error = String::new();
    watcher(api, config).backoff(backoff()).filter_map(move |event| {
        let event = match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    synced.done();
                    last_error.clear();
                }
                Some(event)
            }
            Err(error) => {
                let text = error.to_string();
                if text != last_error {
                    tracing::warn!(what = synced.what, error = &error as &dyn std::error::Error, "watch");
                    last_error = text;
                }
                None
            }
        };
        std::future::ready(event)
    })
}

fn backoff() -> impl Backoff {
    DefaultBackoff::default()
}

/// Runs the controller of one kind until `shutdown` resolves and the passes that run have ended.
pub async fn control<K: Reconciled>(
    watch_client: Client,
    ctx: Arc<Context>,
    triggers: UnboundedReceiver<ObjectRef<PartialObjectMeta<K>>>,
    synced: Synced,
    concurrency: u16,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (reader, writer) = store::<PartialObjectMeta<K>>();
    let mut known = Known::default();
    let tracked = ctx.clone();
    let changes = events::<PartialObjectMeta<K>>(Api::all(watch_client), watcher::Config::default(), synced)
        .map(|event| Ok(event.modify(|object| object.metadata.managed_fields = None)))
        .reflect(writer)
        // After the store has it: a trigger for an object that the store does not know would be lost.
        .inspect(move |event: &watcher::Result<Event<PartialObjectMeta<K>>>| {
            if let Ok(event) = event {
                known.learn(&tracked, event);
            }
        })
        .applied_objects()
        // Not on our own writes of the status: each is followed by another pass anyway.
        .predicate_filter(
            predicates::generation.combine(predicates::finalizers).combine(predicates::annotations),
            PredicateConfig::default(),
        );
    let triggers = futures::stream::unfold(triggers, |mut triggers| async {
        let object = triggers.recv().await?;
        Some((object, triggers))
    });
    Controller::for_stream(changes, reader)
        .with_config(Config::default().concurrency(concurrency))
        .reconcile_on(triggers)
        .graceful_shutdown_on(shutdown)
        .run(reconcile::<K>, |_, error: &Infallible, _| match *error {}, ctx)
        .for_each(|result| {
            if let Err(error) = result {
                // Mostly a trigger that came after its object had gone.
                tracing::debug!(error = &error as &dyn std::error::Error, "controller");
            }
            std::future::ready(())
        })
        .await;
}

/// Tells the router of objects that come and go. What a broken watch missed shows when it lists everything anew.
#[derive(Default)]
struct Known {
    listed: HashSet<String>,
}

impl Known {
    fn learn<K: Reconciled>(&mut self, ctx: &Context, event: &Event<PartialObjectMeta<K>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(object.uid().unwrap_or_default());
                add(&ctx.router, object);
            }
            Event::InitDone => {
                let gone = ctx.router.uids(K::SIDE).into_iter().filter(|uid| !self.listed.contains(uid));
                gone.for_each(|uid| forget(ctx, &uid));
                self.listed = HashSet::new();
            }
            Event::Apply(object) => add(&ctx.router, object),
            Event::Delete(object) => forget(ctx, &object.uid().unwrap_or_default()),
        }
    }
}

fn add<K: Reconciled>(router: &Router, object: &PartialObjectMeta<K>) {
    let owner =
        Owner { side: K::SIDE, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let (namespace, name) = (owner.namespace.clone(), owner.name.clone());
    let is_new = router.add(&object.uid().unwrap_or_default(), owner);
    if is_new && K::SIDE == Side::Module {
        router.wake_followers(Followed::Module, &namespace, &name);
    }
}

fn forget(ctx: &Context, uid: &str) {
    if let Some(Owner { side: Side::Module, namespace, name }) = ctx.forget(uid) {
        ctx.router.wake_followers(Followed::Module, &namespace, &name);
    }
}

/// Watches what surrounds replication objects, until the set is dropped. The answer says what readiness waits for.
pub fn surroundings(
    tasks: &mut JoinSet<()>,
    client: &Client,
    router: &Arc<Router>,
    home: &str,
) -> Vec<Synced> {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_VALUE}"));
    // Every claim: the one that a source waits for is nobody's.
    let claims =
        follow::<PersistentVolumeClaim>(tasks, client, "claims", watcher::Config::default(), router, claim);
    let pods = follow::<Pod>(tasks, client, "pods", ours.clone(), router, owned);
    // Of those that a module can be in only the names are kept, by who looks at them.
    let config_maps =
        follow::<ConfigMap>(tasks, client, "configmaps", watcher::Config::default(), router, config_map);
    let services = follow::<Service>(tasks, client, "services", ours.clone(), router, owned);
    let home = home.to_owned();
    let route = move |router: &Router, object: &_| namespace(router, object, &home);
    let namespaces =
        follow::<Namespace>(tasks, client, "namespaces", watcher::Config::default(), router, route);
    // Not part of readiness: a cluster may have no snapshots, or have them later.
    let snapshots = follow::<VolumeSnapshot>(tasks, client, "volumesnapshots", ours, router, owned);
    tasks.spawn(wake_when_done(snapshots, router.clone()));
    vec![claims, config_maps, pods, services, namespaces]
}

/// Objects that wait for snapshots to be possible at all are told when they are.
async fn wake_when_done(snapshots: Synced, router: Arc<Router>) {
    snapshots.wait().await;
    router.wake_side(Side::Source);
    router.wake_side(Side::Destination);
}

fn follow<K>(
    tasks: &mut JoinSet<()>,
    client: &Client,
    what: &'static str,
    config: watcher::Config,
    router: &Arc<Router>,
    route: impl Fn(&Router, &PartialObjectMeta<K>) + Send + 'static,
) -> Synced
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let synced = Synced::new(what);
    let events = events::<PartialObjectMeta<K>>(Api::all(client.clone()), config, synced.clone());
    let router = router.clone();
    tasks.spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) => {
                    route(&router, &object)
                }
                Event::Init | Event::InitDone => {}
            }
        }
    });
    synced
}

fn owned<K: Resource>(router: &Router, object: &PartialObjectMeta<K>)
where
    PartialObjectMeta<K>: ResourceExt,
{
    if let Some(owner) = object.labels().get(OWNER_UID) {
        router.wake(owner);
    }
}

fn claim(router: &Router, object: &PartialObjectMeta<PersistentVolumeClaim>) {
    owned(router, object);
    router.wake_followers(Followed::Claim, &object.namespace().unwrap_or_default(), &object.name_any());
}

fn config_map(router: &Router, object: &PartialObjectMeta<ConfigMap>) {
    router.wake_followers(Followed::ConfigMap, &object.namespace().unwrap_or_default(), &object.name_any());
}

/// What stands on the controller's own namespace concerns every object.
fn namespace(router: &Router, object: &PartialObjectMeta<Namespace>, home: &str) {
    let name = object.name_any();
    if name == home {
        router.wake_side(Side::Source);
        router.wake_side(Side::Destination);
    } else {
        router.wake_namespace(&name);
    }
}
