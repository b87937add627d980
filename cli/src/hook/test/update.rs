//! Writing what was observed into a case, and nothing else of it: comments and order stay.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use scribe_hooks::contract::reason::Reason;

use super::run::{Report, StepReport};
use super::yaml_block::{indent_of, replaced, yaml};
use crate::hook::case::Case;
use crate::hook::case::expect::Expect;
use crate::hook::show::indented;

/// Whether what was observed may stand in a case. That the module lacks the point may not, unless the case expects just that: such a step is told so.
pub fn may_be_written(report: &mut Report) -> bool {
    let is_mistake =
        |step: &StepReport| step.observed.is_module_invalid() && !step.expected.is_module_invalid();
    let mut may_be = true;
    for step in report.steps.iter_mut().filter(|step| is_mistake(step)) {
        may_be = false;
        step.problems.push(format!(
            "--update does not write {} into a case: call what the module has, or name another module",
            Reason::HookModuleInvalid
        ));
    }
    may_be
}

/// Writes what was observed into the file. Says whether anything is different now.
///
/// # Errors
///
/// The file cannot be written, or is written in a way that this does not understand.
pub fn write(file: &Path, report: &Report) -> Result<bool> {
    if report.steps.iter().all(|step| step.differences.is_empty()) {
        return Ok(false);
    }
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("read {shown}"))?;
    let observed: Vec<Expect> = report.steps.iter().map(worth_writing).collect();
    let written =
        if Case::has_steps(&text) { in_steps(&text, &observed) } else { at_top(&text, &observed[0]) };
    let is_right = |text: &String| match Case::parse(text, file, None) {
        Ok(case) => case.steps.iter().map(|step| &step.expect).eq(observed.iter()),
        Err(_) => false,
    };
    let Some(written) = written.filter(is_right) else {
        bail!(
            "{shown} was not changed: write each key at the beginning of its own line, `steps` with `- call:` lines, and try again; \
             or write this yourself\n{}",
            yaml(&observed)
        );
    };
    // Beside it and then in its place: a full disk must not cost the case.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("write beside {shown}"))?;
    new.write_all(written.as_bytes()).with_context(|| format!("write beside {shown}"))?;
    new.as_file().set_permissions(fs::metadata(file)?.permissions())?;
    new.persist(file).with_context(|| format!("write {shown}"))?;
    Ok(true)
}

/// What a case should say: how the call ends, what follows from that, and whatever it spoke of before.
fn worth_writing(step: &StepReport) -> Expect {
    let StepReport { expected, observed, .. } = step;
    let worth = |is_there: bool, is_something: bool| is_there || is_something;
    let Expect { output, error, plan, undo, events, state, denied, calls, log, .. } = observed.clone();
    Expect {
        output,
        error,
        plan,
        undo: undo.filter(|undo| worth(expected.undo.is_some(), !undo.is_empty())),
        events: events.filter(|events| worth(expected.events.is_some(), !events.is_empty())),
        state: state.filter(|state| worth(expected.state.is_some(), !state.is_empty())),
        denied: denied.filter(|denied| worth(expected.denied.is_some(), !denied.is_empty())),
        calls: calls.filter(|_| expected.calls.is_some()),
        log: log.filter(|_| expected.log.is_some()),
        max_fuel: expected.max_fuel.map(|most| most.max(step.usage.fuel)),
        max_memory: expected.max_memory.map(|most| most.max(observed.max_memory.unwrap_or(most))),
    }
}

fn block(expect: &Expect, indent: usize) -> String {
    format!("{}{}", indented("expect:", indent), indented(&yaml(expect), indent + 2))
}

/// Replaces `expect` of a case of one call, or adds it at the end.
fn at_top(text: &str, expect: &Expect) -> Option<String> {
    Some(replaced(&text.lines().collect::<Vec<_>>(), 0, "expect", &block(expect, 0)))
}

/// Replaces `expect` of each step.
fn in_steps(text: &str, expects: &[Expect]) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let steps = lines.iter().position(|line| line.starts_with("steps:"))?;
    let first = steps + 1 + lines[steps + 1..].iter().position(|line| indent_of(line).is_some())?;
    let indent = indent_of(lines[first])?;
    let is_item = |line: &str| indent_of(line) == Some(indent) && line.trim_start().starts_with("- ");
    let after = lines[first..].iter().position(|line| {
        indent_of(line).is_some_and(|other| other < indent || other == indent && !is_item(line))
    });
    let end = after.map_or(lines.len(), |length| first + length);
    let starts: Vec<usize> = (first..end).filter(|number| is_item(lines[*number])).collect();
    if starts.len() != expects.len() {
        return None;
    }
    let mut written: String = lines[..first].iter().map(|line| format!("{line}\n")).collect();
    for (number, start) in starts.iter().enumerate() {
        let stop = starts.get(number + 1).copied().unwrap_or(end);
        // The mark of the item is taken for indentation, and put back.
        let head = lines[*start].replacen("- ", "  ", 1);
        let item: Vec<&str> =
            std::iter::once(head.as_str()).chain(lines[start + 1..stop].iter().copied()).collect();
        let keys = indent_of(&head)?;
        let body = replaced(&item, keys, "expect", &block(&expects[number], keys));
        written.push_str(&body.replacen(&" ".repeat(indent + 2), &format!("{}- ", " ".repeat(indent)), 1));
    }
    written.extend(lines[end..].iter().map(|line| format!("{line}\n")));
    Some(written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expect(output: &str) -> Expect {
        Expect { output: Some(json!(output)), ..Expect::default() }
    }

    #[test]
    fn only_what_is_expected_is_replaced() {
        let text = "# A case.\ncall: decide\nexpect:\n  # Old.\n  output: { skip: x }\n\n# Then.\nsettings: { a: 1 }\n";
        let written = at_top(text, &expect("proceed")).unwrap();
        assert_eq!(
            written,
            "# A case.\ncall: decide\nexpect:\n  output: proceed\n\n# Then.\nsettings: { a: 1 }\n"
        );
        assert_eq!(at_top(&written, &expect("proceed")).unwrap(), written);
    }

    #[test]
    fn what_is_missing_is_added() {
        assert_eq!(
            at_top("call: decide", &expect("proceed")).unwrap(),
            "call: decide\nexpect:\n  output: proceed\n"
        );
    }

    #[test]
    fn each_step_has_its_own() {
        for indent in ["", "  "] {
            let text = format!(
                "steps:\n# First.\n{indent}- call: pre-sync\n{indent}  expect: {{}}\n{indent}- call: post-sync\n{indent}  host:\n{indent}  - call: exec.run\nlimits: {{}}\n"
            );
            let written = in_steps(&text, &[expect("one"), expect("two")]).unwrap();
            let wanted = format!(
                "steps:\n# First.\n{indent}- call: pre-sync\n{indent}  expect:\n{indent}    output: one\n{indent}- call: post-sync\n{indent}  host:\n\
                 {indent}  - call: exec.run\n{indent}  expect:\n{indent}    output: two\nlimits: {{}}\n"
            );
            assert_eq!(written, wanted);
        }
    }

    #[test]
    fn what_is_written_otherwise_is_left_alone() {
        assert_eq!(in_steps("steps: [{ call: decide }]\n", &[expect("proceed")]), None);
    }
}
