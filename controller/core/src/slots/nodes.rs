//! Which nodes a mover could be scheduled to, as far as that can be told from outside of the scheduler.

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint as KubernetesTaint, Toleration,
};
use scribe_crds::v1alpha1::MoverConfig;
use std::collections::{BTreeMap, BTreeSet};

/// What the scheduler looks at in a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What keeps pods away that do not tolerate it.
    pub taints: Vec<Taint>,
}

/// A mark that keeps pods away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, or nothing.
    pub value: String,
    /// `NoSchedule` or `NoExecute`; others keep nobody away for good.
    pub effect: String,
}

/// The taint of a node on which nothing new is to be scheduled.
const CORDONED: &str = "node.kubernetes.io/unschedulable";

impl Node {
    /// What there is to know of a node.
    pub fn new(node: &k8s_openapi::api::core::v1::Node) -> Self {
        let spec = node.spec.as_ref();
        let read = |taint: &KubernetesTaint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: taint.effect.clone(),
        };
        let mut taints: Vec<Taint> =
            spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten().map(read).collect();
        taints.retain(|taint| ["NoSchedule", "NoExecute"].contains(&taint.effect.as_str()));
        // The taint follows the field, but not at once.
        if spec.and_then(|spec| spec.unschedulable) == Some(true)
            && taints.iter().all(|taint| taint.key != CORDONED)
        {
            let (key, effect) = (CORDONED.to_owned(), "NoSchedule".to_owned());
            taints.push(Taint { key, value: String::new(), effect });
        }
        Self { labels: node.metadata.labels.clone().unwrap_or_default(), taints }
    }
}

/// The nodes that a mover could be scheduled to: its volume can be reached from there, its affinity wants them, and it tolerates their
/// taints. Resources are not looked at.
pub fn eligible(
    nodes: &BTreeMap<String, Node>,
    volume: Option<&NodeSelector>,
    mover: &MoverConfig,
) -> BTreeSet<String> {
    let affinity = mover.mover_affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let wanted =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let fits = |name: &str, node: &Node| {
        [volume, wanted].into_iter().flatten().all(|selector| selects(selector, name, node))
            && node
                .taints
                .iter()
                .all(|taint| mover.mover_tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    nodes.iter().filter(|(name, node)| fits(name, node)).map(|(name, _)| name.clone()).collect()
}

/// One of the terms has to match.
fn selects(selector: &NodeSelector, name: &str, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| matches(term, name, node))
}

/// Whether a term has no requirement: such a term matches nothing.
pub fn is_empty_term(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.iter().flatten().chain(term.match_fields.iter().flatten()).next().is_none()
}

/// All requirements of the term have to hold.
fn matches(term: &NodeSelectorTerm, name: &str, node: &Node) -> bool {
    let label = |requirement: &NodeSelectorRequirement| {
        holds(requirement, node.labels.get(&requirement.key).map(String::as_str))
    };
    // There is no other field by which a node can be selected.
    let field = |requirement: &NodeSelectorRequirement| {
        holds(requirement, Some(name).filter(|_| requirement.key == "metadata.name"))
    };
    !is_empty_term(term)
        && term.match_expressions.iter().flatten().all(label)
        && term.match_fields.iter().flatten().all(field)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_in = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let compares = |order: std::cmp::Ordering| {
        let number = |text: &str| text.parse::<i64>().ok();
        let (given, limit) = (value.and_then(number), values.first().and_then(|text| number(text)));
        given.zip(limit).is_some_and(|(given, limit)| given.cmp(&limit) == order)
    };
    match requirement.operator.as_str() {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compares(std::cmp::Ordering::Greater),
        "Lt" => compares(std::cmp::Ordering::Less),
        // A newer one: the scheduler decides.
        _ => true,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is = |given: &Option<String>, wanted: &str| given.as_deref().is_none_or(|given| given == wanted);
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = toleration.value.as_deref().unwrap_or_default();
    // Neither a key nor `Exists` is invalid; `Exists` without a key tolerates everything.
    ((key.is_empty() && exists) || key == taint.key)
        && (exists || value == taint.value)
        && (toleration.effect.as_deref() == Some("") || is(&toleration.effect, &taint.effect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(labels: serde_json::Value, spec: serde_json::Value) -> Node {
        let node = json!({"metadata": {"name": "n", "labels": labels}, "spec": spec});
        Node::new(&serde_json::from_value(node).unwrap())
    }

    fn names(volume: serde_json::Value, mover: serde_json::Value) -> Vec<String> {
        let nodes = BTreeMap::from([
            ("a".to_owned(), node(json!({"zone": "1", "disks": "3"}), json!({}))),
            ("b".to_owned(), node(json!({"zone": "2"}), json!({"unschedulable": true}))),
            (
                "c".to_owned(),
                node(
                    json!({"zone": "2"}),
                    json!({"taints": [{"key": "role", "value": "db", "effect": "NoSchedule"},
                    {"key": "slow", "effect": "PreferNoSchedule"}]}),
                ),
            ),
        ]);
        let volume: Option<NodeSelector> = serde_json::from_value(volume).unwrap();
        let mover: MoverConfig = serde_json::from_value(mover).unwrap();
        eligible(&nodes, volume.as_ref(), &mover).into_iter().collect()
    }

    fn selector(terms: serde_json::Value) -> serde_json::Value {
        json!({ "nodeSelectorTerms": terms })
    }

    #[test]
    fn taints_keep_movers_away_that_do_not_tolerate_them() {
        assert_eq!(names(json!(null), json!({})), ["a"]);
        let all = json!({"moverTolerations": [{"operator": "Exists"}]});
        assert_eq!(names(json!(null), all), ["a", "b", "c"]);
        let one =
            |value| json!({"moverTolerations": [{"key": "role", "value": value, "effect": "NoSchedule"}]});
        assert_eq!(names(json!(null), one("db")), ["a", "c"]);
        assert_eq!(names(json!(null), one("web")), ["a"]);
    }

    #[test]
    fn volumes_and_affinities_choose_nodes() {
        let tolerant = |terms| {
            json!({"moverTolerations": [{"operator": "Exists"}], "moverAffinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": selector(terms)}}})
        };
        let zone =
            |zone| json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]);
        assert_eq!(names(selector(zone("2")), tolerant(zone("2"))), ["b", "c"]);
        assert!(names(selector(zone("2")), tolerant(zone("1"))).is_empty());
        let named = |operator: &str| {
            let fields = json!([{"key": "metadata.name", "operator": operator, "values": ["c"]}]);
            tolerant(json!([{"matchFields": fields}, {}]))
        };
        assert_eq!(names(json!(null), named("In")), ["c"]);
        assert_eq!(names(selector(zone("2")), named("NotIn")), ["b"]);
        let disks = |operator: &str, limit: &str| {
            tolerant(
                json!([{"matchExpressions": [{"key": "disks", "operator": operator, "values": [limit]}]}]),
            )
        };
        assert_eq!(names(json!(null), disks("Gt", "2")), ["a"]);
        assert!(names(json!(null), disks("Lt", "3")).is_empty());
        assert_eq!(names(json!(null), disks("DoesNotExist", "")), ["b", "c"]);
    }
}
