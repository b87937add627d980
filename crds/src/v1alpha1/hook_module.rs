//! HookModule: where a WASM component comes from, and what one call of it may use.

use super::conditions_schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use scribe_hooks_contract::grants::Grants;
use scribe_hooks_contract::limits::Limits;
use scribe_hooks_contract::measure::{Bytes, Span};
use scribe_hooks_contract::points::Point;
use serde::{Deserialize, Serialize};

/// A WASM component that hooks of this namespace are made from.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "scribe.dev",
    version = "v1alpha1",
    kind = "HookModule",
    plural = "hookmodules",
    shortname = "hook",
    category = "scribe",
    namespaced,
    status = "HookModuleStatus",
    derive = "PartialEq",
    doc = "A WASM component that the hooks of ReplicationSources and ReplicationDestinations of its namespace are made from.",
    crates(kube_core = "::kube_core"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Module", type_ = "string", json_path = ".status.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Points", type_ = "string", json_path = ".status.exports"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest", priority = "1"),
    printcolumn(name = "API", type_ = "string", json_path = ".status.apiVersion", priority = "1"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "(has(self.configMap) ? 1 : 0) + (has(self.https) ? 1 : 0) + (has(self.oci) ? 1 : 0) + (has(self.file) ? 1 : 0) == 1",
    "set exactly one of spec.configMap, spec.https, spec.oci and spec.file: where the module comes from"
))]
pub struct HookModuleSpec {
    /// The module is in a ConfigMap of this namespace, which has room for 1 MiB. Make it with `kubectl create configmap NAME
    /// --from-file=hook.wasm`; gzipped modules are read as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapModule>,
    /// The module is downloaded. From addresses that are not public only where the controller's `--hook-module-hosts` names the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsModule>,
    /// The module is an artifact in an OCI registry, as `kubectl scribe hook push` makes it. From addresses that are not public only where the
    /// controller's `--hook-module-hosts` names the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciModule>,
    /// The module is a file that is mounted into the controller, below its `--hook-modules-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileModule>,
    /// What the module may touch, at the points Quiesce, Lifecycle and Failure. Nothing by default. Towards Kubernetes it acts as the ServiceAccount of the hook,
    /// whose rights bound this further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Grants>,
    /// What one call may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ModuleLimits>,
}

/// A module in a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapModule {
    /// The ConfigMap, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in its `binaryData`, for example `hook.wasm`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// The SHA-256 of what is there, in hexadecimal: what `sha256sum` prints. Without it, whoever may write the ConfigMap decides what runs with
    /// `spec.capabilities`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// A module that is downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct HttpsModule {
    /// Where it is. Redirects are followed on that host only.
    #[schemars(length(min = 9, max = 2048))]
    #[x_kube(validation = (
        "self.startsWith('https://') && isURL(self) && !self.contains('@')",
        "url must begin with https:// and hold no user and no password"
    ))]
    pub url: String,
    /// The SHA-256 of what is downloaded, in hexadecimal: what `sha256sum` prints.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// A module in an OCI registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "has(self.serviceAccountName) || (!has(self.pullSecret) && !has(self.publicKeys))",
    "pullSecret and publicKeys are read as a ServiceAccount of this namespace: set serviceAccountName"
))]
pub struct OciModule {
    /// The artifact, with its digest: `registry.example.com/hooks/keep-last:1.0@sha256:…`. `kubectl scribe hook push` prints it.
    #[schemars(length(min = 10, max = 1024))]
    #[x_kube(validation = (
        "self.matches('^[^@]+@sha256:[0-9a-f]{64}$')",
        "reference must end with the digest of the artifact, as in registry.example.com/hooks/keep-last:1.0@sha256:…"
    ))]
    pub reference: String,
    /// The Secret of type kubernetes.io/dockerconfigjson that the registry is asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub pull_secret: Option<String>,
    /// Keys, one of which has to have signed the artifact: `cosign sign --key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_keys: Option<PublicKeys>,
    /// The ServiceAccount, in this namespace, that reads these Secrets. It needs the right to `get` them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,
}

/// Where public keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeys {
    /// The Secret, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret: String,
    /// The key in it, for example `cosign.pub`: one or more public keys, as PEM.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A module in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct FileModule {
    /// The path below the controller's `--hook-modules-dir`, for example `team/keep-daily.wasm`.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = (
        "!self.startsWith('/') && !self.split('/').exists(part, part == '..' || part == '.' || part == '')",
        "path is relative to the controller's --hook-modules-dir: remove the leading / and every . and .."
    ))]
    pub path: String,
    /// The SHA-256 of what is there, in hexadecimal: what `sha256sum` prints. Without it, whoever may write the file decides what runs with
    /// `spec.capabilities`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// What one call of a module may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct ModuleLimits {
    /// Linear memory, all of the module's memories together. Default: 64Mi. At most 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "isQuantity(self) && quantity(self).compareTo(quantity('64Ki')) >= 0 && quantity(self).compareTo(quantity('256Mi')) <= 0",
        "limits.memory must be from 64Ki to 256Mi"
    ))]
    pub memory: Option<Bytes>,
    /// What a call may compute, in units of fuel, about one for each instruction. Default: 100000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub fuel: Option<u64>,
    /// How long a call may take. Default: 2s. At most 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('10ms') && duration(self) <= duration('10s')",
        "limits.pureTimeout must be from 10ms to 10s"
    ))]
    pub pure_timeout: Option<Span>,
    /// How long a call may take at the points Quiesce, Lifecycle and Failure. Default: 60s. At most 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('10ms') && duration(self) <= duration('15m')",
        "limits.timeout must be from 10ms to 15m"
    ))]
    pub timeout: Option<Span>,
    /// How long a call may compute at these points. Default: 10s. Never more than `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('10ms') && duration(self) <= duration('15m')",
        "limits.cpu must be from 10ms to 15m"
    ))]
    pub cpu: Option<Span>,
}

impl ModuleLimits {
    /// As the host of modules takes them.
    pub fn limits(&self) -> Limits {
        let Self { memory, fuel, pure_timeout, timeout, cpu } = *self;
        Limits { memory, fuel, pure_timeout, timeout, cpu }
    }
}

/// The status of a HookModule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookModuleStatus {
    /// What holds now: `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The name that the module gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version that the module gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of the module that hooks run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its size, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The size of what it was compiled to, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled_size: Option<u64>,
    /// The version of the hooks' API that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The points at which it can be asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Point>,
}
