//! The script of a host: what it answers, to which calls, and how often.

use std::num::NonZeroU32;

use scribe_hooks::contract::grants::Selector;
use scribe_hooks::contract::measure::Span;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{check_answer, check_error};
use super::request::{HostCall, HostFunction};

/// One answer, as a case has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// To which function.
    pub call: HostFunction,
    /// With which parameters: those that are left out do not matter.
    #[serde(default)]
    pub with: Value,
    /// What it answers.
    pub answer: Option<Value>,
    /// How it fails.
    pub error: Option<Value>,
    /// How often it is there. Default: once.
    #[serde(default)]
    pub times: Times,
    /// How long it takes. Default: no time at all.
    pub after: Option<Span>,
}

/// How often an answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Times {
    /// So often, and no less.
    Exactly(u32),
    /// As often as it is asked for, also never.
    Any,
}

impl Default for Times {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

impl TryFrom<Value> for Times {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if value == "any" {
            return Ok(Self::Any);
        }
        let count =
            serde_json::from_value::<NonZeroU32>(value).map_err(|_| "write a count, or any".to_owned())?;
        Ok(Self::Exactly(count.get()))
    }
}

/// What a call is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It succeeds.
    Answer(Value),
    /// It fails.
    Error(Value),
}

impl Entry {
    /// Looks for what cannot mean anything, and writes selectors in one way.
    ///
    /// # Errors
    ///
    /// The field, and what is wrong with it.
    pub fn settle(&mut self) -> Result<(), String> {
        match &mut self.with {
            Value::Null => {}
            Value::Object(with) => {
                let parameters = self.call.parameters();
                if let Some(unknown) = with.keys().find(|key| !parameters.contains(&key.as_str())) {
                    return Err(format!(
                        "with.{unknown}: there is no such parameter: use {}",
                        parameters.join(", ")
                    ));
                }
            }
            _ => return Err(format!("with: write parameters: {}", self.call.parameters().join(", "))),
        }
        for path in ["/labelSelector", "/target/labelSelector"] {
            if let Some(Value::String(text)) = self.with.pointer_mut(path) {
                let field = path.replace('/', ".");
                *text = Selector::parse(text).map_err(|error| format!("with{field}: {error}"))?.to_string();
            }
        }
        match (&self.answer, &self.error) {
            (Some(_), Some(_)) => Err("answer: there is an error too: leave one of them out".to_owned()),
            (_, Some(error)) => check_error(self.call, error.clone()).map_err(|why| format!("error: {why}")),
            (answer, None) => check_answer(self.call, answer.clone().unwrap_or_default())
                .map_err(|why| format!("answer: {why}")),
        }
    }

    fn reply(&self) -> Reply {
        match &self.error {
            Some(error) => Reply::Error(error.clone()),
            None => Reply::Answer(self.answer.clone().unwrap_or_default()),
        }
    }
}

/// A script, and how much of it is used up.
#[derive(Clone, Debug, Default)]
pub struct Script {
    entries: Vec<(Entry, u32)>,
}

impl Script {
    /// Nothing of it is used yet.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry, 0)).collect() }
    }

    /// The answer to a call: that of the first entry that fits and is not used up.
    pub fn take(&mut self, call: &HostCall) -> Option<(Reply, Option<Span>)> {
        let (entry, used) = self.entries.iter_mut().find(|(entry, used)| {
            let is_left = match entry.times {
                Times::Exactly(count) => *used < count,
                Times::Any => true,
            };
            is_left && entry.call == call.call && (entry.with.is_null() || fits(&entry.with, &call.with))
        })?;
        *used += 1;
        Some((entry.reply(), entry.after))
    }

    /// What was not asked for, or not as often as it is there, in words.
    pub fn unused(&self) -> Vec<String> {
        let unused =
            self.entries.iter().enumerate().filter_map(|(number, (entry, used))| match entry.times {
                Times::Exactly(count) if *used < count => {
                    let name = serde_json::to_value(entry.call).unwrap_or_default();
                    let name = name.as_str().unwrap_or_default();
                    Some(if *used == 0 {
                        format!("host[{number}]: {name} was not called like that")
                    } else {
                        format!("host[{number}]: {name} was called {used} times like that, not {count}")
                    })
                }
                Times::Exactly(_) | Times::Any => None,
            });
        unused.collect()
    }
}

/// Whether something is as it is wanted. Fields that are not spoken of do not matter.
fn fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, wanted)| match found.get(key) {
                Some(found) => fits(wanted, found),
                None => wanted.is_null(),
            })
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| fits(wanted, found))
        }
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: Value) -> Result<Entry, String> {
        let mut entry: Entry = crate::hook::case::call::typed(value)?;
        entry.settle()?;
        Ok(entry)
    }

    fn get(name: &str) -> HostCall {
        let with = json!({ "target": { "kind": "Pod", "name": name }, "fieldPath": "/status" });
        HostCall { call: HostFunction::KubeGet, with }
    }

    #[test]
    fn the_first_entry_that_fits_and_is_left_answers() {
        let script = [
            json!({ "call": "kube.get", "with": { "target": { "name": "b" } }, "answer": 1 }),
            json!({ "call": "kube.get", "answer": 2, "times": 2 }),
            json!({ "call": "kube.list", "answer": [], "times": "any" }),
        ];
        let mut script = Script::new(script.map(|value| entry(value).unwrap()).into());
        let mut asked = |name| script.take(&get(name)).map(|(reply, _)| reply);
        assert_eq!(asked("a"), Some(Reply::Answer(json!(2))));
        assert_eq!(asked("b"), Some(Reply::Answer(json!(1))));
        assert_eq!(asked("b"), Some(Reply::Answer(json!(2))));
        assert_eq!(asked("b"), None);
        assert!(script.unused().is_empty());
    }

    #[test]
    fn what_is_left_is_named() {
        let mut script = Script::new(vec![
            entry(json!({ "call": "exec.run" })).unwrap(),
            entry(json!({ "call": "kube.get", "times": 3 })).unwrap(),
        ]);
        script.take(&get("a"));
        let unused = [
            "host[0]: exec.run was not called like that",
            "host[1]: kube.get was called 1 times like that, not 3",
        ];
        assert_eq!(script.unused(), unused);
    }

    #[test]
    fn what_cannot_mean_anything_is_refused_with_its_field() {
        for (value, said) in [
            (json!({ "call": "kube.read" }), "call: unknown variant `kube.read`, expected one of `kube.get`"),
            (json!({ "call": "kube.get", "answers": 1 }), "answers: unknown field `answers`"),
            (
                json!({ "call": "kube.get", "with": { "path": "/a" } }),
                "with.path: there is no such parameter: use target, fieldPath",
            ),
            (json!({ "call": "kube.get", "with": "a" }), "with: write parameters: target, fieldPath"),
            (
                json!({ "call": "kube.get", "answer": 1, "error": "notFound" }),
                "answer: there is an error too",
            ),
            (json!({ "call": "kube.get", "error": "gone" }), "error: unknown variant `gone`"),
            (json!({ "call": "kube.list", "answer": 1 }), "answer: invalid type"),
            (
                json!({ "call": "kube.list", "with": { "labelSelector": "a b" } }),
                "with.labelSelector: `a b` is no label selector",
            ),
            (
                json!({ "call": "exec.run", "answer": [{ "exit": 1 }] }),
                "answer: [0].exit: unknown field `exit`",
            ),
            (json!({ "call": "exec.run", "times": 0 }), "times: write a count, or any"),
            (json!({ "call": "events.emit", "answer": 1 }), "answer: there is nothing to answer here"),
        ] {
            let error = entry(value.clone()).unwrap_err();
            assert!(error.starts_with(said), "{value}: {error}");
        }
    }

    #[test]
    fn a_selector_fits_however_it_is_written() {
        let mut script = Script::new(vec![
            entry(
                json!({ "call": "kube.list", "with": { "labelSelector": "app=db, !canary" }, "answer": [] }),
            )
            .unwrap(),
        ]);
        let selector = Selector::parse("app in (db),!canary").unwrap().to_string();
        let call =
            HostCall { call: HostFunction::KubeList, with: json!({ "labelSelector": selector, "limit": 5 }) };
        assert!(script.take(&call).is_some());
    }

    #[test]
    fn a_parameter_that_is_null_must_not_be_there() {
        assert!(fits(&json!({ "fieldPath": null }), &json!({ "target": 1 })));
        assert!(!fits(&json!({ "fieldPath": null }), &json!({ "fieldPath": "/a" })));
        assert!(!fits(&json!({ "body": null }), &json!({ "body": {} })));
        assert!(!fits(&json!({ "argv": ["a"] }), &json!({ "argv": ["a", "b"] })));
    }
}
