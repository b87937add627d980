//! Which nodes a pod may run on, in addition to what its user asks for.
//!
//! Terms of a selector are alternatives: so each of them has to say it. One without any requirement matches nothing, and must stay so.

use crate::slots::is_empty_term;
use k8s_openapi::api::core::v1::{Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use std::collections::BTreeSet;

/// The only field of a node that pods can select by. Not the label kubernetes.io/hostname, which need not be the name.
const NAME: &str = "metadata.name";

/// The affinity that a user gave, and on this node.
pub fn on_node(given: Option<Affinity>, node: &str) -> Affinity {
    demand(given, vec![requirement("In", node)])
}

/// The affinity that a user gave, and away from these nodes.
pub fn away_from(given: Option<Affinity>, nodes: &BTreeSet<String>) -> Option<Affinity> {
    if nodes.is_empty() {
        return given;
    }
    Some(demand(given, nodes.iter().map(|node| requirement("NotIn", node)).collect()))
}

/// The one node that an affinity demands, if it does.
pub fn node(affinity: &Affinity) -> Option<&str> {
    let required =
        affinity.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().find_map(|term| term.match_fields.as_ref())?;
    let demand = fields.iter().find(|field| field.key == NAME && field.operator == "In")?;
    demand.values.as_ref()?.first().map(String::as_str)
}

/// The API allows one name in each requirement.
fn requirement(operator: &str, node: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: NAME.to_owned(),
        operator: operator.to_owned(),
        values: Some(vec![node.to_owned()]),
    }
}

fn demand(given: Option<Affinity>, requirements: Vec<NodeSelectorRequirement>) -> Affinity {
    let mut affinity = given.unwrap_or_default();
    let nodes = affinity.node_affinity.get_or_insert_default();
    match &mut nodes.required_during_scheduling_ignored_during_execution {
        Some(selector) => {
            for term in selector.node_selector_terms.iter_mut().filter(|term| !is_empty_term(term)) {
                term.match_fields.get_or_insert_default().extend(requirements.clone());
            }
        }
        required @ None => {
            let term = NodeSelectorTerm { match_fields: Some(requirements), ..NodeSelectorTerm::default() };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
    affinity
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn away(given: serde_json::Value, nodes: &[&str]) -> serde_json::Value {
        let given: Option<Affinity> = serde_json::from_value(given).unwrap();
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect();
        serde_json::to_value(away_from(given, &nodes)).unwrap()
    }

    fn required(terms: serde_json::Value) -> serde_json::Value {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    }

    fn not(name: &str) -> serde_json::Value {
        json!({"key": "metadata.name", "operator": "NotIn", "values": [name]})
    }

    #[test]
    fn every_alternative_of_the_user_keeps_away_and_no_new_one_is_opened() {
        assert_eq!(away(json!(null), &[]), json!(null));
        assert_eq!(away(json!(null), &["a", "b"]), required(json!([{"matchFields": [not("a"), not("b")]}])));
        let zone = json!({"key": "zone", "operator": "In", "values": ["1"]});
        let own = json!({"key": "metadata.name", "operator": "In", "values": ["c"]});
        let given = required(json!([{"matchExpressions": [zone]}, {"matchFields": [own]}, {}]));
        let expected = required(json!([
            {"matchExpressions": [zone], "matchFields": [not("a")]}, {"matchFields": [own, not("a")]}, {}
        ]));
        assert_eq!(away(given, &["a"]), expected);
        let preferred = json!({"podAntiAffinity": {}, "nodeAffinity": {}});
        let seen = away(preferred, &["a"]);
        assert_eq!(seen["nodeAffinity"], required(json!([{"matchFields": [not("a")]}]))["nodeAffinity"]);
        assert_eq!(seen["podAntiAffinity"], json!({}));
    }
}
