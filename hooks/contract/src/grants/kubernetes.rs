//! Which objects may be read or changed.

use super::{Denied, Flaw, Grants, KubeGrant, Selector, Verb};
use crate::context::ObjectRef;
use crate::effects::ListQuery;

/// An object may be touched, by this address and no other: it is what was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubePermit {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// In the plural: `statefulsets`.
    pub resource: String,
    /// As the module said it.
    pub kind: String,
    /// The object's own namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// If there is one, it must be this very object.
    pub uid: Option<String>,
}

/// The longest name in Kubernetes, in bytes.
const LONGEST: usize = 253;

/// Objects may be listed, by this address and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPermit {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// In the plural: `pods`.
    pub resource: String,
    /// As the module said it.
    pub kind: String,
    /// The object's own namespace.
    pub namespace: String,
    /// Which of them.
    pub selector: Selector,
    /// At most so many.
    pub limit: u32,
}

impl Grants {
    /// May this be done to that object? `namespace` is the one of the object that names the hook.
    ///
    /// # Errors
    ///
    /// Says what was not granted.
    pub fn permit_kube(&self, verb: Verb, target: &ObjectRef, namespace: &str) -> Result<KubePermit, Denied> {
        let (group, version, resource) = address(&target.api_version, &target.kind)?;
        if !target.namespace.is_empty() && target.namespace != namespace {
            return Err(Denied::because("a hook reaches only the namespace of the object that names it"));
        }
        if !is_object_name(&target.name) {
            return Err(Denied::because("target.name is not the name of an object"));
        }
        if verb == Verb::Suspend && (group, resource.as_str()) != ("batch", "cronjobs") {
            return Err(Denied::because("only a CronJob of batch/v1 can be suspended"));
        }
        let is_named = |grant: &KubeGrant| grant.names.iter().any(|pattern| covers(pattern, &target.name));
        if !self.kubernetes.iter().any(|grant| grants(grant, verb, group, &resource) && is_named(grant)) {
            return Err(Denied::because(format!(
                "no kubernetes grant has verb {} for {} `{}`",
                verb.as_str(),
                shown(group, &resource),
                target.name
            )));
        }
        Ok(KubePermit {
            group: group.to_owned(),
            version: version.to_owned(),
            resource,
            kind: target.kind.clone(),
            namespace: namespace.to_owned(),
            name: target.name.clone(),
            uid: target.uid.clone(),
        })
    }

    /// May these objects be listed? `namespace` is the one of the object that names the hook.
    ///
    /// # Errors
    ///
    /// Says what was not granted.
    pub fn permit_list(&self, query: &ListQuery, namespace: &str) -> Result<ListPermit, Denied> {
        let (group, version, resource) = address(&query.api_version, &query.kind)?;
        let selector = Selector::parse(&query.label_selector)
            .map_err(|error| Denied::because(format!("label-selector: {error}")))?;
        // A list shows every name.
        let is_all = |grant: &KubeGrant| grant.names.iter().any(|pattern| pattern == "*");
        if !self.kubernetes.iter().any(|grant| grants(grant, Verb::List, group, &resource) && is_all(grant)) {
            return Err(Denied::because(format!(
                "no kubernetes grant has verb list and name * for {}",
                shown(group, &resource)
            )));
        }
        Ok(ListPermit {
            group: group.to_owned(),
            version: version.to_owned(),
            resource,
            kind: query.kind.clone(),
            namespace: namespace.to_owned(),
            selector,
            limit: query.limit.min(crate::limits::fixed::KUBE_LIST),
        })
    }
}

fn shown(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn grants(grant: &KubeGrant, verb: Verb, group: &str, resource: &str) -> bool {
    let is_verb = grant.verbs.contains(&verb)
        || (grant.verbs.contains(&Verb::Patch)
            && matches!(verb, Verb::Annotate | Verb::Scale | Verb::Suspend));
    is_verb
        && grant.api_groups.iter().any(|granted| granted == group)
        && grant.resources.iter().any(|granted| granted == resource)
}

fn covers(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Group, version and resource of what a module calls by `apiVersion` and `kind`.
fn address<'a>(api_version: &'a str, kind: &str) -> Result<(&'a str, &'a str, String), Denied> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_group = group.is_empty() && !api_version.contains('/') || is_object_name(group);
    if !is_group || version.is_empty() || version.len() > 63 || !is_word(version) {
        return Err(Denied::because("api-version is not one: write it like `v1` or `apps/v1`"));
    }
    let is_kind = kind.len() <= 63
        && kind.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_kind {
        return Err(Denied::because("kind is not one: write it like `StatefulSet`"));
    }
    let resource = plural(kind);
    if group.is_empty() && resource == "secrets" {
        return Err(Denied::because("Secrets are never shown to a hook, whatever was granted"));
    }
    Ok((group, version, resource))
}

/// The plural of a kind, by the rule that the API machinery guesses with. A resource with another plural is not found; what is judged
/// is always what is addressed.
fn plural(kind: &str) -> String {
    let singular = kind.to_ascii_lowercase();
    if singular == "endpoints" {
        singular
    } else if ["s", "x", "ch", "sh"].iter().any(|end| singular.ends_with(end)) {
        format!("{singular}es")
    } else if let Some(stem) = singular.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{singular}s")
    }
}

/// A DNS subdomain (RFC 1123), which every object's name is that a module may reach: no slash, no `..`, nothing to escape.
pub(super) fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_end = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && is_end(bytes.first())
            && is_end(bytes.last())
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

pub(super) fn validate(grant: &KubeGrant) -> Result<(), Flaw> {
    for (field, is_empty) in [
        ("apiGroups", grant.api_groups.is_empty()),
        ("resources", grant.resources.is_empty()),
        ("verbs", grant.verbs.is_empty()),
        ("names", grant.names.is_empty()),
    ] {
        if is_empty {
            return Err((field.into(), "is empty: then nothing is granted".into()));
        }
    }
    for (field, texts) in
        [("apiGroups", &grant.api_groups), ("resources", &grant.resources), ("names", &grant.names)]
    {
        if texts.iter().any(|text| text.len() > LONGEST) {
            return Err((field.into(), format!("one is longer than {LONGEST} bytes: no name is")));
        }
    }
    if let Some(group) = grant.api_groups.iter().find(|group| !group.is_empty() && !is_object_name(group)) {
        return Err(("apiGroups".into(), format!("`{group}` is not an API group: name each, there is no *")));
    }
    for resource in &grant.resources {
        if resource == "secrets" && grant.api_groups.iter().any(String::is_empty) {
            return Err(("resources".into(), "Secrets are never shown to a hook: use http.secrets".into()));
        }
        let is_plain = resource.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if resource.is_empty() || !is_plain {
            return Err((
                "resources".into(),
                format!(
                    "`{resource}` is not a resource: name each in the plural, like statefulsets; there is no *"
                ),
            ));
        }
    }
    for name in &grant.names {
        let start = name.strip_suffix('*').unwrap_or(name);
        let is_start =
            start.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        if name.is_empty() || !is_start {
            return Err(("names".into(), format!("`{name}` is neither a name nor the start of one and a *")));
        }
    }
    if grant.verbs.contains(&Verb::List) && !grant.names.iter().any(|name| name == "*") {
        return Err((
            "names".into(),
            "verb list shows every name: add the name *, or remove the verb".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        let grant = |group: &str, resource: &str, verbs: &[Verb], names: &[&str]| KubeGrant {
            api_groups: vec![group.to_owned()],
            resources: vec![resource.to_owned()],
            verbs: verbs.to_vec(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Grants {
            kubernetes: vec![
                grant("apps", "statefulsets", &[Verb::Get, Verb::Scale], &["db", "web-*"]),
                grant("", "pods", &[Verb::List], &["*"]),
                grant("", "secrets", &[Verb::Get, Verb::List], &["*"]),
                grant("batch", "cronjobs", &[Verb::Patch], &["*"]),
            ],
            ..Grants::default()
        }
    }

    fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..ObjectRef::default()
        }
    }

    fn denied(verb: Verb, target: &ObjectRef) -> String {
        grants().permit_kube(verb, target, "shop").unwrap_err().to_string()
    }

    #[test]
    fn what_was_granted_is_addressed_as_it_was_judged() {
        let permit =
            grants().permit_kube(Verb::Scale, &object("apps/v1", "StatefulSet", "db"), "shop").unwrap();
        let KubePermit { group, version, resource, namespace, name, .. } = permit;
        assert_eq!([group, version, resource, namespace, name], ["apps", "v1", "statefulsets", "shop", "db"]);
        assert!(grants().permit_kube(Verb::Get, &object("apps/v1", "StatefulSet", "web-1"), "shop").is_ok());
        assert!(
            grants().permit_kube(Verb::Suspend, &object("batch/v1", "CronJob", "backup"), "shop").is_ok()
        );
    }

    #[test]
    fn what_was_not_granted_is_named() {
        assert_eq!(
            denied(Verb::Patch, &object("apps/v1", "StatefulSet", "db")),
            "no kubernetes grant has verb patch for statefulsets.apps `db`"
        );
        for target in [
            object("apps/v1", "StatefulSet", "other"),
            object("apps/v1", "Deployment", "db"),
            object("v1", "StatefulSet", "db"),
            object("apps.example.com/v1", "StatefulSet", "db"),
        ] {
            assert!(denied(Verb::Get, &target).starts_with("no kubernetes grant"), "{target:?}");
        }
    }

    #[test]
    fn secrets_are_denied_even_where_a_grant_names_them() {
        for kind in ["Secret", "SECRET", "SecreT"] {
            assert!(denied(Verb::Get, &object("v1", kind, "db")).starts_with("Secrets are never"), "{kind}");
        }
        let query = |kind: &str| ListQuery {
            api_version: "v1".into(),
            kind: kind.into(),
            label_selector: String::new(),
            limit: 9,
        };
        assert!(grants().permit_list(&query("Secret"), "shop").is_err());
        assert!(grants().permit_list(&query("Pod"), "shop").is_ok());
        assert!(grants().validate().unwrap_err().to_string().starts_with("kubernetes[2].resources: Secrets"));
    }

    #[test]
    fn another_namespace_is_denied() {
        let mut target = object("apps/v1", "StatefulSet", "db");
        target.namespace = "kube-system".into();
        assert!(denied(Verb::Get, &target).contains("only the namespace"));
        target.namespace = "shop".into();
        assert!(grants().permit_kube(Verb::Get, &target, "shop").is_ok());
    }

    #[test]
    fn tricks_with_paths_are_denied() {
        let mut all = grants();
        all.kubernetes[0].names = vec!["*".into()];
        for name in
            ["../secrets/db", "..", "db/scale", "db?x=1", "db%2f", "", "db\n", "DB", "a..b", "-a", "db#"]
        {
            let target = object("apps/v1", "StatefulSet", name);
            assert!(all.permit_kube(Verb::Get, &target, "shop").is_err(), "{name:?}");
        }
        for (api_version, kind) in [
            ("../v1", "Pod"),
            ("/v1", "Pod"),
            ("apps/v1/../..", "Pod"),
            ("", "Pod"),
            ("apps/", "Pod"),
            ("v1", "Pod/exec"),
            ("v1", "pods"),
            ("v1", ""),
            ("v1", "Secret\u{2f}"),
        ] {
            let target = object(api_version, kind, "db");
            assert!(all.permit_kube(Verb::Get, &target, "shop").is_err(), "{api_version:?} {kind:?}");
        }
    }

    #[test]
    fn plurals_are_those_of_the_api() {
        for (kind, plural_kind) in [
            ("Pod", "pods"),
            ("Ingress", "ingresses"),
            ("NetworkPolicy", "networkpolicies"),
            ("Endpoints", "endpoints"),
            ("PersistentVolumeClaim", "persistentvolumeclaims"),
            ("EndpointSlice", "endpointslices"),
        ] {
            assert_eq!(plural(kind), plural_kind);
        }
    }

    #[test]
    fn a_list_without_every_name_is_refused() {
        let mut narrow = grants();
        narrow.kubernetes.remove(2);
        assert_eq!(narrow.validate(), Ok(()));
        narrow.kubernetes[1].names = vec!["db-0".into()];
        assert!(narrow.validate().unwrap_err().to_string().starts_with("kubernetes[1].names: verb list"));
    }
}
