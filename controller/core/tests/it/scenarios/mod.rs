//! Runs the scenario files: a situation in YAML, and beside it what is decided. Together they are the manual of the state machines; see
//! their README for what is filled in where a file says nothing.

mod destination;
mod render;
mod source;

use crate::hooks::Modules;
use scribe_core::decision::Decision;
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{Refusal, Warning};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A warning of Kubernetes' about an object, by its uid.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Warned {
    about: String,
    reason: String,
    message: String,
}

/// A write that the API server refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    object: String,
    #[serde(default)]
    quota: bool,
    message: String,
}

fn warnings(all: Vec<Warned>) -> Vec<Warning> {
    all.into_iter().map(|Warned { about, reason, message }| Warning { about, reason, message }).collect()
}

fn refusals(all: Vec<Refused>) -> Vec<Refusal> {
    all.into_iter().map(|Refused { object, quota, message }| Refusal { object, quota, message }).collect()
}

/// Hooks, and what they say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Hooked {
    #[serde(default, flatten)]
    modules: Modules,
    /// All of this was so at that time too, and then another process took over.
    #[serde(default)]
    since: Option<jiff::Timestamp>,
}

/// Decides until the modules have said all that they have to say about it.
fn heard<O, S>(
    modules: &Modules,
    observed: &mut O,
    hooks: impl Fn(&mut O) -> &mut HooksSeen,
    mut decide: impl FnMut(&O) -> Decision<S>,
) -> Decision<S> {
    modules.show(hooks(observed));
    loop {
        let before = hooks(observed).clone();
        let decision = decide(observed);
        modules.run(hooks(observed), decision.then.iter());
        let mut calls = before.calls.clone();
        calls.extend(hooks(observed).calls.clone());
        hooks(observed).calls = calls;
        if *hooks(observed) == before {
            return decision;
        }
    }
}

/// Lays what a file says over what is usual: objects field by field, and null takes a field away (RFC 7396).
fn lay_over(usual: &mut Value, given: &Value) {
    match (usual, given) {
        (Value::Object(usual), Value::Object(given)) => {
            for (key, value) in given {
                if value.is_null() {
                    usual.remove(key);
                } else {
                    lay_over(usual.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (usual, given) => *usual = given.clone(),
    }
}

/// What is usual, with what a file says over it.
fn over<T: serde::Serialize + DeserializeOwned>(usual: &T, given: &Value) -> T {
    let mut value = serde_json::to_value(usual).unwrap();
    if !given.is_null() {
        lay_over(&mut value, given);
    }
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error} in {given}"))
}

fn folder(side: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(side)
}

/// The files of a side, in order: name and text.
fn files(side: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder(side)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// What a file says about itself: its first comment.
fn title(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join(" ")
}

/// Goes through all files of a side, and tells all that differ and not only the first.
fn run(side: &str, decide: impl Fn(&str) -> String) {
    let mut wrong = Vec::new();
    for (name, text) in files(side) {
        let output = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let output = format!("{}\n\n{}", title(&text), decide(&text));
            insta::with_settings!({
                snapshot_path => folder(side), prepend_module_to_snapshot => false, omit_expression => true,
            }, { insta::assert_snapshot!(name.as_str(), output) });
        }));
        if output.is_err() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not as expected: {}", wrong.join(", "));
}

#[test]
fn source_situations() {
    run("source", source::decide);
}

#[test]
fn destination_situations() {
    run("destination", destination::decide);
}

#[test]
fn the_readme_lists_every_situation_in_order() {
    let readme = std::fs::read_to_string(folder("README.md")).unwrap();
    let listed: Vec<&str> = readme.lines().filter(|line| line.starts_with("| [")).collect();
    let expected: Vec<String> = ["source", "destination"]
        .into_iter()
        .flat_map(|side| files(side).into_iter().map(move |file| (side, file)))
        .map(|(side, (name, text))| {
            let title = title(&text);
            let what = title.split_once(": ").map_or(title.as_str(), |(what, _)| what);
            format!("| [{side}/{name}]({side}/{name}.snap) | {what} |")
        })
        .collect();
    assert!(listed == expected, "write this into the README:\n{}", expected.join("\n"));
}
