//! Tells users what happened, as Kubernetes Events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use scribe_core::decision::Note;
use scribe_crds::conditions::{Reason, Severity};
use scribe_crds::names;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same words are said again after this time at the earliest. Events themselves live for an hour.
const REPEAT: Duration = Duration::from_hours(1);
/// Events of one object in this time, at most: words with a number in them are always new.
const WINDOW: Duration = Duration::from_mins(10);
/// How many those are.
const MOST: usize = 25;
/// The API server takes no longer note.
const LONGEST: usize = 1024;

/// Publishes Events, each once.
///
/// Not kube's own recorder: it takes two notes with the same reason for one, and then shows the older words.
pub struct Reporter {
    client: Client,
    instance: String,
    said: Mutex<HashMap<String, Said>>,
}

#[derive(Default)]
struct Said {
    notes: HashMap<(Reason, String), Instant>,
}

impl Said {
    /// Whether this is to be said now.
    fn admits(&mut self, note: &Note, now: Instant) -> bool {
        self.notes.retain(|_, at| now.saturating_duration_since(*at) < REPEAT);
        let key = (note.reason, note.message.clone());
        let recent = self.notes.values().filter(|at| now.saturating_duration_since(**at) < WINDOW).count();
        if self.notes.contains_key(&key) || recent >= MOST {
            return false;
        }
        self.notes.insert(key, now);
        true
    }
}

impl Reporter {
    /// `instance` names this controller in Events.
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, said: Mutex::default() }
    }

    /// Publishes what was not said before. A failure is logged, and nothing else: Events are a courtesy.
    pub async fn tell(&self, about: &ObjectReference, notes: &[Note]) {
        for note in notes {
            if !self.is_new(about, note) {
                continue;
            }
            let event = self.event(about, note, Timestamp::now());
            let api: Api<Event> =
                Api::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
            if let Err(error) = api.create(&PostParams::default(), &event).await {
                tracing::warn!(reason = %note.reason, error = &error as &dyn std::error::Error, "publish an event");
            }
        }
    }

    fn is_new(&self, about: &ObjectReference, note: &Note) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.entry(about.uid.clone().unwrap_or_default()).or_default().admits(note, Instant::now())
    }

    fn event(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Event {
        let type_ = match note.reason.severity() {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        // A name has 253 characters at most, and the time takes 17.
        let name = names::bounded(about.name.as_deref().unwrap_or("scribe"), 230);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Replicate".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&note.message, LONGEST)),
            reason: Some(note.reason.as_str().to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some("scribe.dev/controller".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..Event::default()
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn cut(text: &str, longest: usize) -> String {
    let end = text.floor_char_boundary(longest);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str) -> Note {
        Note { reason: Reason::CutFailed, message: message.to_owned() }
    }

    #[test]
    fn the_same_words_are_said_once_in_an_hour() {
        let mut said = Said::default();
        let now = Instant::now();
        assert!(said.admits(&note("a"), now));
        assert!(!said.admits(&note("a"), now));
        assert!(said.admits(&note("b"), now));
        assert!(said.admits(&note("a"), now + REPEAT));
    }

    #[test]
    fn words_that_always_differ_are_limited() {
        let mut said = Said::default();
        let now = Instant::now();
        let admitted = (0..100).filter(|number| said.admits(&note(&number.to_string()), now)).count();
        assert_eq!(admitted, MOST);
        assert!(said.admits(&note("later"), now + WINDOW));
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
