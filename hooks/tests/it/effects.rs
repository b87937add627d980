//! What a module asks for: judged, bounded, and passed on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use scribe_hooks::contract::effects::{
    Command, Entry, Event, ExecError, FreezeError, HttpError, KubeError, Outcome, PatchKind, Request,
    Response, StateError,
};
use scribe_hooks::contract::grants::{ExecPermit, Grants, HttpPermit, KubePermit, ListPermit};
use scribe_hooks::contract::reason::Reason;
use scribe_hooks::{CallError, Called, Host};
use serde_json::json;
use tokio::sync::Notify;

use crate::guest::{DATA, Guest, guest};
use crate::setup::{NOW, context, limits, load};

/// A host that writes down what it is asked, and has little to give.
#[derive(Default)]
pub struct Idle {
    /// Somebody sleeps.
    pub asleep: Notify,
    asked: Mutex<Vec<String>>,
    /// What a command writes.
    output: usize,
    /// What the API server says instead of an answer.
    denies: Option<String>,
}

impl Idle {
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Host for Idle {
    fn now(&self) -> u64 {
        NOW
    }

    async fn emit_event(&self, event: Event) -> Result<(), String> {
        self.note(format!("event {} {}", event.reason, event.message));
        Ok(())
    }

    async fn state_get(&self, key: String) -> Result<Option<Entry>, StateError> {
        self.note(format!("get {key}"));
        Ok(None)
    }

    async fn state_put(
        &self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        max_bytes: u64,
    ) -> Result<u64, StateError> {
        self.note(format!("put {key} {} {expect:?} {max_bytes}", value.len()));
        Err(StateError::Conflict(7))
    }

    async fn state_delete(&self, _: String, _: Option<u64>) -> Result<(), StateError> {
        Ok(())
    }

    async fn state_keys(&self, _: String) -> Result<Vec<String>, StateError> {
        Ok(Vec::new())
    }

    async fn kube_get(&self, target: KubePermit, pointer: Option<String>) -> Result<String, KubeError> {
        self.note(format!("get {}/{} {pointer:?}", target.resource, target.name));
        Err(KubeError::NotFound)
    }

    async fn kube_list(&self, _: ListPermit) -> Result<Vec<String>, KubeError> {
        Ok(Vec::new())
    }

    async fn kube_patch(&self, _: KubePermit, _: PatchKind, _: String) -> Result<String, KubeError> {
        Err(KubeError::NotFound)
    }

    async fn kube_annotate(
        &self,
        _: KubePermit,
        _: String,
        _: Option<String>,
    ) -> Result<Option<String>, KubeError> {
        Ok(None)
    }

    async fn kube_scale(&self, target: KubePermit, replicas: u32) -> Result<u32, KubeError> {
        self.note(format!("scale {}/{} {replicas}", target.resource, target.name));
        self.denies.clone().map_or(Ok(3), |why| Err(KubeError::Denied(why)))
    }

    async fn kube_wait_for(&self, _: KubePermit, _: String, _: String, _: u32) -> Result<bool, KubeError> {
        std::future::pending().await
    }

    async fn exec(&self, target: ExecPermit, command: Command) -> Result<Vec<Outcome>, ExecError> {
        self.note(format!(
            "exec {:?} {:?} {}",
            target.selector.map(|s| s.to_string()),
            command.argv,
            command.max_output
        ));
        if command.argv[0] == "hang" {
            std::future::pending::<()>().await;
        }
        let outcome = Outcome {
            pod: "db-0".into(),
            exit_code: 0,
            stdout: vec![b'x'; self.output],
            stderr: Vec::new(),
            truncated: false,
        };
        Ok(vec![outcome])
    }

    async fn freeze_scale_down(&self, workload: KubePermit, replicas: u32) -> Result<(), FreezeError> {
        self.note(format!("freeze {} {replicas}", workload.name));
        Ok(())
    }

    async fn freeze_annotate(&self, _: KubePermit, _: String, _: String) -> Result<(), FreezeError> {
        Ok(())
    }

    async fn freeze_suspend_cronjob(&self, _: KubePermit) -> Result<(), FreezeError> {
        Ok(())
    }

    async fn freeze_exec_with_undo(&self, _: ExecPermit, _: Command, _: Command) -> Result<(), FreezeError> {
        Ok(())
    }

    async fn freeze_hold_session(&self, _: ExecPermit, _: Command, _: String) -> Result<(), FreezeError> {
        Ok(())
    }

    async fn http_send(&self, permit: HttpPermit, _: Request, max_body: u64) -> Result<Response, HttpError> {
        self.note(format!("send {} {max_body}", permit.url));
        Ok(Response {
            status: 200,
            headers: Vec::new(),
            body: vec![0; usize::try_from(max_body).unwrap() + 1],
        })
    }

    async fn sleep(&self, duration: Duration) {
        self.asleep.notify_one();
        if !duration.is_zero() {
            tokio::time::sleep(duration).await;
        }
    }
}

const TEXT: u32 = DATA + 2048;
/// Where the host's answers are put.
const ANSWER: u32 = 16384;

/// Text in the guest's memory, and its address and length as arguments.
fn text(guest: Guest, number: u32, text: &str) -> (Guest, String) {
    let at = TEXT + number * 256;
    (guest.text(at, text), format!("(i32.const {at}) (i32.const {})", text.len()))
}

/// If the host did not do it, the hook answers `failed` with the error's text, which lies there in the answer.
fn report(text_at: u32) -> String {
    let from = ANSWER + text_at;
    format!(
        "(if (i32.load8_u (i32.const {ANSWER})) (then
            (i32.store (i32.const 2048) (i32.const 1))
            (i32.store (i32.const 2052) (i32.const 2))
            (i32.store (i32.const 2056) (i32.load (i32.const {from})))
            (i32.store (i32.const 2060) (i32.load (i32.const {})))))
         i32.const 2048",
        from + 4
    )
}

/// If the host did not do it, the case of its error, which lies there in the answer, as the number of seconds after which to ask again.
fn case(at: u32) -> String {
    format!(
        "(if (i32.load8_u (i32.const {ANSWER})) (then
            (i32.store (i32.const 2048) (i32.const 1))
            (i32.store (i32.const 2056) (i32.add (i32.const 1) (i32.load8_u (i32.const {}))))))
         i32.const 2048",
        ANSWER + at
    )
}

async fn pre_sync(guest: Guest, grants: serde_json::Value, host: &Arc<Idle>) -> Called<()> {
    let grants: Grants = serde_json::from_value(grants).unwrap();
    grants.validate().unwrap();
    load(guest.build()).await.effectful(limits(), Arc::new(grants), host.clone()).pre_sync(context()).await
}

/// A hook that scales a StatefulSet by that name in that namespace.
fn scaling(namespace: &str, name: &str) -> Guest {
    let hook = guest("lifecycle-hook").imports(
        "kube",
        "scale",
        "scale",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    );
    let (hook, version) = text(hook, 0, "apps/v1");
    let (hook, kind) = text(hook, 1, "StatefulSet");
    let (hook, namespace) = text(hook, 2, namespace);
    let (hook, name) = text(hook, 3, name);
    hook.does(
        "pre-sync",
        &format!(
            "(call $scale {version} {kind} {namespace} {name} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2) (i32.const {ANSWER})) {}",
            report(16)
        ),
    )
}

fn may_scale() -> serde_json::Value {
    json!({ "kubernetes": [{ "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["scale"], "names": ["db"] }] })
}

#[tokio::test]
async fn what_was_granted_is_done() {
    let host = Idle::shared();
    let called = pre_sync(scaling("", "db"), may_scale(), &host).await;
    assert_eq!(called.outcome, Ok(()));
    assert_eq!(host.asked(), ["scale statefulsets/db 2"]);
    assert_eq!(called.usage.host_calls, [("kube.scale", 1)].into());
}

#[tokio::test]
async fn what_was_not_granted_never_reaches_the_host() {
    for (namespace, name, grants, why) in [
        ("", "db", json!({}), "no kubernetes grant has verb scale for statefulsets.apps `db`"),
        ("", "other", may_scale(), "no kubernetes grant has verb scale for statefulsets.apps `other`"),
        ("kube-system", "db", may_scale(), "a hook reaches only the namespace of the object that names it"),
        ("", "../db", may_scale(), "target.name is not the name of an object"),
    ] {
        let host = Idle::shared();
        let called = pre_sync(scaling(namespace, name), grants, &host).await;
        let error = called.outcome.unwrap_err();
        assert_eq!(error.reason(), Reason::HookDenied);
        assert_eq!(error.to_string(), format!("pre-sync failed: {why}"));
        assert!(host.asked().is_empty());
    }
}

/// What was granted, and the hook's ServiceAccount may not: no less denied, and the way out is another.
#[tokio::test]
async fn what_the_api_server_denies_is_denied() {
    let why = "deployments.apps \"db\" is forbidden: no RBAC".to_owned();
    let host = Arc::new(Idle { denies: Some(why.clone()), ..Idle::default() });
    let error = pre_sync(scaling("", "db"), may_scale(), &host).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookDenied);
    assert_eq!(error.to_string(), format!("pre-sync failed: {why}"));
}

/// A hook that reads an object of that kind.
#[tokio::test]
async fn no_grant_reaches_a_secret() {
    let hook = guest("lifecycle-hook").imports(
        "kube",
        "get",
        "get",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    );
    let (hook, version) = text(hook, 0, "v1");
    let (hook, kind) = text(hook, 1, "Secret");
    let (hook, name) = text(hook, 3, "db");
    let zeros = "(i32.const 0) (i32.const 0) (i32.const 0)";
    let hook = hook.does(
        "pre-sync",
        &format!(
            "(call $get {version} {kind} (i32.const 0) (i32.const 0) {name} {zeros} {zeros} (i32.const {ANSWER})) {}",
            report(8)
        ),
    );
    let all = json!({ "kubernetes": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "names": ["*"] }] });
    let host = Idle::shared();
    let error = pre_sync(hook, all, &host).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookDenied);
    assert!(error.to_string().contains("Secrets are never"), "{error}");
    assert!(host.asked().is_empty());
}

/// A hook that runs a command wherever `app=db` is, so many times, with that much output.
fn running(argv: &[&str], times: u32, max_output: u32, timeout: u32) -> Guest {
    let hook = guest("lifecycle-hook").imports(
        "exec",
        "run",
        "run",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    );
    let (mut hook, selector) = text(hook, 0, "app=db");
    let mut list = Vec::new();
    for (number, argument) in argv.iter().enumerate() {
        let at = TEXT + (u32::try_from(number).unwrap() + 1) * 256;
        hook = hook.text(at, argument);
        list.extend([at, u32::try_from(argument.len()).unwrap()]);
    }
    let count = argv.len();
    hook.words(DATA, &list).does(
        "pre-sync",
        &format!(
            "(loop $l
                (call $run (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) {selector} (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const {DATA}) (i32.const {count}) (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const {max_output})
                    (i32.const {ANSWER}))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const {times}))))
             {}",
            report(8)
        ),
    )
}

fn may_run() -> serde_json::Value {
    json!({ "exec": [{ "podSelector": { "app": "db" }, "containers": ["main"], "commands": [["psql", "**"], ["hang"]] }] })
}

#[tokio::test]
async fn commands_are_judged_and_their_output_is_bounded_over_the_whole_call() {
    let host = Arc::new(Idle { output: 400 << 10, ..Idle::default() });
    let called = pre_sync(running(&["psql", "-c", "CHECKPOINT"], 4, u32::MAX, 5), may_run(), &host).await;
    assert_eq!(called.outcome, Ok(()));
    let allowed: Vec<_> =
        host.asked().iter().map(|asked| asked.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).collect();
    assert_eq!(allowed, [1024 << 10, 624 << 10, 224 << 10, 0]);
    assert!(host.asked()[0].starts_with("exec Some(\"app in (db)\") [\"psql\", \"-c\", \"CHECKPOINT\"]"));
}

#[tokio::test]
async fn a_command_outside_of_the_grant_is_denied() {
    let host = Idle::shared();
    let called = pre_sync(running(&["sh", "-c", "id"], 1, 10, 5), may_run(), &host).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookDenied);
    assert!(error.to_string().contains("no exec grant has a command that matches `sh -c …`"), "{error}");
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_command_that_hangs_ends_with_its_own_time() {
    let host = Idle::shared();
    let called = pre_sync(running(&["hang"], 1, 10, 1), may_run(), &host).await;
    // timed-out has no text: the hook says "failed" and nothing more.
    assert!(matches!(called.outcome, Err(CallError::Failed { .. })), "{called:?}");
    assert!(called.usage.duration < Duration::from_secs(30));
}

/// A hook that scales down until release.
fn freezing(world: &str, function: &'static str) -> Guest {
    freezing_and(world, function, &case(4))
}

/// The same, with what it does after that.
fn freezing_and(world: &str, function: &'static str, end: &str) -> Guest {
    let hook = guest(world).imports(
        "freeze",
        "scale-down",
        "freeze",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    );
    let (hook, version) = text(hook, 0, "apps/v1");
    let (hook, kind) = text(hook, 1, "StatefulSet");
    let (hook, name) = text(hook, 3, "db");
    hook.does(
        function,
        &format!(
            "(call $freeze {version} {kind} (i32.const 0) (i32.const 0) {name} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {ANSWER})) {end}"
        ),
    )
}

#[tokio::test]
async fn only_quiesce_may_freeze() {
    let host = Idle::shared();
    let grants: Arc<Grants> = Arc::new(serde_json::from_value(may_scale()).unwrap());
    let module = load(freezing("quiesce-hook", "quiesce").build()).await;
    let frozen = module.effectful(limits(), grants.clone(), host.clone()).quiesce(context()).await;
    assert!(frozen.outcome.is_ok(), "{frozen:?}");
    assert_eq!(host.asked(), ["freeze db 0"]);
    let module = load(freezing("lifecycle-hook", "pre-sync").build()).await;
    let called = module.effectful(limits(), grants, host.clone()).pre_sync(context()).await;
    // window-closed is the third case.
    assert!(matches!(called.outcome, Err(CallError::RetryAfter { seconds: 3, .. })), "{called:?}");
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn a_trap_after_a_freeze_is_told_with_where_it_was() {
    let host = Idle::shared();
    let grants: Arc<Grants> = Arc::new(serde_json::from_value(may_scale()).unwrap());
    let module = load(freezing_and("quiesce-hook", "quiesce", "unreachable").build()).await;
    let error =
        module.effectful(limits(), grants, host.clone()).quiesce(context()).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookTrap);
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert_eq!(host.asked(), ["freeze db 0"]);
}

#[tokio::test]
async fn events_are_counted_and_cleaned() {
    let hook = guest("lifecycle-hook").imports("events", "emit", "emit", "(param i32 i32 i32 i32 i32 i32)");
    let (hook, reason) = text(hook, 0, "Quiesced");
    let (hook, message) = text(hook, 1, "a\nb\u{1b}[31m");
    let hook = hook.does(
        "pre-sync",
        &format!(
            "(loop $l
                (call $emit (i32.const 0) {reason} {message} (i32.const {ANSWER}))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
             {}",
            report(4)
        ),
    );
    let host = Idle::shared();
    let called = pre_sync(hook, json!({}), &host).await;
    assert_eq!(called.outcome.unwrap_err().to_string(), "pre-sync failed: a call may emit 20 events");
    assert_eq!(host.asked().len(), 20);
    assert_eq!(host.asked()[0], "event Quiesced a\\nb\\u{1b}[31m");
}

#[tokio::test]
async fn a_response_that_is_too_large_does_not_reach_the_module() {
    let url = "https://pager.example.com/";
    let hook = guest("lifecycle-hook").imports(
        "http",
        "send",
        "send",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    );
    let (hook, method) = text(hook, 0, "GET");
    let (hook, url_text) = text(hook, 1, url);
    let zeros = "(i32.const 0) (i32.const 0)";
    let hook = hook.does(
        "pre-sync",
        &format!(
            "(call $send {method} {url_text} {zeros} {zeros} (i32.const 5) {zeros} (i32.const {ANSWER})) {}",
            case(8)
        ),
    );
    let host = Idle::shared();
    let grants = json!({ "http": { "allow": ["https://pager.example.com:443"] } });
    let called = pre_sync(hook, grants, &host).await;
    // too-large is the sixth case.
    assert!(matches!(called.outcome, Err(CallError::RetryAfter { seconds: 6, .. })), "{called:?}");
    assert_eq!(host.asked(), [format!("send {url} {}", 4 << 20)]);
}

#[tokio::test]
async fn the_store_is_granted_and_bounded() {
    let hook = || {
        let hook = guest("lifecycle-hook")
            .imports("state", "put", "put", "(param i32 i32 i32 i32 i32 i64 i32)")
            .pages(8);
        let (hook, key) = text(hook, 0, "cursor");
        // err(variant): the text of `unavailable` lies at 16.
        hook.does(
            "pre-sync",
            &format!(
                "(call $put {key} (i32.const 65536) (i32.const 200000) (i32.const 1) (i64.const 0) (i32.const {ANSWER})) {}",
                report(16)
            ),
        )
    };
    let host = Idle::shared();
    let called = pre_sync(hook(), json!({}), &host).await;
    assert!(called.outcome.unwrap_err().to_string().contains("state.put: no state grant"));
    let called = pre_sync(hook(), json!({ "state": { "maxBytes": "100Ki" } }), &host).await;
    assert!(called.outcome.is_err());
    assert!(host.asked().is_empty(), "{:?}", host.asked());
    let _ = pre_sync(hook(), json!({ "state": {} }), &host).await;
    assert_eq!(host.asked(), ["put cursor 200000 Some(0) 262144"]);
}
