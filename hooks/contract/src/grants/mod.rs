//! What a module may touch. Nothing that is not named here.
//!
//! The types stand in a HookModule. Judgement is here too, so that the controller and the command line judge alike: it says yes with a
//! *permit*, which holds whatever is left to look at when the pods, the object or the address are known.

mod address;
mod exec;
mod http;
mod kubernetes;
mod selector;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use address::AddressRanges;
pub use exec::ExecPermit;
pub use http::HttpPermit;
pub use kubernetes::{KubePermit, ListPermit};
pub use selector::{Selector, SelectorError};

use crate::measure::Bytes;

/// What a module may touch. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grants {
    /// Commands in containers of the object's own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exec: Vec<ExecGrant>,
    /// Objects in the object's own namespace, through the hook's own ServiceAccount. Never Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub kubernetes: Vec<KubeGrant>,
    /// HTTP requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpGrant>,
    /// A small store of the module's own, for each object that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateGrant>,
}

/// Commands that a module may run, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecGrant {
    /// Labels that a pod must have, all of them.
    #[schemars(length(min = 1, max = 16))]
    pub pod_selector: BTreeMap<String, String>,
    /// Names of containers.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
    /// Each is a command with its arguments. The argument `*` stands for any one argument, `**` for any number of them. The command itself
    /// stands for itself only.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    pub commands: Vec<Vec<String>>,
}

/// Objects that a module may read or change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeGrant {
    /// API groups; the core group is the empty string.
    #[schemars(length(min = 1, max = 16), inner(length(max = 253)))]
    pub api_groups: Vec<String>,
    /// Resources, in the plural: `statefulsets`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub resources: Vec<String>,
    /// What may be done with them. `patch` includes `annotate`, `scale` and `suspend`; `get` includes waiting.
    #[schemars(length(min = 1, max = 6))]
    pub verbs: Vec<Verb>,
    /// Their names. `*` stands for all names, and what `list` needs; `db-*` for all that begin like that.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
}

/// What may be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Read one, or wait for it.
    Get,
    /// Read all.
    List,
    /// Change anything about it.
    Patch,
    /// Set or remove one annotation.
    Annotate,
    /// Set the number of replicas.
    Scale,
    /// Suspend a CronJob.
    Suspend,
}

impl Verb {
    /// As in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Annotate => "annotate",
            Self::Scale => "scale",
            Self::Suspend => "suspend",
        }
    }
}

/// Where a module may send HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGrant {
    /// Scheme, host and port: `https://pager.example.com:443`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 300)))]
    pub allow: Vec<String>,
    /// Private ranges in which the addresses of these hosts may lie: `10.20.0.0/16`. Without them only public addresses are dialled.
    /// Loopback, link-local and multicast addresses never are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub private_ranges: Vec<String>,
    /// Values that the module may send in a header and never sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub secrets: Vec<SecretGrant>,
}

/// A value of a Secret that a module may send in a header and never sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretGrant {
    /// What the module calls it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The Secret's name, in the object's own namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret: String,
    /// The key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// To whom it may be sent: some of `allow`.
    #[schemars(length(min = 1, max = 32))]
    pub to: Vec<String>,
}

/// A small store of the module's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateGrant {
    /// How much it may hold, keys included. Default and most: 256Ki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Bytes>,
}

impl StateGrant {
    /// How much it may hold, in bytes.
    pub fn bytes(&self) -> u64 {
        let most = crate::limits::fixed::STATE_BYTES;
        self.max_bytes.map_or(most, |bytes| bytes.0.min(most))
    }
}

/// Something was not granted. Says what would have to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl Denied {
    /// Because of this.
    pub fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A grant that cannot mean anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct GrantError {
    /// Which field, below the grants.
    pub field: String,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

/// Those that stand in both.
fn both<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    one.iter().filter(|grant| other.contains(grant)).cloned().collect()
}

impl Grants {
    /// What both of them grant, entry by entry: an entry that was changed is in neither.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let http = self.http.as_ref().zip(other.http.as_ref());
        Self {
            exec: both(&self.exec, &other.exec),
            kubernetes: both(&self.kubernetes, &other.kubernetes),
            http: http.map(|(one, other)| HttpGrant {
                allow: both(&one.allow, &other.allow),
                private_ranges: both(&one.private_ranges, &other.private_ranges),
                secrets: both(&one.secrets, &other.secrets),
            }),
            state: self.state.clone().filter(|_| other.state.is_some()),
        }
    }

    /// Looks for what a schema cannot see.
    ///
    /// # Errors
    ///
    /// Names the first field that cannot mean anything.
    pub fn validate(&self) -> Result<(), GrantError> {
        let at = |field: String, message: &str| Err(GrantError { field, message: message.to_owned() });
        for (number, grant) in self.exec.iter().enumerate() {
            if let Err((field, message)) = exec::validate(grant) {
                return at(format!("exec[{number}].{field}"), &message);
            }
        }
        for (number, grant) in self.kubernetes.iter().enumerate() {
            if let Err((field, message)) = kubernetes::validate(grant) {
                return at(format!("kubernetes[{number}].{field}"), &message);
            }
        }
        if let Some(Err((field, message))) = self.http.as_ref().map(http::validate) {
            return at(format!("http.{field}"), &message);
        }
        match self.state.as_ref().and_then(|state| state.max_bytes) {
            Some(bytes) if bytes.0 == 0 || bytes.0 > crate::limits::fixed::STATE_BYTES => {
                at("state.maxBytes".into(), "must be between 1 and 256Ki")
            }
            _ => Ok(()),
        }
    }
}

/// A field of a grant, and what is wrong with it.
type Flaw = (String, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_manual_is_valid() {
        let text = serde_json::json!({
            "exec": [{ "podSelector": { "app": "mysql" }, "containers": ["mysql"], "commands": [["mysql", "**"]] }],
            "kubernetes": [{ "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "scale"], "names": ["db"] }],
            "http": { "allow": ["https://pager.example.com:443"] },
            "state": { "maxBytes": "256Ki" },
        });
        let grants: Grants = serde_json::from_value(text).unwrap();
        assert_eq!(grants.validate(), Ok(()));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = serde_json::json!({ "exec": [], "files": ["/etc"] });
        assert!(serde_json::from_value::<Grants>(text).is_err());
    }

    #[test]
    fn what_cannot_mean_anything_is_named() {
        let grants =
            Grants { state: Some(StateGrant { max_bytes: Some(Bytes::mebi(1)) }), ..Grants::default() };
        assert_eq!(grants.validate().unwrap_err().to_string(), "state.maxBytes: must be between 1 and 256Ki");
    }
}
