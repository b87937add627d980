//! What the schemas refuse, with which words, and what they fill in.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use scribe_tests::api_server::ApiServer;
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// One API server for all tests of this file.
static SERVER: OnceCell<ApiServer> = OnceCell::const_new();

async fn client() -> Result<Client> {
    let server = SERVER
        .get_or_try_init(|| async {
            let server = ApiServer::start().await?;
            install(&server.client().await?).await?;
            anyhow::Ok(server)
        })
        .await?;
    server.client().await
}

pub async fn install(client: &Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in scribe_crds::generated::definitions() {
        let name = definition.metadata.name.clone().context("a definition has a name")?;
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .with_context(|| format!("install {name}"))?;
        let established = |definition: Option<&CustomResourceDefinition>| {
            let status = definition.and_then(|definition| definition.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions
                .is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
        };
        await_condition(&definitions, &name, "established", established).await?;
    }
    Ok(())
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("scribe.dev", "v1alpha1", kind));
    Api::namespaced_with(client.clone(), "default", &resource)
}

async fn create(kind: &str, name: &str, spec: Value) -> Result<Result<DynamicObject, String>> {
    let object = json!({
        "apiVersion": "scribe.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec
    });
    let object: DynamicObject = serde_json::from_value(object)?;
    // `fieldValidation: Strict` is what kubectl sends.
    let parameters = PostParams::default();
    let answer = api(&client().await?, kind).create(&parameters, &object).await;
    Ok(answer.map_err(|error| error.to_string()))
}

/// Each spec is refused, with these words in the answer.
async fn refused(kind: &str, cases: Vec<(&str, Value, &str)>) -> Result<()> {
    for (number, (what, spec, words)) in cases.into_iter().enumerate() {
        match create(kind, &format!("refused-{number}"), spec).await? {
            Ok(_) => anyhow::bail!("{what}: accepted"),
            Err(answer) => ensure!(answer.contains(words), "{what}: the answer lacks {words:?}: {answer}"),
        }
    }
    Ok(())
}

fn source(change: Value) -> Value {
    merged(json!({ "sourcePVC": "data", "rsync": { "sshKeys": "keys" } }), change)
}

fn destination(change: Value) -> Value {
    merged(json!({ "rsync": { "capacity": "1Gi", "accessModes": ["ReadWriteOnce"] } }), change)
}

/// A merge patch: null removes.
fn merged(mut base: Value, change: Value) -> Value {
    if let (Value::Object(base), Value::Object(change)) = (&mut base, &change) {
        for (key, value) in change {
            if value.is_null() {
                base.remove(key);
            } else {
                let old = base.remove(key).unwrap_or(json!({}));
                let new = if value.is_object() { merged(old, value.clone()) } else { value.clone() };
                base.insert(key.clone(), new);
            }
        }
    }
    base
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_may_not_be() -> Result<()> {
    let trigger = |value: Value| source(json!({ "trigger": value }));
    let rsync = |value: Value| source(json!({ "rsync": value }));
    refused(
        "ReplicationSource",
        vec![
            ("no claim", source(json!({ "sourcePVC": null })), "spec.sourcePVC: Required value"),
            ("no method", source(json!({ "rsync": null })), "set exactly one of spec.rsync"),
            (
                "two methods",
                source(json!({ "external": { "provider": "a.example/b" } })),
                "set exactly one of spec.rsync",
            ),
            ("no keys", source(json!({ "rsync": { "sshKeys": null } })), "sshKeys"),
            (
                "a zone without a schedule",
                trigger(json!({ "timeZone": "UTC" })),
                "set trigger.schedule as well",
            ),
            (
                "a schedule of six fields",
                trigger(json!({ "schedule": "* * * * * *" })),
                "spec.trigger.schedule",
            ),
            ("an unknown nickname", trigger(json!({ "schedule": "@often" })), "spec.trigger.schedule"),
            (
                "an interval with a schedule",
                trigger(json!({ "schedule": "@daily", "minInterval": "1m" })),
                "minInterval belongs to continuous replication",
            ),
            ("a jitter without ticks", trigger(json!({ "jitter": "1m" })), "set trigger.schedule as well"),
            (
                "a jitter of days",
                trigger(json!({ "schedule": "@daily", "jitter": "25h" })),
                "jitter must be between 1s and 24h",
            ),
            ("an interval of nothing", trigger(json!({ "minInterval": "0s" })), "at least 1s"),
            ("an empty tag", trigger(json!({ "manual": "" })), "spec.trigger.manual"),
            (
                "an unknown copy method",
                rsync(json!({ "copyMethod": "Magic" })),
                "Unsupported value: \"Magic\"",
            ),
            (
                "fsGroup",
                rsync(json!({ "moverSecurityContext": { "fsGroup": 1 } })),
                "make the kubelet rewrite the data",
            ),
            ("an address with a space", rsync(json!({ "address": "a b" })), "spec.rsync.address"),
            (
                "an address that is an option",
                rsync(json!({ "address": "-oProxyCommand=x" })),
                "spec.rsync.address",
            ),
            ("port 0", rsync(json!({ "port": 0 })), "spec.rsync.port"),
            ("port 65536", rsync(json!({ "port": 65536 })), "spec.rsync.port"),
            (
                "no bandwidth at all",
                rsync(json!({ "bandwidthLimit": "1" })),
                "bandwidthLimit is a quantity of bytes",
            ),
            ("a timeout of nothing", rsync(json!({ "cutTimeout": "0s" })), "cutTimeout must be at least 1s"),
            ("an objective of nothing", source(json!({ "rpo": "0s" })), "rpo must be at least 1s"),
            ("an objective in words", source(json!({ "rpo": "soon" })), "rpo"),
            (
                "a provider without a domain",
                json!({ "sourcePVC": "data", "external": { "provider": "mirror" } }),
                "spec.external.provider",
            ),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guard_may_not_be() -> Result<()> {
    refused(
        "ReplicationSource",
        vec![
            (
                "a guard against everything",
                source(json!({ "guards": { "maxDeletedPercent": 0 } })),
                "spec.guards.maxDeletedPercent",
            ),
            (
                "a guard against more than everything",
                source(json!({ "guards": { "maxRewrittenPercent": 101 } })),
                "spec.guards.maxRewrittenPercent",
            ),
            (
                "an unknown idea of an empty source",
                source(json!({ "guards": { "emptySource": "Ask" } })),
                "Unsupported value: \"Ask\"",
            ),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_destination_may_not_be() -> Result<()> {
    let rsync = |value: Value| destination(json!({ "rsync": value }));
    refused(
        "ReplicationDestination",
        vec![
            ("no method", json!({}), "set exactly one of spec.rsync"),
            ("no capacity", rsync(json!({ "capacity": null })), "set capacity and accessModes"),
            ("no access modes", rsync(json!({ "accessModes": null })), "set capacity and accessModes"),
            (
                "both kinds of claim",
                rsync(json!({ "destinationPVC": "mine" })),
                "remove capacity, accessModes",
            ),
            (
                "an unknown copy method",
                rsync(json!({ "copyMethod": "Clone" })),
                "Unsupported value: \"Clone\"",
            ),
            ("an unknown service type", rsync(json!({ "serviceType": "ExternalName" })), "Unsupported value"),
            ("no replica", destination(json!({ "retain": { "last": 0 } })), "spec.retain.last"),
            ("no replica of any day", destination(json!({ "retain": { "daily": 0 } })), "spec.retain.daily"),
            (
                "nothing within",
                destination(json!({ "retain": { "within": "0s" } })),
                "retain.within must be at least 1s",
            ),
            ("too many replicas", destination(json!({ "retain": { "last": 129 } })), "spec.retain.last"),
            (
                "an unknown policy",
                destination(json!({ "deletionPolicy": "Keep" })),
                "Unsupported value: \"Keep\"",
            ),
            (
                "a timeout of nothing",
                rsync(json!({ "publishTimeout": "0s" })),
                "publishTimeout must be at least 1s",
            ),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_method_has_no_use_for() -> Result<()> {
    let rsync = |value: Value| source(json!({ "rsync": value }));
    refused(
        "ReplicationSource",
        vec![
            (
                "a snapshot class without a snapshot",
                rsync(json!({ "volumeSnapshotClassName": "gold" })),
                "set copyMethod: Snapshot",
            ),
            (
                "the size of a copy that is not made",
                rsync(json!({ "copyMethod": "Direct", "capacity": "1Gi" })),
                "copyMethod Direct makes no copy: remove capacity",
            ),
            (
                "the time for a copy that is not made",
                rsync(json!({ "copyMethod": "Direct", "cutTimeout": "1m" })),
                "copyMethod Direct makes no copy: remove capacity",
            ),
        ],
    )
    .await?;
    let rsync = |value: Value| destination(json!({ "rsync": value }));
    refused(
        "ReplicationDestination",
        vec![
            (
                "replicas without snapshots",
                destination(json!({ "rsync": { "copyMethod": "Direct" }, "retain": { "last": 2 } })),
                "makes none: remove retain",
            ),
            (
                "a class of snapshots that are not made",
                rsync(json!({ "copyMethod": "Direct", "volumeSnapshotClassName": "gold" })),
                "copyMethod Direct makes no snapshots",
            ),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hook_may_not_be() -> Result<()> {
    let hooks = |hooks: Value| source(json!({ "hooks": hooks }));
    let one =
        |change: Value| hooks(json!([merged(json!({ "module": "m", "points": ["Decision"] }), change)]));
    let many = json!([{ "module": "m", "points": ["Decision", "Transfer"] }, { "module": "n", "points": ["Decision"] }]);
    refused(
        "ReplicationSource",
        vec![
            ("no module", one(json!({ "module": null })), "spec.hooks[0].module: Required value"),
            ("a path", one(json!({ "module": "../secrets" })), "spec.hooks[0].module: Invalid value"),
            ("no points", one(json!({ "points": [] })), "should have at least 1 items"),
            ("a destination's", one(json!({ "points": ["Retention"] })), "Unsupported value: \"Retention\""),
            ("a point twice", one(json!({ "points": ["Decision", "Decision"] })), "Duplicate value"),
            ("two for a point", hooks(many), "each point has one hook at most"),
            ("no object", one(json!({ "settings": 1 })), "settings in body must be of type object"),
            ("another way", one(json!({ "onError": "Ignore" })), "Unsupported value: \"Ignore\""),
        ],
    )
    .await?;
    let keep = json!([{ "module": "m", "points": ["Retention"] }]);
    let twice =
        json!([{ "module": "m", "points": ["Retention"] }, { "module": "n", "points": ["Retention"] }]);
    let most = json!([{ "module": "m", "points": ["Retention"], "maxDeletePerRun": 0 }]);
    refused(
        "ReplicationDestination",
        vec![
            (
                "rules and a hook",
                destination(json!({ "hooks": keep, "retain": { "last": 3 } })),
                "in place of retain: remove one of the two",
            ),
            (
                "a hook without snapshots",
                destination(json!({ "hooks": keep, "rsync": { "copyMethod": "Direct" } })),
                "copyMethod Direct makes none: remove the hook",
            ),
            ("two hooks", destination(json!({ "hooks": twice })), "each point has one hook at most"),
            ("no deletion at all", destination(json!({ "hooks": most })), "greater than or equal to 1"),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hook_module_may_not_be() -> Result<()> {
    let https = |url: &str, sha256: &str| json!({ "https": { "url": url, "sha256": sha256 } });
    let file = |path: &str| json!({ "file": { "path": path } });
    let limits = |limits: Value| json!({ "file": { "path": "a" }, "limits": limits });
    let good = "0".repeat(64);
    let two = json!({ "file": { "path": "a" }, "configMap": { "name": "m", "key": "k" } });
    refused(
        "HookModule",
        vec![
            ("nowhere", json!({}), "set exactly one of spec.configMap"),
            ("two places", two, "set exactly one of spec.configMap"),
            (
                "a path for a name",
                json!({ "configMap": { "name": "../m", "key": "k" } }),
                "spec.configMap.name",
            ),
            ("a path for a key", json!({ "configMap": { "name": "m", "key": "a/b" } }), "spec.configMap.key"),
            ("plain http", https("http://a.example/b", &good), "must begin with https://"),
            ("a user", https("https://me:secret@a.example/b", &good), "hold no user and no password"),
            ("no address", https("https:hook.wasm", &good), "must begin with https://"),
            ("no digest", json!({ "https": { "url": "https://a.example/b" } }), "sha256: Required value"),
            ("a short digest", https("https://a.example/b", "abc"), "spec.https.sha256"),
            ("an absolute path", file("/etc/passwd"), "remove the leading /"),
            ("a way out", file("a/../../b"), "remove the leading / and every . and .."),
            (
                "too much memory",
                limits(json!({ "memory": "1Gi" })),
                "limits.memory must be from 64Ki to 256Mi",
            ),
            ("no quantity", limits(json!({ "memory": "much" })), "spec.limits.memory"),
            ("too much fuel", limits(json!({ "fuel": 2_000_000_000 })), "less than or equal to 1000000000"),
            ("too much time", limits(json!({ "pureTimeout": "1m" })), "must be from 10ms to 10s"),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed() -> Result<()> {
    let made = |answer: Result<DynamicObject, String>| answer.map_err(anyhow::Error::msg);
    made(create("ReplicationSource", "fixed", source(json!({}))).await?)?;
    made(create("ReplicationDestination", "fixed", json!({ "rsync": { "destinationPVC": "mine" } })).await?)?;
    let external = json!({ "rsync": null, "external": { "provider": "a.example/b" } });
    let cases = [
        (
            "ReplicationSource",
            json!({ "sourcePVC": "other" }),
            "make a new ReplicationSource for the other claim",
        ),
        ("ReplicationSource", external.clone(), "cannot be exchanged"),
        ("ReplicationDestination", external, "cannot be exchanged"),
        (
            "ReplicationDestination",
            json!({ "rsync": { "destinationPVC": "other" } }),
            "destinationPVC cannot be changed",
        ),
        (
            "ReplicationDestination",
            json!({ "rsync": { "copyMethod": "Direct" } }),
            "copyMethod cannot be changed",
        ),
    ];
    for (kind, change, words) in cases {
        let patch = Patch::Merge(json!({ "spec": change }));
        let answer = api(&client().await?, kind).patch("fixed", &PatchParams::default(), &patch).await;
        let answer = answer.err().with_context(|| format!("{kind} {change} was accepted"))?.to_string();
        ensure!(answer.contains(words), "the answer lacks {words:?}: {answer}");
    }
    Ok(())
}

/// What is legal is accepted, and what was left out stands in the object.
#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_filled_in() -> Result<()> {
    let accepted = [
        json!({ "trigger": { "schedule": "0 2 * * MON", "timeZone": "Europe/Berlin", "onCreate": false } }),
        json!({ "trigger": { "schedule": "@hourly", "manual": "a" } }),
        json!({ "guards": { "emptySource": "Allow", "maxDeletedPercent": 100, "maxRewrittenPercent": 1 } }),
        json!({ "trigger": { "minInterval": "1m30s" }, "rpo": "1h" }),
        json!({ "rsync": { "copyMethod": "Snapshot", "volumeSnapshotClassName": "gold", "capacity": "2Gi" } }),
        json!({ "rsync": { "copyMethod": "Direct" } }),
        json!({ "hooks": [{ "module": "m", "points": ["Decision", "Transfer"], "settings": { "any": [1, { "thing": null }] } }] }),
        json!({ "rsync": { "bandwidthLimit": "10Mi", "address": "fd00::1", "port": 22, "excludes": ["/tmp/", "*.bak"] } }),
    ];
    for (number, change) in accepted.into_iter().enumerate() {
        let answer =
            create("ReplicationSource", &format!("accepted-{number}"), source(change.clone())).await?;
        answer.map_err(anyhow::Error::msg).with_context(|| change.to_string())?;
    }
    let made =
        create("ReplicationSource", "plain", source(json!({ "trigger": { "schedule": "@daily" } }))).await?;
    let spec = &made.map_err(anyhow::Error::msg)?.data["spec"];
    ensure!(spec["paused"] == json!(false) && spec["trigger"]["onCreate"] == json!(true), "{spec}");
    let guards = json!({ "emptySource": "Refuse", "maxDeletedPercent": 50, "maxRewrittenPercent": 80 });
    ensure!(spec["guards"] == guards, "{spec}");
    for (field, value) in [("copyMethod", "Clone"), ("comparison", "Content"), ("fidelity", "BestEffort")] {
        ensure!(spec["rsync"][field] == json!(value), "{field}: {spec}");
    }
    let direct = destination(json!({ "rsync": { "copyMethod": "Direct" } }));
    create("ReplicationDestination", "direct", direct).await?.map_err(anyhow::Error::msg)?;
    let limits = json!({ "memory": "128Mi", "fuel": 1000, "pureTimeout": "500ms" });
    let module = json!({ "file": { "path": "team/a.wasm" }, "limits": limits });
    create("HookModule", "plain", module).await?.map_err(anyhow::Error::msg)?;
    let keep = json!([{ "module": "m", "points": ["Retention"], "dryRun": true }]);
    let kept = create("ReplicationDestination", "kept", destination(json!({ "hooks": keep }))).await?;
    kept.map_err(anyhow::Error::msg)?;
    let made = create("ReplicationDestination", "plain", destination(json!({}))).await?;
    let spec = &made.map_err(anyhow::Error::msg)?.data["spec"];
    ensure!(spec["deletionPolicy"] == json!("Retain"), "{spec}");
    ensure!(
        spec["rsync"]["copyMethod"] == json!("Snapshot")
            && spec["rsync"]["serviceType"] == json!("ClusterIP"),
        "{spec}"
    );
    Ok(())
}
