//! Finding the containers that a command is for.

use http::StatusCode;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::Client;
use scribe_hooks_contract::effects::ExecError;
use scribe_hooks_contract::grants::ExecPermit;
use scribe_hooks_contract::undo::Place;
use serde::Deserialize;

use crate::api::{self, Accept, ApiError, OBJECT_BYTES, get, with_query};

/// Pods that one command may run in.
pub(crate) const MOST_PODS: usize = 64;
/// Bytes of their list.
const LIST_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
struct List {
    items: Vec<Pod>,
}

/// The containers that are meant, each of them running, granted, and at least one.
pub(crate) async fn find(
    client: &Client,
    namespace: &str,
    permit: &ExecPermit,
) -> Result<Vec<Place>, ExecError> {
    let found = match (&permit.pod, &permit.selector) {
        (Some(name), _) => {
            let path = api::pods(namespace).path(Some(name), None).map_err(refused)?;
            let read = get(client, path, Accept::Json, OBJECT_BYTES).await;
            vec![read.map_err(|error| missing(error, &format!("there is no pod {name}")))?]
        }
        (None, selector) => {
            let selector = selector.as_ref().map(ToString::to_string).unwrap_or_default();
            let limit = (MOST_PODS + 1).to_string();
            let query = [("labelSelector", selector.as_str()), ("limit", &limit)];
            let path = api::pods(namespace).path(None, None).map_err(refused)?;
            let list: List =
                get(client, with_query(path, &query), Accept::Json, LIST_BYTES).await.map_err(refused)?;
            list.items
        }
    };
    choose(permit, found)
}

fn choose(permit: &ExecPermit, found: Vec<Pod>) -> Result<Vec<Place>, ExecError> {
    let meant = || match (&permit.pod, &permit.selector) {
        (Some(name), _) => format!("pod {name}"),
        (None, selector) => format!("`{}`", selector.as_ref().map(ToString::to_string).unwrap_or_default()),
    };
    if found.is_empty() {
        return Err(ExecError::NoSuchTarget(format!("no pod matches {}", meant())));
    }
    if found.len() > MOST_PODS {
        return Err(ExecError::NoSuchTarget(format!("more than {MOST_PODS} pods match {}", meant())));
    }
    // What a Job or a rollout has left behind is no longer meant by its labels.
    let live: Vec<Pod> = found.into_iter().filter(|pod| !is_over(pod)).collect();
    if live.is_empty() {
        return Err(ExecError::NoSuchTarget(format!("every pod that matches {} has ended", meant())));
    }
    if live.len() > 1 && !permit.all_matching {
        let names: Vec<_> = live.iter().take(5).filter_map(|pod| pod.metadata.name.as_deref()).collect();
        return Err(ExecError::NoSuchTarget(format!(
            "{} pods match {} ({}): name one, or set all-matching",
            live.len(),
            meant(),
            names.join(", ")
        )));
    }
    live.iter().map(|pod| place(permit, pod)).collect()
}

/// Whether no container of it will ever run again.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn place(permit: &ExecPermit, pod: &Pod) -> Result<Place, ExecError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let container = container(permit, pod.spec.as_ref(), &name)?;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    if !permit.allows(&labels, &container) {
        return Err(ExecError::Denied(format!(
            "no exec grant has the labels of pod {name} and container {container}"
        )));
    }
    check_running(pod, &container)?;
    Ok(Place { uid: pod.metadata.uid.clone().unwrap_or_default(), pod: name, container })
}

fn container(permit: &ExecPermit, spec: Option<&PodSpec>, pod: &str) -> Result<String, ExecError> {
    let all: Vec<&str> = spec.iter().flat_map(|spec| &spec.containers).map(|one| one.name.as_str()).collect();
    match (&permit.container, &all[..]) {
        (Some(wanted), _) if all.contains(&wanted.as_str()) => Ok(wanted.clone()),
        (Some(wanted), _) => {
            Err(ExecError::NoSuchTarget(format!("pod {pod} has no container {wanted}: {}", all.join(", "))))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(ExecError::NoSuchTarget(format!(
            "pod {pod} has more than one container, name one: {}",
            all.join(", ")
        ))),
    }
}

/// Does it run?
pub(crate) fn check_running(pod: &Pod, container: &str) -> Result<(), ExecError> {
    let statuses = pod.status.iter().flat_map(|status| &status.container_statuses).flatten();
    let state = statuses.filter(|status| status.name == container).find_map(|status| status.state.as_ref());
    let why = match state {
        Some(state) if state.running.is_some() => return Ok(()),
        Some(state) => {
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
            let ended = state.terminated.as_ref().and_then(|ended| ended.reason.clone());
            waiting.or(ended).unwrap_or_else(|| "no reason given".to_owned())
        }
        None => "it was not started yet".to_owned(),
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Err(ExecError::NotRunning(format!("container {container} of pod {name} does not run: {why}")))
}

pub(crate) fn refused(error: ApiError) -> ExecError {
    match error {
        ApiError::Status { code: StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, message } => {
            ExecError::Denied(message)
        }
        other => ExecError::Unavailable(other.to_string()),
    }
}

fn missing(error: ApiError, what: &str) -> ExecError {
    if error.is(StatusCode::NOT_FOUND) { ExecError::NoSuchTarget(what.to_owned()) } else { refused(error) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scribe_hooks_contract::effects::{Command, Target};
    use scribe_hooks_contract::grants::{ExecGrant, Grants};
    use serde_json::json;

    use super::*;

    fn permit(target: Target) -> ExecPermit {
        let grant = ExecGrant {
            pod_selector: BTreeMap::from([("app".to_owned(), "db".to_owned())]),
            containers: vec!["main".to_owned()],
            commands: vec![vec!["true".to_owned()]],
        };
        let command =
            Command { argv: vec!["true".into()], stdin: Vec::new(), timeout_seconds: 1, max_output: 0 };
        Grants { exec: vec![grant], ..Grants::default() }.permit_exec(&target, &[&command]).unwrap()
    }

    fn by_label(all_matching: bool) -> ExecPermit {
        permit(Target { label_selector: Some("app=db".into()), all_matching, ..Target::default() })
    }

    fn by_name() -> ExecPermit {
        permit(Target { pod: Some("db-0".into()), ..Target::default() })
    }

    fn pod(name: &str, app: &str, phase: &str, containers: &[&str], is_running: bool) -> Pod {
        let state = if is_running {
            json!({ "running": {} })
        } else {
            json!({ "waiting": { "reason": "CrashLoopBackOff" } })
        };
        let statuses: Vec<_> = containers
            .iter()
            .map(|name| json!({ "name": name, "state": state, "ready": true, "restartCount": 0, "image": "i", "imageID": "i" }))
            .collect();
        let containers: Vec<_> = containers.iter().map(|name| json!({ "name": name })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": name, "uid": format!("uid-{name}"), "labels": { "app": app } },
            "spec": { "containers": containers },
            "status": { "phase": phase, "containerStatuses": statuses },
        }))
        .unwrap()
    }

    fn running(name: &str) -> Pod {
        pod(name, "db", "Running", &["main"], true)
    }

    #[test]
    fn one_pod_is_meant_unless_all_are() {
        let two = || vec![running("db-0"), running("db-1")];
        let error = choose(&by_label(false), two()).unwrap_err();
        assert!(
            matches!(&error, ExecError::NoSuchTarget(why) if why.contains("2 pods match") && why.contains("db-0, db-1"))
        );
        let places = choose(&by_label(true), two()).unwrap();
        assert_eq!(places[1], Place { pod: "db-1".into(), uid: "uid-db-1".into(), container: "main".into() });
    }

    #[test]
    fn none_and_none_that_runs_are_told_apart() {
        assert!(matches!(choose(&by_label(true), vec![]), Err(ExecError::NoSuchTarget(_))));
        let ended = pod("db-0", "db", "Succeeded", &["main"], false);
        let gone = choose(&by_label(true), vec![ended.clone()]);
        assert!(matches!(&gone, Err(ExecError::NoSuchTarget(why)) if why.ends_with("has ended")), "{gone:?}");
        assert_eq!(choose(&by_label(false), vec![ended, running("db-1")]).unwrap()[0].pod, "db-1");
        let crashed = pod("db-0", "db", "Running", &["main"], false);
        let error = choose(&by_name(), vec![crashed]).unwrap_err();
        assert!(
            matches!(&error, ExecError::NotRunning(why) if why.ends_with("CrashLoopBackOff")),
            "{error:?}"
        );
    }

    #[test]
    fn a_pod_that_was_found_by_its_name_is_looked_at() {
        let foreign = pod("db-0", "web", "Running", &["main"], true);
        assert!(matches!(choose(&by_name(), vec![foreign]), Err(ExecError::Denied(_))));
        let sidecar = pod("db-0", "db", "Running", &["sidecar"], true);
        assert!(matches!(choose(&by_name(), vec![sidecar]), Err(ExecError::Denied(_))));
    }

    #[test]
    fn a_container_is_named_where_there_are_two() {
        let two = pod("db-0", "db", "Running", &["main", "sidecar"], true);
        let error = choose(&by_name(), vec![two.clone()]).unwrap_err();
        assert!(
            matches!(&error, ExecError::NoSuchTarget(why) if why.ends_with("main, sidecar")),
            "{error:?}"
        );
        let target = Target { pod: Some("db-0".into()), container: Some("main".into()), ..Target::default() };
        assert_eq!(choose(&permit(target), vec![two]).unwrap()[0].container, "main");
    }

    #[test]
    fn too_many_are_too_many() {
        let many = (0..=MOST_PODS).map(|number| running(&format!("db-{number}"))).collect();
        assert!(matches!(choose(&by_label(true), many), Err(ExecError::NoSuchTarget(_))));
    }
}
