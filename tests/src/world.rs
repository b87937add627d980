//! Scribe in the two clusters of the e2e tier, and a namespace of its own for each test.

use std::future::Future;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::cluster::{Cluster, repository};
use crate::dump::dump;
use crate::kubectl::Kubectl;
use crate::site::Site;
use crate::wait::await_condition;

/// The clusters of the e2e tier.
pub const CLUSTERS: [&str; 2] = ["e2e-west", "e2e-east"];
/// The namespace that Scribe is installed in.
pub const SYSTEM: &str = "scribe-system";
/// The name of the controller's Deployment.
pub const CONTROLLER: &str = "scribe-controller";

/// Installs Scribe from the manifests of a kustomization, and waits until it is ready. Where it was installed already, its pods
/// are replaced, since the image may be another under the same name.
///
/// # Errors
/// kubectl refuses a manifest, or the controller does not become ready.
pub async fn install(kubectl: &Kubectl, kustomization: &str) -> Result<()> {
    let folder = repository().join(kustomization);
    let folder = folder.to_str().context("the repository's path is not UTF-8")?;
    let deployments: Api<Deployment> = Api::namespaced(kubectl.client().await?, SYSTEM);
    let installed = deployments.get_opt(CONTROLLER).await?.is_some();
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "--kustomize", folder])?;
    if installed {
        kubectl.run(&["rollout", "restart", "deployment", CONTROLLER, "--namespace", SYSTEM])?;
    }
    let rolled_out = |deployment: Option<&Deployment>| deployment.is_some_and(is_rolled_out);
    await_condition(&deployments, CONTROLLER, "available", rolled_out).await?;
    Ok(())
}

/// The newest template runs, and nothing of an older one.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(1)
        && status.available_replicas == Some(1)
        && status.replicas == Some(1)
}

/// A source's side and a destination's side, each a namespace of its own.
#[derive(Clone)]
pub struct Pair {
    pub source: Site,
    pub destination: Site,
}

/// Where the two sides of a test are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Two namespaces of the first cluster.
    OneCluster,
    /// One namespace in each cluster.
    TwoClusters,
}

/// Runs a test with two namespaces, and removes them if it succeeds. If it fails, all that may explain it is printed, and the
/// namespaces stay until the clusters go.
///
/// # Errors
/// The test's own, or the world is not there.
pub async fn with_pair<F>(name: &str, span: Span, test: impl FnOnce(Pair) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let west = attach(CLUSTERS[0])?;
    let east = if span == Span::TwoClusters { attach(CLUSTERS[1])? } else { west.clone() };
    let pair = Pair {
        source: site(west, &format!("{name}-src")).await?,
        destination: site(east, &format!("{name}-dst")).await?,
    };
    let result = test(pair.clone()).await;
    for side in [&pair.source, &pair.destination] {
        if result.is_err() {
            dump(&side.cluster, &side.client, &side.namespace).await;
        } else {
            namespaces(&side.client).delete(&side.namespace, &DeleteParams::background()).await?;
        }
    }
    result
}

fn attach(name: &str) -> Result<Cluster> {
    Cluster::attach(name).context("the e2e tier needs its clusters: run it as `cargo xtask test e2e`")
}

fn namespaces(client: &Client) -> Api<Namespace> {
    Api::all(client.clone())
}

/// A new namespace of a cluster, whose name begins with `name`.
///
/// # Errors
/// The API server refuses it.
pub async fn site(cluster: Cluster, name: &str) -> Result<Site> {
    let client = cluster.client().await?;
    let metadata = ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let made =
        namespaces(&client).create(&PostParams::default(), &namespace).await.context("create a namespace")?;
    let namespace = made.metadata.name.context("a namespace has a name")?;
    Ok(Site { cluster, client, namespace })
}
