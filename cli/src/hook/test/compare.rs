//! What differs between what is expected and what was observed.

use scribe_hooks::Usage;
use serde_json::Value;
use similar::TextDiff;

use super::yaml_block::yaml;
use crate::hook::case::expect::Expect;

/// What is not as expected, each ready to be shown.
pub fn differences(expected: &Expect, observed: &Expect, usage: &Usage) -> Vec<String> {
    let mut differences = Vec::new();
    if !expected.is_settled() {
        let way_out = if observed.is_module_invalid() { "" } else { ", or run with --update" };
        differences.push(format!("expect: says neither `output` nor `error`: write one{way_out}"));
    }
    let (wanted, found) = (fields(expected), fields(observed));
    for (name, wanted) in &wanted {
        let found = found.get(name).cloned().unwrap_or_default();
        match name.as_str() {
            "maxFuel" | "maxMemory" => {}
            "error" if wanted.get("message").is_none() && wanted.get("reason") == found.get("reason") => {}
            _ if *wanted == found => {}
            _ if found.is_null() => {
                // It ended the other way.
                let ended =
                    observed.error.as_ref().map_or_else(|| yaml(&observed.output), ToString::to_string);
                differences.push(format!("{name} was expected\n{}\nand came\n{ended}", yaml(wanted)));
            }
            _ => differences
                .push(format!("{name} (- expected, + observed)\n{}", diff(&yaml(wanted), &yaml(&found)))),
        }
    }
    // A grant that is missing is a mistake in the case, unless the case is about that.
    if expected.denied.is_none() && !usage.denied.is_empty() {
        differences.push(format!(
            "denied: {}\nadd a grant, or expect it in `denied`",
            usage.denied.join("\ndenied: ")
        ));
    }
    if let Some(most) = expected.max_fuel.filter(|most| usage.fuel > *most) {
        differences.push(format!("maxFuel: {most}, and it used {}", usage.fuel));
    }
    if let Some(most) = expected.max_memory.filter(|most| usage.memory > most.0) {
        differences.push(format!("maxMemory: {most}, and it used {} bytes", usage.memory));
    }
    differences
}

fn fields(expect: &Expect) -> serde_json::Map<String, Value> {
    match serde_json::to_value(expect) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

fn diff(expected: &str, observed: &str) -> String {
    let (expected, observed) = (format!("{expected}\n"), format!("{observed}\n"));
    let diff = TextDiff::from_lines(&expected, &observed);
    let lines: String = diff.iter_all_changes().map(|change| format!("{} {change}", change.tag())).collect();
    lines.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expect(value: Value) -> Expect {
        serde_json::from_value(value).unwrap()
    }

    fn compare(expected: Value, observed: Value) -> Vec<String> {
        differences(&expect(expected), &expect(observed), &Usage::default())
    }

    #[test]
    fn what_is_not_spoken_of_is_not_looked_at() {
        let observed = json!({ "output": "proceed", "log": ["info: x"], "calls": [], "maxFuel": 5 });
        assert_eq!(compare(json!({ "output": "proceed" }), observed.clone()), [""; 0]);
        assert_eq!(compare(json!({ "output": "proceed", "log": ["info: x"] }), observed), [""; 0]);
        let failed = json!({ "error": { "reason": "HookFailed", "message": "decide failed: x" } });
        assert_eq!(compare(json!({ "error": { "reason": "HookFailed" } }), failed), [""; 0]);
    }

    #[test]
    fn lines_that_differ_are_shown_with_those_around_them() {
        let expected = json!({ "output": { "skip": "not now" }, "log": ["info: a", "info: b"] });
        let observed = json!({ "output": { "skip": "never" }, "log": ["info: a", "info: c"] });
        let differences = compare(expected, observed);
        let shown = "log (- expected, + observed)\n  - 'info: a'\n- - 'info: b'\n+ - 'info: c'";
        assert_eq!(differences[0].replace('"', "'"), shown);
        assert_eq!(differences[1], "output (- expected, + observed)\n- skip: not now\n+ skip: never");
    }

    #[test]
    fn an_error_instead_of_an_answer_is_shown() {
        let observed = json!({ "error": { "reason": "HookTrap", "message": "decide trapped" } });
        let differences = compare(json!({ "output": "proceed" }), observed);
        assert_eq!(differences, ["output was expected\nproceed\nand came\nHookTrap: decide trapped"]);
    }

    #[test]
    fn a_case_that_expects_nothing_proves_nothing() {
        assert!(compare(json!({ "log": [] }), json!({ "log": [] }))[0].starts_with("expect: says neither"));
    }

    #[test]
    fn what_was_denied_must_be_expected() {
        let usage = Usage { denied: vec!["no exec grant".into()], fuel: 7, ..Usage::default() };
        let observed = expect(json!({ "output": "done", "denied": ["no exec grant"] }));
        assert!(
            differences(&expect(json!({ "output": "done" })), &observed, &usage)[0]
                .starts_with("denied: no exec grant")
        );
        assert!(differences(&observed, &observed, &usage).is_empty());
        let narrow = expect(json!({ "output": "done", "denied": ["no exec grant"], "maxFuel": 6 }));
        assert_eq!(differences(&narrow, &observed, &usage), ["maxFuel: 6, and it used 7"]);
    }
}
