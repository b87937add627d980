use scribe_hook_sdk::testing::{Call, Host, assert_schema, context, validate};
use serde_json::{Value, json};

use super::*;

fn ctx() -> Context<Settings> {
    context(&json!({ "name": "web" }))
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

#[test]
fn it_is_at_rest_when_the_last_pod_is_gone() {
    let host = Host::new();
    host.kube(Ok(json!({ "matchLabels": { "app": "web", "tier": "front" } })));
    host.kube(Ok(json!([pod("web-1"), pod("web-2")])));
    host.kube(Ok(json!([pod("web-2")])));
    host.kube(Ok(json!([])));
    let frozen = ScaleDeployment::quiesce(&ctx()).unwrap();
    assert_eq!(frozen.achieved, Consistency::Application);
    let workload = ObjectRef::new("apps/v1", "Deployment", "web");
    let calls = host.calls();
    assert_eq!(
        calls[0],
        Call::KubeGet { target: workload.clone(), pointer: Some("/spec/selector".to_owned()) }
    );
    assert_eq!(calls[1], Call::FreezeScaleDown { workload, replicas: 0 });
    assert!(
        matches!(&calls[2], Call::KubeList { label_selector, .. } if label_selector == "app=web,tier=front")
    );
    assert_eq!(calls.len(), 5);
}

#[test]
fn pods_that_stay_are_named_while_there_is_time_to_say_so() {
    let host = Host::new().at(0, 3_000);
    host.kube(Ok(json!({ "matchLabels": { "app": "web" } })));
    for _ in 0..3 {
        host.kube(Ok(json!([pod("web-1")])));
    }
    let error = ScaleDeployment::quiesce(&ctx()).unwrap_err();
    let said = "these pods are still there: web-1; give them a shorter grace period, or the hook more time";
    assert_eq!(error, HookError::failed(said));
    assert!(host.now() < 3_000);
}

#[test]
fn a_workload_whose_pods_cannot_be_found_stays_up() {
    for selector in
        [json!({}), json!({ "matchLabels": { "app": "web" }, "matchExpressions": [{ "key": "x" }] })]
    {
        let host = Host::new();
        host.kube(Ok(selector));
        ScaleDeployment::quiesce(&ctx()).unwrap_err();
        assert_eq!(host.calls().len(), 1);
    }
}

#[test]
fn settings_are_judged() {
    let problems = validate::<ScaleDeployment>(&json!({ "name": "" })).unwrap_err();
    assert_eq!(problems[0].path.as_deref(), Some("/name"));
    let problems = validate::<ScaleDeployment>(&json!({ "name": "web", "kind": "DaemonSet" })).unwrap_err();
    assert_eq!(
        problems[0].line(),
        "/kind: unknown variant `DaemonSet`, expected `Deployment` or `StatefulSet`"
    );
}

#[test]
fn the_schema_is_that_of_the_settings() {
    assert_schema::<ScaleDeployment>(schemars::schema_for!(Settings).as_value());
}
