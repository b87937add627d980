//! Reading and changing objects.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{KubeError, ListQuery, PatchKind};
use scribe_hooks_contract::grants::{KubePermit, ListPermit};
use serde_json::{Value, json};

use crate::world::{World, everything, granted};

fn map(world: &World, name: &str) -> KubePermit {
    world.permit("v1", "ConfigMap", name)
}

fn list(world: &World, selector: &str, limit: u32) -> ListPermit {
    let query = ListQuery {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        label_selector: selector.into(),
        limit,
    };
    granted().permit_list(&query, &world.namespace).unwrap()
}

#[tokio::test]
async fn an_object_is_read_in_part_or_whole() {
    let world = World::start(everything()).await;
    let made: ConfigMap =
        world.make(json!({ "metadata": { "name": "a", "annotations": { "k/1": "v" } } })).await;
    let host = world.host();
    let text = host.kube_get(map(&world, "a"), Some("/metadata/annotations/k~11".into())).await.unwrap();
    assert_eq!(text, "\"v\"");
    assert_eq!(host.kube_get(map(&world, "a"), Some("/data/x/y".into())).await.unwrap(), "null");
    let whole: Value = serde_json::from_str(&host.kube_get(map(&world, "a"), None).await.unwrap()).unwrap();
    assert_eq!(whole["kind"], "ConfigMap");
    assert!(whole["metadata"].get("managedFields").is_none());
    let uid = made.metadata.uid.unwrap();
    let this = KubePermit { uid: Some(uid), ..map(&world, "a") };
    assert!(host.kube_get(this, None).await.is_ok());
    let other = KubePermit { uid: Some("other".into()), ..map(&world, "a") };
    assert_eq!(host.kube_get(other, None).await, Err(KubeError::NotFound));
    assert_eq!(host.kube_get(map(&world, "b"), None).await, Err(KubeError::NotFound));
}

#[tokio::test]
async fn a_list_is_read_page_by_page_up_to_its_limit() {
    let world = World::start(everything()).await;
    let maps = (0..120).map(|number| {
        world.make::<ConfigMap>(
            json!({ "metadata": { "name": format!("m-{number}"), "labels": { "app": "db" } } }),
        )
    });
    futures::future::join_all(maps).await;
    let host = world.host();
    assert_eq!(host.kube_list(list(&world, "app=db", 500)).await.unwrap().len(), 120);
    let some = host.kube_list(list(&world, "app=db", 75)).await.unwrap();
    assert_eq!(some.len(), 75);
    let one: Value = serde_json::from_str(&some[0]).unwrap();
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert!(host.kube_list(list(&world, "app=web", 500)).await.unwrap().is_empty());
    assert!(host.kube_list(list(&world, "", 0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn too_much_is_refused_and_a_part_of_it_is_not() {
    let world = World::start(everything()).await;
    for name in ["a", "b"] {
        let large = "x".repeat(900_000);
        world.make::<ConfigMap>(json!({ "metadata": { "name": name, "labels": { "l": "1" } }, "data": { "large": large, "small": "v" } })).await;
    }
    let host = world.host();
    assert!(matches!(host.kube_list(list(&world, "l=1", 10)).await, Err(KubeError::TooLarge(_))));
    assert_eq!(host.kube_list(list(&world, "l=1", 1)).await.unwrap().len(), 1);
    // Quotes take two bytes in JSON.
    let quotes = "\"".repeat(600_000);
    world
        .make::<ConfigMap>(json!({ "metadata": { "name": "c" }, "data": { "large": quotes, "small": "v" } }))
        .await;
    assert!(matches!(host.kube_get(map(&world, "c"), None).await, Err(KubeError::TooLarge(_))));
    assert_eq!(host.kube_get(map(&world, "c"), Some("/data/small".into())).await.unwrap(), "\"v\"");
}

#[tokio::test]
async fn every_kind_of_patch_changes_the_object_that_is_there() {
    let world = World::start(everything()).await;
    world.make_stateful_set("db", 3).await;
    let host = world.host();
    for (kind, body) in [
        (PatchKind::Merge, json!({ "metadata": { "labels": { "merge": "1" } } })),
        (
            PatchKind::Strategic,
            json!({ "spec": { "template": { "spec": { "containers": [{ "name": "db", "image": "new" }] } } } }),
        ),
        (PatchKind::Json, json!([{ "op": "add", "path": "/metadata/labels/json", "value": "1" }])),
        (PatchKind::Apply, json!({ "metadata": { "labels": { "apply": "1" } } })),
    ] {
        let patched = host.kube_patch(world.stateful_set("db"), kind, body.to_string()).await.unwrap();
        assert!(patched.contains("\"kind\":\"StatefulSet\""), "{kind:?}");
    }
    let set = world.api::<StatefulSet>().get("db").await.unwrap();
    let labels = set.metadata.labels.unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["apply", "json", "merge"]);
    let containers = set.spec.unwrap().template.spec.unwrap().containers;
    assert_eq!((containers.len(), containers[0].image.as_deref()), (1, Some("new")));

    for (kind, body, is_expected) in [
        (PatchKind::Merge, "{}", (|error| matches!(error, KubeError::NotFound)) as fn(&KubeError) -> bool),
        (PatchKind::Apply, "{}", |error| matches!(error, KubeError::NotFound)),
        (PatchKind::Json, "[]", |error| matches!(error, KubeError::NotFound)),
    ] {
        let error = host.kube_patch(world.stateful_set("none"), kind, body.into()).await.unwrap_err();
        assert!(is_expected(&error), "{kind:?}: {error:?}");
        let other = KubePermit { uid: Some("other".into()), ..world.stateful_set("db") };
        let error = host.kube_patch(other, kind, body.into()).await.unwrap_err();
        assert!(is_expected(&error), "{kind:?}: {error:?}");
    }
    assert!(world.api::<StatefulSet>().get_opt("none").await.unwrap().is_none(), "an apply makes nothing");
    let wrong = json!({ "spec": { "replicas": "three" } }).to_string();
    let error = host.kube_patch(world.stateful_set("db"), PatchKind::Merge, wrong).await.unwrap_err();
    assert!(matches!(error, KubeError::Invalid(_)), "{error:?}");
    let error = host.kube_patch(world.stateful_set("db"), PatchKind::Json, "{".into()).await.unwrap_err();
    assert!(matches!(error, KubeError::Invalid(_)), "{error:?}");
}

#[tokio::test]
async fn two_hooks_that_apply_do_not_take_each_others_fields() {
    let world = World::start(everything()).await;
    world.make::<ConfigMap>(json!({ "metadata": { "name": "a" } })).await;
    let apply = |key: &str| json!({ "data": { key: "1" } }).to_string();
    let one = world.host_of("one");
    one.kube_patch(map(&world, "a"), PatchKind::Apply, apply("a")).await.unwrap();
    world.host_of("two").kube_patch(map(&world, "a"), PatchKind::Apply, apply("b")).await.unwrap();
    let data = world.api::<ConfigMap>().get("a").await.unwrap().data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["a", "b"]);
    let body = json!({ "data": { "b": "2" } }).to_string();
    let error = one.kube_patch(map(&world, "a"), PatchKind::Apply, body).await.unwrap_err();
    assert!(matches!(error, KubeError::Conflict(_)), "{error:?}");
}

#[tokio::test]
async fn annotations_are_exchanged_also_when_many_write() {
    let world = World::start(everything()).await;
    world.make::<ConfigMap>(json!({ "metadata": { "name": "a" } })).await;
    let host = world.host();
    let set = |key: &str, value: Option<&str>| {
        host.kube_annotate(map(&world, "a"), key.to_owned(), value.map(str::to_owned))
    };
    assert_eq!(set("k", Some("1")).await, Ok(None));
    assert_eq!(set("k", Some("2")).await, Ok(Some("1".into())));
    assert_eq!(set("k", None).await, Ok(Some("2".into())));
    assert_eq!(set("k", None).await, Ok(None));
    let (a, b, c) = tokio::join!(set("a", Some("1")), set("b", Some("1")), set("c", Some("1")));
    assert_eq!((a, b, c), (Ok(None), Ok(None), Ok(None)));
    let annotations = world.api::<ConfigMap>().get("a").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations.len(), 3);
    assert_eq!(host.kube_annotate(map(&world, "b"), "k".into(), None).await, Err(KubeError::NotFound));
}

#[tokio::test]
async fn a_workload_is_scaled_and_says_what_it_was() {
    let world = World::start(everything()).await;
    world.make_stateful_set("db", 3).await;
    let host = world.host();
    assert_eq!(host.kube_scale(world.stateful_set("db"), 0).await, Ok(3));
    assert_eq!(host.kube_scale(world.stateful_set("db"), 2).await, Ok(0));
    assert_eq!(world.replicas("db").await, 2);
    let error = host.kube_scale(world.stateful_set("db"), u32::MAX).await.unwrap_err();
    assert!(matches!(error, KubeError::Invalid(_)), "{error:?}");
    // What has no replicas.
    world.make::<ConfigMap>(json!({ "metadata": { "name": "a" } })).await;
    let error = host.kube_scale(map(&world, "a"), 1).await.unwrap_err();
    assert!(matches!(error, KubeError::NotFound | KubeError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn a_value_is_waited_for() {
    let world = World::start(everything()).await;
    world.make::<ConfigMap>(json!({ "metadata": { "name": "a" }, "data": { "phase": "Busy" } })).await;
    let host = world.host();
    let wait = |equals: &'static str, seconds: u32| {
        host.kube_wait_for(map(&world, "a"), "/data/phase".into(), equals.into(), seconds)
    };
    assert_eq!(wait("Busy", 60).await, Ok(true));
    assert_eq!(wait("Idle", 1).await, Ok(false));
    let change = async {
        for phase in ["Nearly", "Idle"] {
            let body = json!({ "data": { "phase": phase } }).to_string();
            host.kube_patch(map(&world, "a"), PatchKind::Merge, body).await.unwrap();
        }
    };
    let (waited, ()) = tokio::join!(wait("Idle", 60), change);
    assert_eq!(waited, Ok(true));
    let (waited, ()) = tokio::join!(wait("Never", 60), world.delete::<ConfigMap>("a"));
    assert_eq!(waited, Err(KubeError::NotFound));
    assert_eq!(wait("Idle", 60).await, Err(KubeError::NotFound));
}
