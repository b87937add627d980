//! Whether a hook's ServiceAccount may do what its module was granted: asked when the object changes, and not at night.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use scribe_hooks_contract::grants::{Grants, KubeGrant, Verb};

use crate::api::PATIENCE;
use crate::cause::chain;

/// Questions on the way at the same time.
const AT_ONCE: usize = 8;
/// Questions for one hook. Grants that need more are looked at so far.
const MOST: usize = 256;

/// One thing that a ServiceAccount has to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// As in a Role: `get`.
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: String,
    /// In the plural.
    pub resource: String,
    /// As in `pods/exec`.
    pub subresource: Option<&'static str>,
    /// The one object that is meant, if it is one.
    pub name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, subresource, name } = self;
        write!(f, "{verb} {resource}")?;
        if let Some(subresource) = subresource {
            write!(f, "/{subresource}")?;
        }
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

/// A right that is missing. Says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose it would be.
    pub service_account: String,
    /// Where.
    pub namespace: String,
    /// What.
    pub right: Right,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service_account, namespace, right } = self;
        let Right { verb, group, resource, subresource, .. } = right;
        let rule = subresource.map_or(resource.clone(), |subresource| format!("{resource}/{subresource}"));
        write!(
            f,
            "ServiceAccount {service_account} may not {right} in namespace {namespace}: bind a Role to it with apiGroups [\"{group}\"], resources [\"{rule}\"], verbs [\"{verb}\"]"
        )
    }
}

/// What a Role says that gives these rights, rule by rule, as YAML on one line each.
pub fn rules<'r>(rights: impl Iterator<Item = &'r Right>) -> Vec<String> {
    let mut verbs: BTreeMap<(&str, String, Option<&str>), Vec<&str>> = BTreeMap::new();
    for Right { verb, group, resource, subresource, name } in rights {
        let resource =
            subresource.map_or(resource.clone(), |subresource| format!("{resource}/{subresource}"));
        verbs.entry((group, resource, name.as_deref())).or_default().push(verb);
    }
    verbs
        .into_iter()
        .map(|((group, resource, name), verbs)| {
            let names = name.map_or(String::new(), |name| format!("resourceNames: [\"{name}\"], "));
            let verbs = verbs.join(", ");
            format!("{{ apiGroups: [\"{group}\"], resources: [{resource}], {names}verbs: [{verbs}] }}")
        })
        .collect()
}

/// The question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ask what ServiceAccount {service_account} may do: {why}")]
pub struct ReviewError {
    service_account: String,
    why: String,
}

/// What a ServiceAccount has to be allowed for a module with these grants to be able to use all of them.
pub fn needed(grants: &Grants) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let Grants { exec, kubernetes, http, state: _ } = grants;
    if !exec.is_empty() {
        let right = |verb, subresource| Right {
            verb,
            group: String::new(),
            resource: "pods".to_owned(),
            subresource,
            name: None,
        };
        // A WebSocket begins as a GET, and newer API servers ask for `create` as well.
        rights.extend([
            right("get", None),
            right("list", None),
            right("get", Some("exec")),
            right("create", Some("exec")),
        ]);
    }
    for grant in kubernetes {
        add(&mut rights, grant);
    }
    for secret in http.iter().flat_map(|http| &http.secrets) {
        rights.insert(Right {
            verb: "get",
            group: String::new(),
            resource: "secrets".to_owned(),
            subresource: None,
            name: Some(secret.secret.clone()),
        });
    }
    rights
}

fn add(rights: &mut BTreeSet<Right>, grant: &KubeGrant) {
    // What stands for more than one name needs the right to all.
    let is_one = |name: &&String| !name.ends_with('*');
    let all = [None];
    let names: Vec<Option<String>> = if grant.names.iter().all(|name| is_one(&name)) {
        grant.names.iter().cloned().map(Some).collect()
    } else {
        all.to_vec()
    };
    for (group, resource) in grant
        .api_groups
        .iter()
        .flat_map(|group| grant.resources.iter().map(move |resource| (group, resource)))
    {
        for verb in &grant.verbs {
            for (verb, subresource) in verbs(*verb) {
                for name in if *verb == "list" { &all[..] } else { &names } {
                    rights.insert(Right {
                        verb,
                        group: group.clone(),
                        resource: resource.clone(),
                        subresource: *subresource,
                        name: name.clone(),
                    });
                }
            }
        }
    }
}

/// What each verb of a grant asks of the API server.
fn verbs(verb: Verb) -> &'static [(&'static str, Option<&'static str>)] {
    match verb {
        Verb::Get => &[("get", None), ("watch", None)],
        Verb::List => &[("list", None)],
        Verb::Patch | Verb::Annotate | Verb::Suspend => &[("get", None), ("patch", None)],
        Verb::Scale => &[("get", Some("scale")), ("patch", Some("scale"))],
    }
}

/// Which of these rights the ServiceAccount does not have in that namespace. Costs one request for each right, so keep the answer for a while.
/// `own` must be allowed to create SubjectAccessReviews.
///
/// # Errors
///
/// The API server does not answer, or `own` may not ask.
pub async fn missing(
    own: &Client,
    namespace: &str,
    service_account: &str,
    rights: &BTreeSet<Right>,
) -> Result<Vec<Missing>, ReviewError> {
    let error = |why: String| ReviewError { service_account: service_account.to_owned(), why };
    let api: Api<SubjectAccessReview> = Api::all(own.clone());
    let asked = rights.iter().take(MOST).cloned().map(|right| {
        let (api, review) = (api.clone(), review(namespace, service_account, &right));
        async move {
            let answer = api.create(&PostParams::default(), &review).await?;
            Ok::<_, kube::Error>((!answer.status.is_some_and(|status| status.allowed)).then_some(right))
        }
    });
    // Held by nothing borrowed: callers run in tasks of their own.
    let asked: Vec<_> = asked.collect();
    let all = stream::iter(asked).buffered(AT_ONCE).try_collect::<Vec<_>>();
    let answers = tokio::time::timeout(PATIENCE, all).await.map_err(|_| error("no answer".to_owned()))?;
    let missing = answers.map_err(|cause| error(chain(&cause)))?.into_iter().flatten();
    Ok(missing
        .map(|right| Missing {
            service_account: service_account.to_owned(),
            namespace: namespace.to_owned(),
            right,
        })
        .collect())
}

fn review(namespace: &str, service_account: &str, right: &Right) -> SubjectAccessReview {
    let Right { verb, group, resource, subresource, name } = right;
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some((*verb).to_owned()),
        group: Some(group.clone()),
        resource: Some(resource.clone()),
        subresource: subresource.map(str::to_owned),
        name: name.clone(),
        ..ResourceAttributes::default()
    };
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{service_account}")),
            groups: Some(groups.to_vec()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grants(value: serde_json::Value) -> Grants {
        serde_json::from_value(value).unwrap()
    }

    fn shown(grants: &Grants) -> Vec<String> {
        needed(grants).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_needed_for_nothing() {
        assert!(needed(&grants(json!({ "state": {} }))).is_empty());
    }

    #[test]
    fn a_grant_names_what_its_verbs_need() {
        let grants = grants(json!({ "kubernetes": [
            { "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "scale"], "names": ["db"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "annotate"], "names": ["*", "db-0"] },
        ] }));
        let expected = [
            "get pods",
            "get statefulsets.apps db",
            "get statefulsets/scale.apps db",
            "list pods",
            "patch pods",
            "patch statefulsets/scale.apps db",
            "watch statefulsets.apps db",
        ];
        assert_eq!(shown(&grants), expected);
    }

    #[test]
    fn what_a_role_says_stands_in_rules() {
        let grants = grants(json!({ "kubernetes": [
            { "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["scale"], "names": ["db"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "names": ["*"] },
        ] }));
        let expected = [
            r#"{ apiGroups: [""], resources: [pods], verbs: [list] }"#,
            r#"{ apiGroups: ["apps"], resources: [statefulsets/scale], resourceNames: ["db"], verbs: [get, patch] }"#,
        ];
        assert_eq!(rules(needed(&grants).iter()), expected);
    }

    #[test]
    fn commands_and_secrets_need_rights_too() {
        let grants = grants(json!({
            "exec": [{ "podSelector": { "app": "db" }, "containers": ["db"], "commands": [["psql"]] }],
            "http": { "allow": ["https://a.example.com:443"], "secrets": [
                { "name": "token", "secret": "pager", "key": "t", "to": ["https://a.example.com:443"] }] },
        }));
        let expected = ["create pods/exec", "get pods", "get pods/exec", "get secrets pager", "list pods"];
        assert_eq!(shown(&grants), expected);
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_out() {
        let right = Right {
            verb: "create",
            group: String::new(),
            resource: "pods".into(),
            subresource: Some("exec"),
            name: None,
        };
        let missing = Missing { service_account: "db-hook".into(), namespace: "shop".into(), right };
        assert_eq!(
            missing.to_string(),
            "ServiceAccount db-hook may not create pods/exec in namespace shop: bind a Role to it with apiGroups [\"\"], resources [\"pods/exec\"], verbs [\"create\"]"
        );
    }
}
