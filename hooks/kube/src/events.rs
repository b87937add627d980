//! Events of hooks, on the objects that name them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use scribe_crds::names;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::{Event, EventKind};
use scribe_hooks_contract::limits::fixed;

use crate::cause::chain;
use crate::host::Subject;

/// Begins every reason: what a module says is never taken for a word of Scribe's own.
const PREFIX: &str = "Hook";
/// Bytes of a reason: what the API server takes.
const REASON_BYTES: usize = 128;

/// Puts an Event on the object.
pub(crate) async fn emit(
    own: &Client,
    instance: &str,
    subject: &Subject,
    module: &str,
    event: &Event,
) -> Result<(), String> {
    let api: Api<KubeEvent> = Api::namespaced(own.clone(), &subject.namespace);
    let event = build(instance, subject, module, event, Timestamp::now());
    api.create(&PostParams::default(), &event).await.map(drop).map_err(|error| chain(&error))
}

fn build(instance: &str, subject: &Subject, module: &str, event: &Event, now: Timestamp) -> KubeEvent {
    let name = names::bounded(&subject.name, 230);
    let said = format!("{module}: {}", event.message);
    KubeEvent {
        metadata: ObjectMeta {
            // Two of one nanosecond would be one.
            name: Some(format!("{name}.{:x}{:04x}", now.as_nanosecond(), rand::random::<u16>())),
            namespace: Some(subject.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(match event.kind {
            EventKind::Normal => "Normal".to_owned(),
            EventKind::Warning => "Warning".to_owned(),
        }),
        reason: Some(reason(&event.reason)),
        note: Some(sanitize::line(&said, fixed::EVENT_MESSAGE_BYTES - '…'.len_utf8())),
        action: Some("Hook".to_owned()),
        reporting_controller: Some("scribe.dev/hook".to_owned()),
        reporting_instance: Some(names::bounded(instance, 128)),
        regarding: Some(ObjectReference {
            api_version: Some(subject.api_version.clone()),
            kind: Some(subject.kind.clone()),
            namespace: Some(subject.namespace.clone()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        }),
        ..KubeEvent::default()
    }
}

/// A reason that is one word and says that a hook has said it.
fn reason(said: &str) -> String {
    let word: String = said.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut reason = if word.starts_with(PREFIX) { word } else { format!("{PREFIX}{word}") };
    reason.truncate(REASON_BYTES);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hook_speaks_with_our_voice() {
        assert_eq!(reason("SyncFailed"), "HookSyncFailed");
        assert_eq!(reason("HookReady"), "HookReady");
        assert_eq!(reason("a b\n"), "Hookab");
        assert_eq!(reason(&"A".repeat(500)).len(), REASON_BYTES);
    }

    #[test]
    fn a_note_is_one_line_that_fits() {
        let subject = Subject {
            api_version: "scribe.dev/v1alpha1".into(),
            kind: "ReplicationSource".into(),
            namespace: "shop".into(),
            name: "x".repeat(253),
            uid: "u".into(),
        };
        let event = Event { kind: EventKind::Warning, reason: "Late".into(), message: "a\n".repeat(2000) };
        let built = build("scribe-0", &subject, "mysql", &event, Timestamp::UNIX_EPOCH);
        let note = built.note.unwrap();
        assert!(note.len() <= fixed::EVENT_MESSAGE_BYTES && note.starts_with("mysql: a\\na"), "{note}");
        assert!(built.metadata.name.unwrap().len() <= 253);
    }
}
