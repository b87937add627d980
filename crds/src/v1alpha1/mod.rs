//! Version `v1alpha1` of the API.

mod destination;
mod destination_status;
mod effects;
mod guards;
mod hook_module;
mod hooks;
mod mover;
mod quiesce;
mod source;
mod status;
mod trigger;

pub use destination::*;
pub use destination_status::*;
pub use effects::*;
pub use guards::*;
pub use hook_module::*;
pub use hooks::*;
pub use mover::*;
pub use quiesce::*;
pub use source::*;
pub use status::*;
pub use trigger::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A replication that a storage vendor's own operator carries out.
///
/// Scribe leaves such an object alone entirely: it writes no status, sends no events and makes no children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Who answers this object, as `domain/name`, for example `storage.example.com/mirror`.
    #[schemars(regex(
        pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ))]
    pub provider: String,
    /// What the provider needs to know, in the provider's own words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A list of Kubernetes conditions, merged by their `type`.
///
/// Without the list type, server-side apply by two owners would replace the whole list.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = <Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["type"]));
    schema
}
