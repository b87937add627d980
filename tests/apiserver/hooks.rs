//! Hooks: modules from real ConfigMaps, compiled and called by the controller as it is shipped.

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scribe_crds::v1alpha1::{HookModule, HookModuleStatus, ReplicationSource, SourceStatus};
use scribe_test_registry::{Access, Registry};
use scribe_tests::component::Component;
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};

use crate::world::{LEASE, World};

impl World {
    /// A ConfigMap with a module, made or changed.
    async fn config_map(&self, name: &str, wasm: Vec<u8>) -> Result<()> {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.binary_data = Some([("hook.wasm".to_owned(), ByteString(wasm))].into());
        let apply = PatchParams::apply("test").force();
        self.api::<ConfigMap>().patch(name, &apply, &Patch::Apply(typed("v1", "ConfigMap", &map)?)).await?;
        Ok(())
    }

    /// A HookModule.
    async fn hook_module(&self, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "HookModule", "metadata": { "name": name }, "spec": spec
        });
        let object = serde_json::from_value(object)?;
        self.api::<HookModule>().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// A HookModule of a ConfigMap with this module, both of this name.
    async fn module(&self, name: &str, component: Component) -> Result<()> {
        self.config_map(name, component.build()?).await?;
        self.hook_module(name, json!({ "configMap": { "name": name, "key": "hook.wasm" } })).await
    }

    async fn await_module(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&HookModuleStatus) -> bool,
    ) -> Result<HookModuleStatus> {
        let met = |module: Option<&HookModule>| {
            module.and_then(|module| module.status.as_ref()).is_some_and(&condition)
        };
        let seen = await_condition(&self.api(), name, awaited, met).await.with_context(|| self.log())?;
        seen.and_then(|module| module.status).context("it was there")
    }

    /// Waits until a HookModule is not ready, for this reason and in these words.
    async fn not_ready(&self, name: &str, reason: &str, words: &str) -> Result<()> {
        let told = |status: &HookModuleStatus| {
            let (status, why, message) = ready(status);
            status == "False" && why == reason && message.contains(words)
        };
        self.await_module(name, &format!("not ready: {reason}, {words}"), told).await?;
        Ok(())
    }

    /// A claim, and a source of it with hooks, both of this name.
    async fn hooked(&self, name: &str, hooks: Value) -> Result<()> {
        self.claim(name, &format!("volume-of-{name}")).await?;
        self.source(name, json!({ "hooks": hooks })).await
    }

    async fn events_of(&self, name: &str, reason: &str) -> Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?.items;
        let about = |event: &Event| {
            event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(name)
                && event.reason.as_deref() == Some(reason)
        };
        Ok(events.into_iter().filter(about).filter_map(|event| event.note).collect())
    }
}

/// An object as server-side apply wants it.
fn typed<T: serde::Serialize>(api_version: &str, kind: &str, object: &T) -> Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(kind);
    Ok(value)
}

/// Status, reason and message of the condition `Ready`.
fn ready(status: &HookModuleStatus) -> (&str, &str, &str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    found.map_or(("", "", ""), |it| (it.status.as_str(), it.reason.as_str(), it.message.as_str()))
}

fn says<'a>(status: &'a SourceStatus, kind: &str) -> (&'a str, &'a str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or(("", ""), |it| (it.reason.as_str(), it.message.as_str()))
}

fn decision(module: &str) -> Value {
    json!([{ "module": module, "points": ["Decision"] }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_loaded_and_described() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.module("good", Component::new()).await?;
    let status = world.await_module("good", "ready", |status| ready(status).1 == "ModuleReady").await?;
    ensure!(
        ready(&status) == ("True", "ModuleReady", "test 1 can be asked at Decision, Transfer, Retention")
    );
    ensure!(status.name.as_deref() == Some("test") && status.version.as_deref() == Some("1"), "{status:?}");
    ensure!(status.exports.len() == 3 && status.api_version.as_deref() == Some("0.1.0"), "{status:?}");
    ensure!(status.size > Some(0) && status.compiled_size > status.size, "{status:?}");
    let first = status.digest.context("a digest")?;
    // A new one takes its place, and one that is broken does not.
    world.config_map("good", Component::new().version(2).build()?).await?;
    let status =
        world.await_module("good", "another", |status| status.version.as_deref() == Some("2")).await?;
    ensure!(status.digest.is_some_and(|digest| digest != first));
    world.config_map("good", b"not a module".to_vec()).await?;
    let status = world.await_module("good", "stale", |status| ready(status).1 == "ModuleStale").await?;
    let (is_ready, _, message) = ready(&status);
    ensure!(is_ready == "True" && message.contains("not WebAssembly"), "{message}");
    ensure!(status.version.as_deref() == Some("2"), "hooks go on with the one before");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("good.wasm"), Component::new().build()?)?;
    let folder = format!("--hook-modules-dir={}", folder.path().display());
    let world = World::start_with(&[LEASE], &[&folder, "--hook-memory=256"], true).await?;
    let in_map = |name: &str| json!({ "configMap": { "name": name, "key": "hook.wasm" } });
    world.config_map("text", b"hello".to_vec()).await?;
    world.config_map("core", wat::parse_str("(module)")?).await?;
    world.hook_module("missing", in_map("nobody")).await?;
    world.hook_module("no-key", json!({ "configMap": { "name": "text", "key": "other" } })).await?;
    world.hook_module("text", in_map("text")).await?;
    world.hook_module("core", in_map("core")).await?;
    world.hook_module("file", json!({ "file": { "path": "good.wasm" } })).await?;
    world.hook_module("no-file", json!({ "file": { "path": "bad.wasm" } })).await?;
    let digest = "0".repeat(64);
    let pinned = json!({ "configMap": { "name": "text", "key": "hook.wasm", "sha256": digest } });
    world.hook_module("pinned", pinned).await?;
    let file = json!({ "file": { "path": "good.wasm", "sha256": digest } });
    world.hook_module("pinned-file", file).await?;
    let large = json!({ "file": { "path": "good.wasm" }, "limits": { "memory": "256Mi" } });
    world.hook_module("large", large).await?;
    let local = json!({ "https": { "url": "https://127.0.0.1:1/hook.wasm", "sha256": digest } });
    world.hook_module("local", local).await?;
    for (name, reason, words) in [
        ("missing", "ModuleNotFound", "ConfigMap nobody does not exist"),
        ("no-key", "ModuleNotFound", "has no other in its binaryData: there is hook.wasm"),
        ("text", "HookModuleInvalid", "not WebAssembly"),
        ("core", "HookModuleInvalid", "core module and not a component"),
        ("no-file", "ModuleNotFound", "no file bad.wasm below --hook-modules-dir"),
        ("pinned", "ModuleFetchFailed", "which is not spec.configMap.sha256"),
        ("pinned-file", "ModuleFetchFailed", "which is not spec.file.sha256"),
        ("large", "InvalidSpec", "--hook-memory"),
        ("local", "ModuleFetchFailed", "--hook-module-hosts"),
    ] {
        world.not_ready(name, reason, words).await?;
    }
    world.await_module("file", "ready", |status| ready(status).1 == "ModuleReady").await?;
    // What appears is taken without being asked for.
    world.config_map("nobody", Component::new().build()?).await?;
    world.await_module("missing", "ready", |status| ready(status).1 == "ModuleReady").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_asked_for_and_recorded() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.module("skip", Component::new().skips("it is a holiday")).await?;
    world.module("proceed", Component::new()).await?;
    world.hooked("skipped", decision("skip")).await?;
    world.hooked("started", decision("proceed")).await?;
    let skipped = |status: &SourceStatus| says(status, "Synchronizing").0 == "HookSkipped";
    let status = world.await_source("skipped", "skipped", skipped).await?;
    ensure!(status.last_skip.as_ref().is_some_and(|skip| skip.tag.as_deref() == Some("one")), "{status:?}");
    ensure!(status.current_sync.is_none() && status.last_manual_sync.is_none(), "{status:?}");
    let told = world.events_of("skipped", "HookSkipped").await?;
    ensure!(told.iter().any(|words| words.contains("it is a holiday")), "{told:?}");
    let status = world.await_source("started", "started", |status| status.current_sync.is_some()).await?;
    let record = status.hooks.first().and_then(|hook| hook.decision.clone()).context("a record")?;
    ensure!(record.asked == 1 && record.tag.as_deref() == Some("one"), "{record:?}");
    world.mover("started").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_asks_nothing_twice() -> Result<()> {
    let mut world = World::start(&[LEASE]).await?;
    world.module("defer", Component::new().defers(3600, "the backup runs")).await?;
    world.hooked("db", decision("defer")).await?;
    let deferred = |status: &SourceStatus| says(status, "Synchronizing").0 == "HookDeferred";
    let before = world.await_source("db", "put off", deferred).await?;
    // It is killed, and another one loads the module anew, and finds what was said.
    for controller in &mut world.controllers {
        controller.kill()?;
        controller.wait()?;
    }
    world.start_another(LEASE).await?;
    // That it has looked shows in another source, which it is asked about after that one.
    world.hooked("later", decision("defer")).await?;
    world.await_source("later", "put off", deferred).await?;
    let after = world.await_source("db", "as before", deferred).await?;
    ensure!(after.hooks == before.hooks && after.next_sync_time == before.next_sync_time, "{after:?}");
    ensure!(after.hooks[0].decision.as_ref().is_some_and(|record| record.asked == 1), "{after:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_spins_holds_up_nobody_else() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.config_map("spin", Component::new().spins().build()?).await?;
    let limits = json!({ "fuel": 1_000_000_000, "pureTimeout": "10s" });
    world
        .hook_module("spin", json!({ "configMap": { "name": "spin", "key": "hook.wasm" }, "limits": limits }))
        .await?;
    for number in 0..6 {
        world.hooked(&format!("spinning{number}"), decision("spin")).await?;
    }
    let running = |status: &SourceStatus| says(status, "Synchronizing").0 == "HookRunning";
    let broken = |status: &SourceStatus| says(status, "HooksReady").0.starts_with("Hook") && !running(status);
    world.await_source("spinning0", "asked", |status| running(status) || broken(status)).await?;
    world.claim("plain", "volume-of-plain").await?;
    world.source("plain", json!({})).await?;
    world.mover("plain").await?;
    let last = world.api::<ReplicationSource>().get("spinning5").await?.status.unwrap_or_default();
    let reason = says(&last, "HooksReady").0;
    ensure!(!["HookFuel", "HookTimeout"].contains(&reason), "all was over before: {reason}");
    // And it comes to an end: by its fuel, or by its time on a busy machine.
    let ended = |status: &SourceStatus| ["HookFuel", "HookTimeout"].contains(&says(status, "HooksReady").0);
    let status = world.await_source("spinning5", "stopped", ended).await?;
    ensure!(status.current_sync.is_none() && status.next_sync_time.is_some(), "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_hook_is_said_and_can_be_put_right() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.module("picky", Component::new().refuses("/from", "write a time such as 22:00")).await?;
    world.module("broken", Component::new().traps()).await?;
    world.hooked("picky", decision("picky")).await?;
    world.hooked("missing", decision("nobody")).await?;
    world.hooked("broken", decision("broken")).await?;
    let anyway = json!([{ "module": "broken", "points": ["Decision"], "onError": "Continue" }]);
    world.hooked("anyway", anyway).await?;
    for (name, reason, words) in [
        ("picky", "HookSettingsInvalid", "settings/from: write a time such as 22:00"),
        (
            "missing",
            "HookModuleMissing",
            "HookModule nobody of spec.hooks[0] does not exist. Make the HookModule",
        ),
        ("broken", "HookTrap", "HookModule broken could not say whether to sync"),
    ] {
        let told = |status: &SourceStatus| {
            let (hooks, sync) = (says(status, "HooksReady"), says(status, "Synchronizing"));
            hooks.0 == reason && sync.0 == reason && hooks.1.contains(words) && sync.1.contains(words)
        };
        let status = world.await_source(name, &format!("in want of {words}"), told).await?;
        ensure!(status.current_sync.is_none(), "{name} was started");
    }
    let goes_on =
        |status: &SourceStatus| says(status, "HooksReady").0 == "HookTrap" && status.current_sync.is_some();
    world.await_source("anyway", "started without its hook", goes_on).await?;
    // Each is repaired where the message said.
    world.module("nobody", Component::new()).await?;
    world.config_map("picky", Component::new().build()?).await?;
    for name in ["missing", "picky"] {
        world.await_source(name, "started", |status| status.current_sync.is_some()).await?;
    }
    // And one that goes away while a sync runs is missed.
    world.api::<HookModule>().delete("nobody", &DeleteParams::default()).await?;
    let missed = |status: &SourceStatus| says(status, "HooksReady").0 == "HookModuleMissing";
    world.await_source("missing", "in want of its module", missed).await?;
    Ok(())
}

/// An artifact with that module; its digest.
fn push(registry: &Registry, wasm: &[u8]) -> String {
    let config = br#"{"architecture":"wasm","os":"wasip2"}"#;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.wasm.config.v0+json", "digest": registry.put_blob(config), "size": config.len()
        },
        "layers": [{ "mediaType": "application/wasm", "digest": registry.put_blob(wasm), "size": wasm.len() }]
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest("hooks/good", "1.0", media_type, manifest.to_string().as_bytes())
}

/// A module from a registry that wants a password: it is read as the ServiceAccount that the HookModule names, and by nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_pulled_from_a_registry() -> Result<()> {
    let (registry, authority) = Registry::start_tls(Access::Token("u".into(), "p".into())).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority)?;
    let flags =
        [format!("--hook-authorities-file={}", file.display()), "--hook-module-hosts=127.0.0.1".into()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let world = World::start_with(&[LEASE], &flags, true).await?;
    let digest = push(&registry, &Component::new().build()?);
    let reference = format!("{}/hooks/good:1.0@{digest}", registry.host());
    let auth = json!({ "auths": { registry.host(): { "username": "u", "password": "p" } } }).to_string();
    world.secret("pull", &[(".dockerconfigjson", &auth)]).await?;
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "puller" } }))?;
    world.api::<ServiceAccount>().create(&PostParams::default(), &account).await?;
    let oci = json!({ "reference": reference, "pullSecret": "pull", "serviceAccountName": "puller" });
    world.hook_module("good", json!({ "oci": oci })).await?;
    world
        .not_ready(
            "good",
            "ModuleFetchFailed",
            "Secret pull, as ServiceAccount puller: secrets \"pull\" is forbidden",
        )
        .await?;
    let role: Role = serde_json::from_value(json!({
        "metadata": { "name": "puller" },
        "rules": [{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pull"], "verbs": ["get"] }]
    }))?;
    world.api::<Role>().create(&PostParams::default(), &role).await?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "puller" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "puller" },
        "subjects": [{ "kind": "ServiceAccount", "name": "puller", "namespace": "default" }]
    }))?;
    world.api::<RoleBinding>().create(&PostParams::default(), &binding).await?;
    world.await_module("good", "ready", |status| ready(status).1 == "ModuleReady").await?;
    // One that nobody has signed, and one from where nobody may go.
    let mut signed = oci.clone();
    signed["publicKeys"] = json!({ "secret": "pull", "key": ".dockerconfigjson" });
    world.hook_module("keyless", json!({ "oci": signed })).await?;
    world.not_ready("keyless", "ModuleFetchFailed", "Secret pull, key .dockerconfigjson").await?;
    let inward = reference.replace("127.0.0.1", "localhost");
    world.hook_module("inward", json!({ "oci": { "reference": inward } })).await?;
    world.not_ready("inward", "ModuleFetchFailed", "--hook-module-hosts").await?;
    Ok(())
}
