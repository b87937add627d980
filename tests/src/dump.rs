//! All that may explain a failed test, on standard error.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Service};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::world::SYSTEM;

/// Lines of each log.
const LOG_LINES: i64 = 200;

/// Prints the objects of a namespace, its events, the logs of its pods and of the controller. Never Secrets.
pub async fn dump(cluster: &Cluster, client: &Client, namespace: &str) {
    eprintln!("==== cluster {}, namespace {namespace} ====", cluster.name());
    objects::<ReplicationSource>(client, namespace).await;
    objects::<ReplicationDestination>(client, namespace).await;
    objects::<PersistentVolumeClaim>(client, namespace).await;
    objects::<VolumeSnapshot>(client, namespace).await;
    objects::<Service>(client, namespace).await;
    objects::<Pod>(client, namespace).await;
    events(client, namespace).await;
    logs(client, namespace).await;
    logs(client, SYSTEM).await;
}

async fn objects<K>(client: &Client, namespace: &str)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
    K::DynamicType: Default,
{
    let Ok(list) = Api::<K>::namespaced(client.clone(), namespace).list(&ListParams::default()).await else {
        return;
    };
    for mut object in list {
        object.meta_mut().managed_fields = None;
        eprintln!(
            "---- {}\n{}",
            K::kind(&K::DynamicType::default()),
            serde_saphyr::to_string(&object).unwrap_or_default()
        );
    }
}

async fn events(client: &Client, namespace: &str) {
    let Ok(list) = Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await
    else {
        return;
    };
    for event in list {
        let about = event.involved_object;
        eprintln!(
            "event {} {}: {} {}",
            about.kind.unwrap_or_default(),
            about.name.unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default()
        );
    }
}

async fn logs(client: &Client, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let Ok(list) = pods.list(&ListParams::default()).await else { return };
    for name in list.into_iter().filter_map(|pod| pod.metadata.name) {
        let parameters = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        if let Ok(log) = pods.logs(&name, &parameters).await {
            eprintln!("---- log of {name}\n{log}");
        }
    }
}
