//! How the source finds the destination: a Service and its address.

use super::draft::{Draft, Hold};
use super::validate::ValidDestination;
use super::view::{View, annotation, is_leaving};
use crate::build::meta::label;
use crate::decision::{Action, Child};
use crate::observed::SecretSeen;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::ServiceType;
use scribe_mover_contract::SSH_PORT;
use std::collections::BTreeMap;

/// Applies the Service if it is not what it should be.
///
/// What the API server fills in (addresses, node ports, families) is not compared: it is not ours, and applying it would fight
/// with whoever set it.
pub(super) fn service(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) {
    let wanted = build(view, valid);
    match &view.seen.service {
        Some(service) if is_leaving(&service.metadata) => {
            draft.hold(Hold::passing(Reason::Preparing, format!("Service {} is being deleted", view.base)));
        }
        Some(service) if label(&service.metadata, names::OWNER_UID) != Some(&view.owner.uid) => {
            let message =
                format!("Service {} exists and is not this object's: delete or rename it", view.base);
            draft.hold(Hold::blocking(Reason::ObjectRefused, message));
        }
        Some(service) if is_as(service, &wanted) => {}
        Some(_) => draft.then.push(Action::Apply(Child::Service(Box::new(wanted)))),
        None => {
            draft.then.push(Action::Apply(Child::Service(Box::new(wanted))));
            draft.hold(Hold::passing(Reason::Preparing, format!("makes Service {}", view.base)));
        }
    }
}

/// The hash tells that something was taken out of the spec, the comparison that somebody else changed the Service.
fn is_as(service: &Service, wanted: &Service) -> bool {
    let all = |has: &Option<BTreeMap<String, String>>, wants: &Option<BTreeMap<String, String>>| {
        wants.iter().flatten().all(|(key, value)| has.as_ref().and_then(|has| has.get(key)) == Some(value))
    };
    let (Some(has), Some(wants)) = (&service.spec, &wanted.spec) else { return false };
    let ports = |spec: &ServiceSpec| -> Vec<(i32, Option<IntOrString>)> {
        spec.ports.iter().flatten().map(|port| (port.port, port.target_port.clone())).collect()
    };
    all(&service.metadata.annotations, &wanted.metadata.annotations)
        && all(&service.metadata.labels, &wanted.metadata.labels)
        && has.type_ == wants.type_
        && has.selector == wants.selector
        && ports(has) == ports(wants)
}

fn build(view: &View<'_>, valid: &ValidDestination<'_>) -> Service {
    let mut metadata = view.owner.child(view.base.clone(), None);
    let spec = ServiceSpec {
        type_: Some(type_name(valid.service_type).to_owned()),
        selector: Some(BTreeMap::from([
            (names::OWNER_UID.to_owned(), view.owner.uid.clone()),
            (names::SIDE.to_owned(), view.owner.side.to_owned()),
        ])),
        ports: Some(vec![ServicePort {
            name: Some("ssh".to_owned()),
            port: i32::from(valid.port),
            protocol: Some("TCP".to_owned()),
            target_port: Some(IntOrString::Int(i32::from(SSH_PORT))),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    };
    let mut annotations = valid.service_annotations.clone();
    // Numbers, strings and maps with string keys: writing them cannot fail.
    let plan = serde_json::to_string(&(&annotations, &spec)).unwrap_or_default();
    annotations.insert(names::PLAN_HASH.to_owned(), names::digest(&plan));
    metadata.annotations = Some(annotations);
    Service { metadata, spec: Some(spec), status: None }
}

fn type_name(service_type: ServiceType) -> &'static str {
    match service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

/// Publishes the address: first into the Secret that is carried to the source, then in the status.
///
/// An address that is gone for a while (the pod moves, the balancer is being made anew) stays published: to forget it would help
/// nobody, and the next one replaces it.
pub(super) fn address(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) {
    let Some((address, port)) = find(view, valid) else {
        if view.seen.service.is_some() {
            draft.hold(pending(view, valid));
        }
        return;
    };
    let secret = valid.ssh_keys.is_none().then(|| names::source_secret(&view.owner.name));
    let mut method =
        BTreeMap::from([("address".to_owned(), address.clone()), ("port".to_owned(), port.to_string())]);
    if let Some(secret) = &secret {
        method.insert("sshKeys".to_owned(), secret.clone());
    }
    let is_refused = secret.as_ref().is_some_and(|secret| view.refusal("Secret", secret).is_some());
    if draft.status.method_status == method || is_refused {
        return;
    }
    if let Some(secret) = secret {
        // The first address goes into the very keys that were found to agree.
        let resource_version = view.seen.key_secrets.as_ref().and_then(|secrets| match &secrets.source {
            SecretSeen::Ours { resource_version, .. } => Some(resource_version.clone()),
            SecretSeen::Missing | SecretSeen::Foreign => None,
        });
        draft.first.push(Action::ApplyAddress { secret, resource_version, address, port });
    }
    draft.status.method_status = method;
}

fn find(view: &View<'_>, valid: &ValidDestination<'_>) -> Option<(String, u16)> {
    let service = view.seen.service.as_ref().filter(|service| !is_leaving(&service.metadata))?;
    // A Service of the old type has an address of the old kind.
    let spec = service.spec.as_ref().filter(|spec| {
        spec.type_.as_deref() == Some(type_name(valid.service_type))
            && label(&service.metadata, names::OWNER_UID) == Some(&view.owner.uid)
    })?;
    match valid.service_type {
        ServiceType::ClusterIP => {
            let address = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
            Some((address, valid.port))
        }
        ServiceType::NodePort => {
            let pod = view.pod().filter(|pod| !is_leaving(&pod.metadata))?;
            let address = pod.status.as_ref()?.host_ip.clone()?;
            let port = spec.ports.as_ref()?.first()?.node_port?;
            Some((address, u16::try_from(port).ok().filter(|port| *port > 0)?))
        }
        ServiceType::LoadBalancer => {
            let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
            let address = ingress.ip.clone().or_else(|| ingress.hostname.clone())?;
            Some((address, valid.port))
        }
    }
}

fn pending(view: &View<'_>, valid: &ValidDestination<'_>) -> Hold {
    let what = match valid.service_type {
        ServiceType::ClusterIP => "has no cluster IP yet",
        ServiceType::NodePort => "has no node port, or the mover pod no node, yet",
        ServiceType::LoadBalancer => "has no address from a load balancer yet",
    };
    let uid = view.seen.service.as_ref().and_then(|service| service.metadata.uid.as_deref());
    let warning = view.warning_about([uid]).map(|warning| format!(" ({warning})")).unwrap_or_default();
    Hold::passing(Reason::AddressPending, format!("Service {} {what}{warning}", view.base))
}

/// Whether the Service is still there, ours, and has to be deleted.
pub(super) fn to_delete<'a>(view: &View<'a>) -> Option<&'a Service> {
    let ours = |service: &&Service| label(&service.metadata, names::OWNER_UID) == Some(&view.owner.uid);
    view.seen.service.as_ref().filter(ours)
}

/// The hash that an object was made from.
pub(super) fn plan_hash(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<&str> {
    annotation(meta, names::PLAN_HASH)
}
