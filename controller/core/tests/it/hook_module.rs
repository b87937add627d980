//! What the status of a HookModule says.

use jiff::Timestamp;
use scribe_core::decision::Decision;
use scribe_core::hook_module::{HookModuleObserved, Load, LoadTrouble, Loaded, decide};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{HookModule, HookModuleStatus};
use scribe_hooks_contract::points::Point;

const NOW: &str = "2026-03-01T00:00:00Z";

fn seen(load: Load) -> HookModuleObserved {
    let module = "{metadata: {name: m, generation: 1}, spec: {configMap: {name: m, key: hook.wasm}}}";
    HookModuleObserved { module: serde_saphyr::from_str::<HookModule>(module).unwrap(), load }
}

fn loaded(digest: &str) -> Load {
    let loaded = Loaded {
        digest: digest.to_owned(),
        size: 27_000,
        compiled_size: 100_000,
        api_version: "0.1.0".to_owned(),
        exports: vec![Point::Decision, Point::Retention],
        name: "window".to_owned(),
        version: "1.2".to_owned(),
    };
    Load { loaded: Some(loaded), ..Load::default() }
}

fn trouble() -> Option<LoadTrouble> {
    let message = "ConfigMap m does not exist".to_owned();
    Some(LoadTrouble { reason: Reason::ModuleNotFound, message })
}

fn at(seen: &HookModuleObserved) -> Decision<HookModuleStatus> {
    let decision = decide(seen, NOW.parse::<Timestamp>().unwrap());
    if let Some(status) = &decision.status {
        let mut again = seen.clone();
        again.module.status = Some(status.clone());
        let second = decide(&again, NOW.parse().unwrap());
        assert!(second.status.is_none_or(|second| second == *status) && second.events.is_empty());
    }
    decision
}

fn ready(decision: &Decision<HookModuleStatus>) -> String {
    let condition = &decision.status.as_ref().unwrap().conditions[0];
    let events: Vec<&str> = decision.events.iter().map(|note| note.reason.as_str()).collect();
    format!("{} {}: {} {events:?}", condition.status, condition.reason, condition.message)
}

#[test]
fn each_state_is_told() {
    let loading = Load { is_loading: true, ..Load::default() };
    insta::assert_snapshot!(ready(&at(&seen(loading))), @"Unknown ModuleLoading: the module is being loaded []");
    insta::assert_snapshot!(
        ready(&at(&seen(loaded("a")))),
        @r#"True ModuleReady: window 1.2 can be asked at Decision, Retention ["ModuleReady"]"#
    );
    let missing = Load { trouble: trouble(), ..Load::default() };
    insta::assert_snapshot!(
        ready(&at(&seen(missing))),
        @r#"False ModuleNotFound: ConfigMap m does not exist. Make what the message names, or correct the spec of the HookModule. ["ModuleNotFound"]"#
    );
    let stale = Load { trouble: trouble(), ..loaded("a") };
    insta::assert_snapshot!(
        ready(&at(&seen(stale))),
        @r#"True ModuleStale: hooks go on with the module before: ConfigMap m does not exist. Repair what the message says; the new one is used as soon as it can be. ["ModuleStale"]"#
    );
}

#[test]
fn a_controller_that_has_just_started_takes_nothing_back() {
    let mut seen = seen(loaded("a"));
    seen.module.status = at(&seen).status;
    seen.load = Load { is_loading: true, ..Load::default() };
    assert_eq!(at(&seen).status, None);
    // But a new spec is told of, with what is still run.
    seen.module.metadata.generation = Some(2);
    seen.load = Load { is_loading: true, ..loaded("a") };
    let decision = at(&seen);
    assert!(ready(&decision).starts_with("True ModuleLoading: what the source holds now"));
    assert_eq!(decision.status.unwrap().digest.as_deref(), Some("a"));
}

#[test]
fn what_cannot_be_loaded_any_more_is_not_described() {
    let mut seen = seen(loaded("a"));
    seen.module.status = at(&seen).status;
    seen.load = Load { trouble: trouble(), ..Load::default() };
    let status = at(&seen).status.unwrap();
    assert!(status.digest.is_none() && status.exports.is_empty() && status.name.is_none());
}

#[test]
fn one_that_is_being_deleted_is_left_alone() {
    let mut seen = seen(loaded("a"));
    seen.module.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW.parse().unwrap()));
    assert_eq!(at(&seen), Decision::default());
}
