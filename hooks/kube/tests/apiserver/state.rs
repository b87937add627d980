//! The stores of modules.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{Entry, StateError};
use scribe_hooks_kube::{Call, Subject};
use serde_json::json;

use crate::world::World;

const MOST: u64 = 1000;

#[tokio::test]
async fn a_value_is_written_only_over_what_was_seen() {
    let world = World::start(json!([])).await;
    let host = world.host();
    assert_eq!(host.state_get("a/b".into()).await, Ok(None));
    assert_eq!(host.state_put("a/b".into(), vec![0, 255], Some(0), MOST).await, Ok(1));
    let entry = host.state_get("a/b".into()).await.unwrap().unwrap();
    assert_eq!(entry, Entry { value: vec![0, 255], revision: 1 });
    assert_eq!(host.state_put("a/b".into(), vec![1], Some(0), MOST).await, Err(StateError::Conflict(1)));
    assert_eq!(host.state_put("a/b".into(), vec![1], Some(1), MOST).await, Ok(2));
    assert_eq!(host.state_put("b".into(), vec![1; 1000], None, MOST).await, Err(StateError::TooLarge(MOST)));
    assert_eq!(host.state_put("c".into(), vec![1], None, MOST).await, Ok(3));
    assert_eq!(host.state_keys("a".into()).await, Ok(vec!["a/b".to_owned()]));
    assert_eq!(host.state_keys(String::new()).await.unwrap().len(), 2);
    assert_eq!(host.state_delete("a/b".into(), Some(1)).await, Err(StateError::Conflict(2)));
    assert_eq!(host.state_delete("a/b".into(), None).await, Ok(()));
    assert_eq!(host.state_delete("a/b".into(), None).await, Ok(()));
    assert_eq!(host.state_get("a/b".into()).await, Ok(None));
}

#[tokio::test]
async fn two_writers_lose_nothing() {
    let world = World::start(json!([])).await;
    let (one, two) = (world.host(), world.host());
    for round in 0..5 {
        let put = |host, key: &str| {
            let host: &scribe_hooks_kube::KubeHost = host;
            host.state_put(format!("{key}{round}"), vec![1], Some(0), MOST)
        };
        let (a, b, c) = tokio::join!(put(&one, "a"), put(&two, "b"), put(&two, "c"));
        assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
        // Of two that want to be the first, one is.
        let first = |host| put(host, "first");
        let (a, b) = tokio::join!(first(&one), first(&two));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    }
    assert_eq!(one.state_keys(String::new()).await.unwrap().len(), 20);
}

#[tokio::test]
async fn every_object_and_every_module_has_its_own() {
    let world = World::start(json!([])).await;
    let other_object = world.platform.host(Call {
        acting: world.acting.clone(),
        subject: Subject { uid: "later-one-of-that-name".into(), ..world.subject() },
        module: "mysql".into(),
        journal: None,
    });
    world.host().state_put("k".into(), vec![1], None, MOST).await.unwrap();
    assert_eq!(world.host_of("other").state_get("k".into()).await, Ok(None));
    assert_eq!(other_object.state_get("k".into()).await, Ok(None));
    let maps = world.api::<ConfigMap>().list(&ListParams::default()).await.unwrap().items;
    let stores: Vec<_> =
        maps.iter().filter(|map| map.metadata.name.as_ref().unwrap().starts_with("scribe-hook-")).collect();
    let owner = &stores[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((stores.len(), &owner.uid), (1, &world.subject().uid), "it goes with its owner");
}

#[tokio::test]
async fn what_is_not_ours_is_neither_read_nor_overwritten() {
    let world = World::start(json!([])).await;
    world.host().state_put("k".into(), vec![1], None, MOST).await.unwrap();
    let api = world.api::<ConfigMap>();
    let maps = api.list(&ListParams::default()).await.unwrap().items;
    let store = maps.into_iter().find(|map| map.data.is_some()).unwrap();
    let name = store.metadata.name.clone().unwrap();
    // Somebody else's, of the same name: as ours was, but for one thing each.
    for missing in ["labels", "annotations", "ownerReferences"] {
        world.delete::<ConfigMap>(&name).await;
        let mut foreign = json!({
            "metadata": { "name": name, "labels": store.metadata.labels, "annotations": store.metadata.annotations,
                "ownerReferences": store.metadata.owner_references },
            "data": store.data,
        });
        foreign["metadata"].as_object_mut().unwrap().remove(missing);
        world.make::<ConfigMap>(foreign).await;
        let answer = world.host().state_get("k".into()).await;
        assert!(
            matches!(&answer, Err(StateError::Unavailable(why)) if why.contains(&name)),
            "{missing}: {answer:?}"
        );
        let answer = world.host().state_put("k".into(), vec![2], None, MOST).await;
        assert!(matches!(answer, Err(StateError::Unavailable(_))), "{missing}: {answer:?}");
        assert_eq!(api.get(&name).await.unwrap().data, store.data, "{missing}");
    }
}
