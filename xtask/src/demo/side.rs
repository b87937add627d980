//! One of the two clusters of the demo.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use scribe_tests::cluster::{Cluster, Options};
use scribe_tests::images::POSTGRES_IMAGE;
use scribe_tests::kubectl::Kubectl;
use scribe_tests::wait::{await_condition, await_condition_within};
use serde_json::json;

/// The namespace of the demo, on both sides.
pub const NAMESPACE: &str = "scribe-demo";

/// A cluster and how to talk to it.
pub struct Side {
    pub name: String,
    pub kubectl: Kubectl,
    pub client: Client,
    /// Whether it is ours, to be stopped and removed.
    pub ours: Option<Cluster>,
}

impl Side {
    /// A development cluster, started if need be.
    pub async fn start(name: &str, options: &Options) -> Result<Self> {
        let cluster = Cluster::up(name, options).await.with_context(|| format!("start cluster {name}"))?;
        let kubectl = Kubectl::of(&cluster);
        Ok(Self { name: name.into(), client: kubectl.client().await?, kubectl, ours: Some(cluster) })
    }

    /// A cluster of the user's.
    pub async fn attach(context: &str) -> Result<Self> {
        let kubectl = Kubectl::context(context);
        let client = kubectl.client().await.with_context(|| format!("context {context}"))?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("reach the cluster of context {context}"))?;
        Ok(Self { name: context.into(), client, kubectl, ours: None })
    }

    pub fn sources(&self) -> Api<ReplicationSource> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub fn destinations(&self) -> Api<ReplicationDestination> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Applies the manifests of PostgreSQL and waits until it answers.
    pub async fn start_postgres(&self, image: &str) -> Result<()> {
        self.kubectl.apply(&include_str!("postgres.yaml").replace(POSTGRES_IMAGE, image))?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let ready = |pod: Option<&Pod>| {
            let conditions =
                pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
        };
        await_condition_within(Duration::from_secs(300), &pods, "postgres", "ready", ready).await?;
        Ok(())
    }

    /// Runs a program beside PostgreSQL and returns what it prints.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let mut arguments = vec!["exec", "--namespace", NAMESPACE, "postgres", "--"];
        arguments.extend(words);
        self.kubectl.run(&arguments)
    }

    /// The answer to a query, without any decoration.
    pub fn query(&self, sql: &str) -> Result<String> {
        Ok(self.exec(&["psql", "--no-align", "--tuples-only", "--command", sql])?.trim().to_owned())
    }

    /// Waits until a destination is there for its source, and copies its Secret to the other cluster.
    pub async fn carry_secret(&self, to: &Side, name: &str) -> Result<String> {
        let published = |rd: Option<&ReplicationDestination>| {
            let status = rd.and_then(|rd| rd.status.as_ref());
            status.is_some_and(|status| status.method_status.contains_key("sshKeys"))
        };
        let rd = await_condition(&self.destinations(), "postgres", "listening", published).await?;
        let method = rd.and_then(|rd| rd.status).map(|status| status.method_status).unwrap_or_default();
        let (Some(secret), Some(address), Some(port)) =
            (method.get("sshKeys"), method.get("address"), method.get("port"))
        else {
            bail!("the destination published {method:?}, not sshKeys, address and port");
        };
        let here: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let there: Api<Secret> = Api::namespaced(to.client.clone(), NAMESPACE);
        let data = here.get(secret).await.context("read the Secret for the source")?.data;
        let copy =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": data });
        there
            .patch(name, &PatchParams::apply("demo"), &Patch::Apply(copy))
            .await
            .context("write the Secret")?;
        Ok(format!("{address}:{port}"))
    }

    /// Stops it as a disaster would: no process of it is asked.
    pub fn stop_abruptly(&self) -> Result<()> {
        match &self.ours {
            Some(cluster) => Cluster::down(cluster.name()),
            // What is not ours is not stopped: its database dies, and what replicates it is gone.
            None => {
                let pod =
                    ["delete", "pod", "postgres", "--namespace", NAMESPACE, "--grace-period=0", "--force"];
                self.kubectl.run(&pod)?;
                self.kubectl
                    .run(&["delete", "replicationsource", "postgres", "--namespace", NAMESPACE])
                    .map(drop)
            }
        }
    }

    /// Takes away all that the demo made.
    pub fn remove(&self) -> Result<()> {
        match &self.ours {
            Some(cluster) => Cluster::down(cluster.name()),
            None => self.kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).map(drop),
        }
    }
}
