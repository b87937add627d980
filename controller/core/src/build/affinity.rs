//! Which nodes a pod may run on, in addition to what its user asks for.

use k8s_openapi::api::core::v1::{Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

/// The only field of a node that pods can select by.
const NAME: &str = "metadata.name";

/// The affinity with the demand that it be this node. Terms are alternatives, so it goes into each of them.
pub fn on_node(given: Option<Affinity>, node: &str) -> Affinity {
    let mut affinity = given.unwrap_or_default();
    let demand = NodeSelectorRequirement {
        key: NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let nodes = affinity.node_affinity.get_or_insert_default();
    let required = nodes
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default()] });
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(demand.clone());
    }
    affinity
}

/// The one node that an affinity demands, if it does.
pub fn node(affinity: &Affinity) -> Option<&str> {
    let required =
        affinity.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
    let demand = fields.iter().find(|field| field.key == NAME && field.operator == "In")?;
    demand.values.as_ref()?.first().map(String::as_str)
}
