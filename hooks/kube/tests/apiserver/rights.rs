//! Who acts, and what it may do.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{HttpError, KubeError, Request};
use scribe_hooks_contract::grants::Grants;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{Call, Platform, review};
use serde_json::json;

use crate::net::{Mapped, get, serve};
use crate::world::{ACCOUNT, World, everything, granted, read};

async fn name_of(client: &kube::Client) -> Result<String, kube::Error> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    Ok(answer.status.unwrap().user_info.unwrap().username.unwrap())
}

#[tokio::test]
async fn a_hook_acts_as_its_own_service_account() {
    let world = World::start(json!([])).await;
    let name = format!("system:serviceaccount:{}:{ACCOUNT}", world.namespace);
    assert_eq!(name_of(&world.acting).await.unwrap(), name);
    let map = world.permit("v1", "ConfigMap", "owner");
    let error = world.host().kube_get(map, None).await.unwrap_err();
    assert!(matches!(&error, KubeError::Denied(why) if why.contains(&name)), "{error:?}");

    let nobody = world.identities.client(&world.namespace, "nobody").unwrap();
    let error = name_of(&nobody).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("nobody") && !text.contains("Bearer"), "{text}");
}

/// A token is kept while it is good, and asked for again when the API server no longer takes it.
#[tokio::test]
async fn a_service_account_that_was_made_anew_acts_again() {
    let world = World::start(everything()).await;
    name_of(&world.acting).await.unwrap();
    world.delete::<ServiceAccount>(ACCOUNT).await;
    world.make::<ServiceAccount>(json!({ "metadata": { "name": ACCOUNT } })).await;
    // The token of the one that is gone is refused, and forgotten by that; the API server may still remember it for some seconds.
    let again = scribe_tests::wait::eventually(
        std::time::Duration::from_secs(60),
        "the ServiceAccount acts again",
        async || {
            let name = name_of(&world.acting).await?;
            let api: Api<SelfSubjectReview> = Api::all(world.acting.clone());
            let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
            let uid = review.status.unwrap().user_info.unwrap().uid;
            let now = world.api::<ServiceAccount>().get(ACCOUNT).await?.metadata.uid;
            anyhow::ensure!(uid == now, "still the old one");
            Ok(name)
        },
    );
    assert!(again.await.unwrap().ends_with(ACCOUNT));
}

#[tokio::test]
async fn what_is_missing_is_told_before_the_night() {
    let world = World::start(everything()).await;
    let mut grants = granted();
    grants.exec =
        read(json!([{ "podSelector": { "app": "db" }, "containers": ["db"], "commands": [["true"]] }]));
    grants.http = read(json!({ "allow": ["https://a.example.com:443"], "secrets": [
        { "name": "token", "secret": "pager", "key": "t", "to": ["https://a.example.com:443"] }] }));
    let rights = review::needed(&grants);
    let missing = async || {
        let missing = review::missing(&world.admin, &world.namespace, ACCOUNT, &rights).await.unwrap();
        missing.iter().map(|missing| missing.right.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(missing().await, ["create pods/exec", "get pods/exec", "get secrets pager"]);
    world
        .allow(json!([
            { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] },
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pager"], "verbs": ["get"] },
        ]))
        .await;
    assert!(missing().await.is_empty());
    // Another one of the same name has none of it.
    let elsewhere = review::missing(&world.admin, "elsewhere", ACCOUNT, &rights).await.unwrap();
    assert_eq!(elsewhere.len(), rights.len());
    let refused = review::missing(&world.acting, &world.namespace, ACCOUNT, &rights).await;
    assert!(refused.unwrap_err().to_string().contains("subjectaccessreviews"));
}

#[tokio::test]
async fn a_secret_goes_into_a_header_with_the_hooks_own_rights() {
    let world = World::start(json!([])).await;
    let secret =
        json!({ "metadata": { "name": "pager" }, "stringData": { "t": "Bearer s3cret\n", "odd": "a\nb" } });
    world.make::<Secret>(secret).await;
    let (address, mut requests) = serve(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), false).await;
    let http = HttpClient::new(None).unwrap().with_network(Mapped::new(address, &[&["1.1.1.1"]]));
    let platform = Platform::new(world.admin.clone(), "test", http);
    let host = platform.host(Call {
        acting: world.acting.clone(),
        subject: world.subject(),
        module: "pager".into(),
        journal: None,
    });
    let to = "http://pager.example.com:80";
    let secret = |name: &str, secret: &str, key: &str| json!({ "name": name, "secret": secret, "key": key, "to": [to] });
    let grants: Grants = read(json!({ "http": { "allow": [to], "secrets": [
        secret("token", "pager", "t"), secret("odd", "pager", "odd"), secret("key", "pager", "none"), secret("none", "none", "t")] } }));
    let send = |name: &str| {
        let request = Request {
            headers: vec![("authorization".into(), "mine".into())],
            secret_headers: vec![("Authorization".into(), name.into())],
            ..get("http://pager.example.com/")
        };
        let permit = grants.permit_http(&request).unwrap();
        host.http_send(permit, request, 100)
    };
    let denied = async |name: &str| match send(name).await {
        Err(HttpError::Denied(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(denied("token").await.contains("cannot get resource \"secrets\""));
    world.allow(json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }])).await;
    assert_eq!(send("token").await.unwrap().status, 204);
    let sent = requests.recv().await.unwrap();
    assert!(sent.contains("\r\nauthorization: Bearer s3cret\r\n") && !sent.contains("mine"), "{sent}");
    assert!(denied("odd").await.contains("cannot be a header's value"));
    assert!(denied("key").await.contains("no such key"));
    assert!(denied("none").await.contains("there is no such Secret"));
    assert!(requests.try_recv().is_err(), "nothing is sent without what it was to be sent with");
}

#[tokio::test]
async fn an_event_stands_on_the_object_and_says_who_speaks() {
    use k8s_openapi::api::events::v1::Event as KubeEvent;
    use scribe_hooks_contract::effects::{Event, EventKind};

    let world = World::start(json!([])).await;
    let event = Event { kind: EventKind::Warning, reason: "Late".into(), message: "a\u{1b}[31m".into() };
    world.host().emit_event(event.clone()).await.unwrap();
    world.host().emit_event(event).await.unwrap();
    let events = world.api::<KubeEvent>().list(&kube::api::ListParams::default()).await.unwrap().items;
    assert_eq!(events.len(), 2);
    let said = &events[0];
    assert_eq!(said.note.as_deref(), Some("mysql: a\\u{1b}[31m"));
    assert_eq!((said.reason.as_deref(), said.type_.as_deref()), (Some("HookLate"), Some("Warning")));
    let about = said.regarding.as_ref().unwrap();
    assert_eq!(about.uid, world.api::<ConfigMap>().get("owner").await.unwrap().metadata.uid);
}
