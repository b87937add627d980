//! A namespace with a ServiceAccount, on an API server that all tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use scribe_hooks_contract::context::ObjectRef;
use scribe_hooks_contract::grants::{Grants, KubePermit, Verb};
use scribe_hooks_contract::undo::Undo;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{Call, Identities, Journal, JournalError, KubeHost, Platform, Subject};
use scribe_tests::api_server::ApiServer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

static SERVER: OnceCell<ApiServer> = OnceCell::const_new();
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// The ServiceAccount of the hook.
pub const ACCOUNT: &str = "db-hook";

pub struct World {
    /// With all rights.
    pub admin: Client,
    /// The hook's ServiceAccount.
    pub acting: Client,
    pub identities: Identities,
    pub namespace: String,
    pub platform: Platform,
    pub journal: Arc<Memory>,
    pub owner: ConfigMap,
}

/// A journal that remembers, and refuses if told to.
#[derive(Default)]
pub struct Memory {
    pub entries: Mutex<Vec<Undo>>,
    pub refuses: Mutex<Option<JournalError>>,
}

#[async_trait]
impl Journal for Memory {
    async fn write(&self, undo: Undo) -> Result<(), JournalError> {
        if let Some(error) = self.refuses.lock().unwrap().clone() {
            return Err(error);
        }
        self.entries.lock().unwrap().push(undo);
        Ok(())
    }
}

impl Memory {
    pub fn entries(&self) -> Vec<Undo> {
        self.entries.lock().unwrap().clone()
    }
}

impl World {
    /// `rules` is what the ServiceAccount may do.
    pub async fn start(rules: Value) -> Self {
        let server = SERVER.get_or_try_init(ApiServer::start).await.unwrap();
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let admin = Client::try_from(config.clone()).unwrap();
        let namespace = format!("shop-{}", NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let all: Api<Namespace> = Api::all(admin.clone());
        all.create(&PostParams::default(), &read(json!({ "metadata": { "name": namespace } })))
            .await
            .unwrap();
        let identities = Identities::new(&config, admin.clone());
        let acting = identities.client(&namespace, ACCOUNT).unwrap();
        let platform = Platform::new(admin.clone(), "test", HttpClient::new(None).unwrap());
        let owner = Api::namespaced(admin.clone(), &namespace);
        let owner: ConfigMap = owner
            .create(&PostParams::default(), &read(json!({ "metadata": { "name": "owner" } })))
            .await
            .unwrap();
        let world = Self { admin, acting, identities, namespace, platform, journal: Arc::default(), owner };
        world.make::<ServiceAccount>(json!({ "metadata": { "name": ACCOUNT } })).await;
        world.allow(rules).await;
        world
    }

    /// Gives the ServiceAccount more rights.
    pub async fn allow(&self, rules: Value) {
        let name = format!("hook-{:08x}", rand::random::<u32>());
        self.make::<Role>(json!({ "metadata": { "name": name }, "rules": rules })).await;
        self.make::<RoleBinding>(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace }],
        }))
        .await;
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    pub async fn make<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        self.api::<K>().create(&PostParams::default(), &read(object)).await.unwrap()
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        self.api::<K>().delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// The object that names the hook.
    pub fn subject(&self) -> Subject {
        Subject {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: self.namespace.clone(),
            name: "owner".into(),
            uid: self.owner.metadata.uid.clone().unwrap(),
        }
    }

    pub fn host(&self) -> KubeHost {
        self.host_of("mysql")
    }

    pub fn host_of(&self, module: &str) -> KubeHost {
        self.platform.host(Call {
            acting: self.acting.clone(),
            subject: self.subject(),
            module: module.into(),
            journal: Some(self.journal.clone()),
        })
    }

    /// What the host of modules hands over for an object, if everything was granted.
    pub fn permit(&self, api_version: &str, kind: &str, name: &str) -> KubePermit {
        let target = ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: String::new(),
            name: name.into(),
            uid: None,
        };
        let verb = if kind == "CronJob" { Verb::Suspend } else { Verb::Patch };
        granted().permit_kube(verb, &target, &self.namespace).unwrap()
    }

    pub fn stateful_set(&self, name: &str) -> KubePermit {
        self.permit("apps/v1", "StatefulSet", name)
    }

    pub async fn make_stateful_set(&self, name: &str, replicas: u32) -> StatefulSet {
        self.make(json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": replicas, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
                "template": { "metadata": { "labels": { "app": "db" } }, "spec": { "containers": [{ "name": "db", "image": "db" }] } },
            },
        }))
        .await
    }

    pub async fn replicas(&self, name: &str) -> i32 {
        self.api::<StatefulSet>().get(name).await.unwrap().spec.unwrap().replicas.unwrap()
    }
}

/// A grant of everything that is used here.
pub fn granted() -> Grants {
    read(json!({ "kubernetes": [{
        "apiGroups": ["", "apps", "batch"], "resources": ["configmaps", "statefulsets", "cronjobs", "pods"],
        "verbs": ["get", "list", "patch", "suspend"], "names": ["*"],
    }] }))
}

/// All rights to what is used here.
pub fn everything() -> Value {
    json!([{
        "apiGroups": ["", "apps", "batch"],
        "resources": ["configmaps", "statefulsets", "statefulsets/scale", "cronjobs", "pods"],
        "verbs": ["get", "list", "watch", "patch"],
    }])
}

pub fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
