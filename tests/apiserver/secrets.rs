//! The controller and Secrets that are not its own, with exactly the rights that its manifests give it: it may not read them.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use scribe_crds::names::{OWNER_UID, RELATIONSHIP};
use scribe_crds::v1alpha1::{DestinationStatus, ReplicationDestination};
use scribe_tests::api_server::ApiServer;
use scribe_tests::cluster::{Binaries, install_snapshot_crds, repository};
use scribe_tests::site::{status, synchronizing};
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};

use crate::rules::install;

/// Who the controller is in a cluster.
const ACCOUNT: &str = "system:serviceaccount:scribe-system:scribe-controller";

/// An API server, and the controller beside it. There is no kubelet: claims and pods stay pending.
struct World {
    controllers: Vec<Child>,
    client: Client,
    folder: tempfile::TempDir,
    /// Dropped last.
    _server: ApiServer,
}

impl Drop for World {
    fn drop(&mut self) {
        for controller in &mut self.controllers {
            let _ = controller.kill();
            let _ = controller.wait();
        }
    }
}

impl World {
    async fn start(controllers: usize) -> Result<Self> {
        let server = ApiServer::start().await?;
        let client = server.client().await?;
        install(&client).await?;
        install_snapshot_crds(&client, &Binaries::ensure()?).await?;
        let role = manifest::<ClusterRole>("cluster-role.yaml")?;
        Api::all(client.clone()).create(&PostParams::default(), &role).await?;
        let binding = manifest::<ClusterRoleBinding>("cluster-role-binding.yaml")?;
        Api::all(client.clone()).create(&PostParams::default(), &binding).await?;
        let folder = tempfile::tempdir()?;
        let controllers =
            (0..controllers).map(|_| controller(&server, folder.path())).collect::<Result<_>>()?;
        Ok(Self { controllers, client, folder, _server: server })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A Secret as a user makes it.
    async fn secret(&self, name: &str, data: &[(&str, &str)]) -> Result<Secret> {
        let secret = json!({
            "metadata": { "name": name }, "stringData": data.iter().copied().collect::<BTreeMap<_, _>>()
        });
        let secret = serde_json::from_value(secret)?;
        Ok(self.api::<Secret>().create(&PostParams::default(), &secret).await?)
    }

    async fn destination(&self, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationDestination", "metadata": { "name": name },
            "spec": { "rsync": { "capacity": "1Gi", "accessModes": ["ReadWriteOnce"] } }
        });
        let object = serde_json::from_value(object)?;
        self.api::<ReplicationDestination>().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    async fn await_status(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&DestinationStatus) -> bool,
    ) -> Result<DestinationStatus> {
        let met = |rd: Option<&ReplicationDestination>| rd.is_some_and(|rd| condition(&status(rd)));
        let seen = await_condition(&self.api(), name, awaited, met).await;
        let seen = seen
            .with_context(|| std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())?;
        Ok(status(&seen.context("it was there")?))
    }

    /// The destination says that a write of this Secret is refused; the answer is what else it says.
    async fn refused(&self, destination: &str, secret: &str) -> Result<String> {
        let told = |status: &DestinationStatus| {
            let (reason, message) = synchronizing(&status.conditions);
            reason == "ObjectRefused" && message.contains(&format!("Secret {secret}: "))
        };
        let seen = self.await_status(destination, &format!("in want of Secret {secret}"), told).await?;
        Ok(synchronizing(&seen.conditions).1)
    }

    async fn with_keys(&self, destination: &str) -> Result<DestinationStatus> {
        let ready = |status: &DestinationStatus| {
            status.key_fingerprints.is_some() && status.method_status.contains_key("address")
        };
        self.await_status(destination, "with keys and an address", ready).await
    }

    /// Deletes a destination and waits until it is gone.
    async fn remove(&self, destination: &str) -> Result<()> {
        let api = self.api::<ReplicationDestination>();
        api.delete(destination, &DeleteParams::default()).await?;
        // No controller manager takes the protection off claims here.
        let claims = self.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        claims.patch(&format!("scribe-dst-{destination}"), &PatchParams::default(), &free).await?;
        await_condition(&api, destination, "gone", |rd| rd.is_none()).await?;
        Ok(())
    }
}

fn manifest<K: serde::de::DeserializeOwned>(file: &str) -> Result<K> {
    let path = repository().join("deploy/controller").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Starts the program that lies beside this one, as the account that it has in a cluster.
fn controller(server: &ApiServer, folder: &std::path::Path) -> Result<Child> {
    let mut config = Kubeconfig::read_from(server.kubeconfig())?;
    let info = config.auth_infos.first_mut().and_then(|user| user.auth_info.as_mut());
    info.context("the kubeconfig has a user")?.impersonate = Some(ACCOUNT.to_owned());
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, serde_json::to_string(&config)?)?;
    let key = folder.join("key");
    std::fs::write(&key, "a key for this test, and long enough")?;
    let own = std::env::current_exe()?;
    let program =
        own.ancestors().nth(2).context("tests lie in a folder of cargo's")?.join("scribe-controller");
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
    // It dies with the thread of the test, however that ends.
    Command::new("setpriv")
        .args(["--pdeathsig=KILL", "--"])
        .arg(&program)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--control-key-file")
        .arg(key)
        .args(["--admin-address=127.0.0.1:0", "--mover-image=none", "--api-retry-max=1s"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}: build it first", program.display()))
}

fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key)).map(|ByteString(bytes)| bytes.clone());
    String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

fn owner(secret: &Secret) -> Option<&String> {
    secret.metadata.labels.as_ref()?.get(OWNER_UID)
}

/// The whole life of a destination among Secrets that others made or changed.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_others_stay_as_they_are() -> Result<()> {
    let world = World::start(1).await?;
    let secrets = world.api::<Secret>();
    // One that was carried here for the reverse direction, and one that has nothing in common with what is to be written.
    let carried = world.secret("scribe-dst-db-source", &[("source", "mine"), ("address", "far")]).await?;
    let control = "scribe-dst-db-control";
    let unlike = world.secret(control, &[("password", "mine too")]).await?;
    world.destination("db").await?;
    for made in [&carried, &unlike] {
        let name = made.metadata.name.as_deref().context("a name")?;
        let message = world.refused("db", name).await?;
        ensure!(message.contains("delete or rename it"), "the way out is missing: {message}");
        ensure!(secrets.get(name).await? == *made, "Secret {name} was changed");
        secrets.delete(name, &DeleteParams::default()).await?;
    }
    // Both are out of the way: it goes on by itself.
    let seen = world.with_keys("db").await?;
    let ours = secrets.get("scribe-dst-db-source").await?;
    ensure!(owner(&ours).is_some() && text(&ours, "source") != "mine", "{:?}", ours.metadata);
    ensure!(text(&ours, "address") == seen.method_status["address"], "the address is not there");

    // What somebody writes into ours is his, too, and named.
    let pods = world.api::<Pod>();
    await_condition(&pods, "scribe-dst-db", "made", |pod| pod.is_some()).await?;
    let edit = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edited: Value = json!({ "stringData": { "token": "edited" } });
    secrets.patch(control, &edit, &Patch::Merge(edited)).await?;
    pods.delete("scribe-dst-db", &DeleteParams::default().grace_period(0)).await?;
    let message = world.refused("db", control).await?;
    ensure!(message.contains("kubectl-edit") && message.contains(".data.token"), "who did it? {message}");
    ensure!(text(&secrets.get(control).await?, "token") == "edited", "the edit was overwritten");
    secrets.delete(control, &DeleteParams::default()).await?;
    await_condition(&pods, "scribe-dst-db", "made anew", |pod| pod.is_some()).await?;

    // Our address replaces whatever stands in our Secret, and goes into no other.
    let strange = json!({ "stringData": { "address": "elsewhere" } });
    secrets.patch("scribe-dst-db-source", &edit, &Patch::Merge(strange)).await?;
    let rds = world.api::<ReplicationDestination>();
    let port = |port: u16| Patch::Merge(json!({ "spec": { "rsync": { "port": port } } }));
    rds.patch("db", &PatchParams::default(), &port(2022)).await?;
    let moved =
        |status: &DestinationStatus| status.method_status.get("port").is_some_and(|port| port == "2022");
    let seen = world.await_status("db", "at another port", moved).await?;
    let ours = secrets.get("scribe-dst-db-source").await?;
    ensure!(text(&ours, "address") == seen.method_status["address"], "the address is not the destination's");
    ensure!(text(&ours, "port") == "2022", "the port is the old one");
    secrets.delete("scribe-dst-db-source", &DeleteParams::default()).await?;
    let foreign = world.secret("scribe-dst-db-source", &[("password", "mine")]).await?;
    rds.patch("db", &PatchParams::default(), &port(2023)).await?;
    let message = world.refused("db", "scribe-dst-db-source").await?;
    ensure!(message.contains("does not belong to this object"), "{message}");
    ensure!(secrets.get("scribe-dst-db-source").await? == foreign, "the foreign Secret was changed");

    // And the end of the destination is none of theirs.
    world.remove("db").await?;
    ensure!(secrets.get("scribe-dst-db-source").await? == foreign, "the foreign Secret was changed");
    for name in ["scribe-dst-db", control] {
        ensure!(secrets.get_opt(name).await?.is_none(), "Secret {name} was left behind");
    }
    Ok(())
}

/// For a while there are two controllers: where one takes the place of another that is not gone yet.
#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_at_once_make_one_set_of_keys() -> Result<()> {
    let world = World::start(2).await?;
    let names: Vec<String> = (0..20).map(|number| format!("db{number}")).collect();
    for name in &names {
        world.destination(name).await?;
    }
    for name in &names {
        let keys = world.with_keys(name).await?.key_fingerprints.context("keys")?;
        let secrets = world.api::<Secret>();
        let own = secrets.get(&format!("scribe-dst-{name}")).await?;
        let carried = secrets.get(&format!("scribe-dst-{name}-source")).await?;
        ensure!(
            text(&carried, "relationship") == keys.relationship,
            "{name}: the source's keys are not the recorded ones"
        );
        for half in ["source.pub", "destination.pub"] {
            ensure!(text(&own, half) == text(&carried, half), "{name}: {half} differs between the Secrets");
        }
        let annotations = own.metadata.annotations.unwrap_or_default();
        let relationship = annotations.get(RELATIONSHIP);
        ensure!(relationship == Some(&keys.relationship), "{name}: the own keys are not the recorded ones");
    }
    Ok(())
}
