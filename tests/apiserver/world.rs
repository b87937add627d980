//! An API server with Scribe's controller beside it, which has exactly the rights that its manifests give it.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use scribe_crds::v1alpha1::{DestinationStatus, ReplicationDestination};
use scribe_tests::api_server::ApiServer;
use scribe_tests::cluster::{Binaries, install_snapshot_crds, repository};
use scribe_tests::site::{status, synchronizing};
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};

use crate::rules::install;

/// Who the controller is in a cluster.
const ACCOUNT: &str = "system:serviceaccount:scribe-system:scribe-controller";

/// Where it lives.
const SYSTEM: &str = "scribe-system";

/// The Lease that it takes unless told otherwise.
pub const LEASE: &str = "scribe-controller-leader";

/// An API server, and controllers beside it. There is no kubelet: claims and pods stay pending.
pub struct World {
    pub controllers: Vec<Child>,
    client: Client,
    folder: tempfile::TempDir,
    /// Dropped last.
    server: ApiServer,
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
    /// With a controller for each of these Leases: two of the same one take turns, two of different ones work at the same time.
    pub async fn start(leases: &[&str]) -> Result<Self> {
        Self::start_with(leases, &[], true).await
    }

    /// With more flags of the controller, and without the snapshot API, if so.
    pub async fn start_with(leases: &[&str], flags: &[&str], snapshots: bool) -> Result<Self> {
        let server = ApiServer::start().await?;
        let client = server.client().await?;
        install(&client).await?;
        if snapshots {
            install_snapshot_crds(&client, &Binaries::ensure()?).await?;
        }
        permit(&client, leases).await?;
        let folder = tempfile::tempdir()?;
        let controllers = leases.iter().enumerate();
        let controllers = controllers
            .map(|(number, lease)| controller(&server, folder.path(), number, lease, flags))
            .collect::<Result<_>>()?;
        Ok(Self { controllers, client, folder, server })
    }

    /// Starts one more controller.
    pub async fn start_another(&mut self, lease: &str) -> Result<()> {
        let number = self.controllers.len();
        self.controllers.push(controller(&self.server, self.folder.path(), number, lease, &[])?);
        Ok(())
    }

    /// Has the snapshot API from now on.
    pub async fn install_snapshots(&self) -> Result<()> {
        install_snapshot_crds(&self.client, &Binaries::ensure()?).await
    }

    /// What belongs to no namespace.
    pub fn all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// What belongs to no namespace, of a kind that has no type here.
    pub fn all_of(&self, kind: &ApiResource) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), kind)
    }

    /// What the controllers have logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Changes the annotations of the controller's namespace.
    pub async fn annotate_home(&self, annotations: Value) -> Result<()> {
        let change = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        Api::<Namespace>::all(self.client.clone()).patch(SYSTEM, &PatchParams::default(), &change).await?;
        Ok(())
    }

    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), SYSTEM)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A Secret as a user makes it.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) -> Result<Secret> {
        let secret = json!({
            "metadata": { "name": name }, "stringData": data.iter().copied().collect::<BTreeMap<_, _>>()
        });
        let secret = serde_json::from_value(secret)?;
        Ok(self.api::<Secret>().create(&PostParams::default(), &secret).await?)
    }

    pub async fn destination(&self, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationDestination", "metadata": { "name": name },
            "spec": { "rsync": { "capacity": "1Gi", "accessModes": ["ReadWriteOnce"] } }
        });
        let object = serde_json::from_value(object)?;
        self.api::<ReplicationDestination>().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    pub async fn await_status(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&DestinationStatus) -> bool,
    ) -> Result<DestinationStatus> {
        let met = |rd: Option<&ReplicationDestination>| rd.is_some_and(|rd| condition(&status(rd)));
        let seen = await_condition(&self.api(), name, awaited, met).await;
        let seen = seen.with_context(|| self.log())?;
        Ok(status(&seen.context("it was there")?))
    }

    /// Waits until the destination says that a write of this Secret is refused, in these words. It may say other things before.
    pub async fn refused(&self, destination: &str, secret: &str, words: &[&str]) -> Result<()> {
        let told = |status: &DestinationStatus| {
            let (reason, message) = synchronizing(&status.conditions);
            let about = format!("Secret {secret}: ");
            reason == "ObjectRefused"
                && [about.as_str()].iter().chain(words).all(|words| message.contains(words))
        };
        let awaited = format!("in want of Secret {secret}, saying {words:?}");
        self.await_status(destination, &awaited, told).await?;
        Ok(())
    }

    pub async fn with_keys(&self, destination: &str) -> Result<DestinationStatus> {
        let ready = |status: &DestinationStatus| {
            status.key_fingerprints.is_some() && status.method_status.contains_key("address")
        };
        self.await_status(destination, "with keys and an address", ready).await
    }

    /// Deletes a destination and waits until it is gone.
    pub async fn remove(&self, destination: &str) -> Result<()> {
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

/// Roles and bindings as they are shipped, and for Leases of other names.
async fn permit(client: &Client, leases: &[&str]) -> Result<()> {
    let create = PostParams::default();
    let system = serde_json::from_value(json!({ "metadata": { "name": SYSTEM } }))?;
    Api::<Namespace>::all(client.clone()).create(&create, &system).await?;
    let role = manifest::<ClusterRole>("cluster-role.yaml")?;
    Api::all(client.clone()).create(&create, &role).await?;
    let binding = manifest::<ClusterRoleBinding>("cluster-role-binding.yaml")?;
    Api::all(client.clone()).create(&create, &binding).await?;
    let mut role = manifest::<Role>("role.yaml")?;
    for rule in role.rules.iter_mut().flatten() {
        let names = rule.resource_names.iter_mut();
        let others = leases.iter().filter(|&&name| name != LEASE);
        names.for_each(|names| names.extend(others.clone().map(|&name| name.to_owned())));
    }
    Api::namespaced(client.clone(), SYSTEM).create(&create, &role).await?;
    let binding = manifest::<RoleBinding>("role-binding.yaml")?;
    Api::namespaced(client.clone(), SYSTEM).create(&create, &binding).await?;
    Ok(())
}

fn manifest<K: serde::de::DeserializeOwned>(file: &str) -> Result<K> {
    let path = repository().join("deploy/controller").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Starts a controller called `controller<number>`: the program that lies beside this one, as the account that it has in a cluster.
fn controller(
    server: &ApiServer,
    folder: &std::path::Path,
    number: usize,
    lease: &str,
    flags: &[&str],
) -> Result<Child> {
    let mut config = Kubeconfig::read_from(server.kubeconfig())?;
    let info = config.auth_infos.first_mut().and_then(|user| user.auth_info.as_mut());
    info.context("the kubeconfig has a user")?.impersonate = Some(ACCOUNT.to_owned());
    let kubeconfig = folder.join(format!("kubeconfig{number}"));
    std::fs::write(&kubeconfig, serde_json::to_string(&config)?)?;
    let key = folder.join(format!("key{number}"));
    std::fs::write(&key, "a key for this test, and long enough")?;
    let own = std::env::current_exe()?;
    let program =
        own.ancestors().nth(2).context("tests lie in a folder of cargo's")?.join("scribe-controller");
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
    // It dies with the thread of the test, however that ends.
    Command::new("setpriv")
        .args(["--pdeathsig=KILL", "--"])
        // One thread for everything: what holds it up holds up all, and is noticed.
        .env("TOKIO_WORKER_THREADS", "1")
        .arg(&program)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--control-key-file")
        .arg(key)
        .args(["--admin-address=127.0.0.1:0", "--mover-image=none", "--api-retry-max=1s"])
        .args(["--lease-duration=3s", "--lease-retry=200ms"])
        .args(flags)
        .args([format!("--instance=controller{number}"), format!("--lease-name={lease}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}: build it first", program.display()))
}
