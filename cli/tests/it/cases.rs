//! `hook test`.

use crate::modules::{keeps_nothing, proceeds, refuses_settings, scales_down, skips, sleeps, spins};
use crate::setup::Folder;

const GRANT: &str = "grants:\n  kubernetes:\n  - { apiGroups: [apps], resources: [deployments], verbs: [scale], names: [web] }\n";

#[test]
fn a_case_passes_or_shows_what_differs() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    folder.write("tests/good.yaml", "module: ../m.wasm\ncall: decide\nexpect: { output: { skip: why } }\n");
    folder.hook(&["test", "tests"]).ok().says("ok   tests/good.yaml  fuel ").says("1 passed, 0 failed");
    folder.write(
        "tests/wrong.yaml",
        "description: A text.\nmodule: ../m.wasm\ncall: decide\nexpect: { output: proceed }\n",
    );
    folder
        .hook(&["test", "tests"])
        .failed()
        .says("FAIL tests/wrong.yaml")
        .says("A text.")
        .says("- proceed")
        .says("+ skip: why")
        .says("1 passed, 1 failed");
}

/// The same words and numbers each time.
#[test]
fn runs_are_the_same_each_time() {
    let folder = Folder::new();
    folder.write("m.wasm", sleeps());
    folder.write("a.yaml", "module: m.wasm\ncall: pre-sync\nexpect: { output: done }\n");
    let first = folder.hook(&["test", "-v", "a.yaml"]).ok();
    assert_eq!(folder.hook(&["test", "-v", "a.yaml"]).ok().stdout, first.stdout);
}

#[test]
fn time_passes_where_a_hook_sleeps_and_takes_none() {
    let folder = Folder::new();
    folder.write("m.wasm", sleeps());
    let case = |limits: &str| {
        format!("module: m.wasm\nlimits: {limits}\ncall: pre-sync\nexpect: {{ output: done }}\n")
    };
    folder.write("in-time.yaml", case("{ timeout: 15m }"));
    folder.hook(&["test", "-v", "in-time.yaml"]).ok().says("time 10s, fuel ");
    // It is woken while there is time to say so.
    folder.write("late.yaml", case("{ timeout: 9s }"));
    folder.hook(&["test", "-v", "late.yaml"]).ok().says("time 8");
}

#[test]
fn limits_are_those_of_the_controller() {
    let folder = Folder::new();
    folder.write("m.wasm", spins());
    folder.write(
        "a.yaml",
        "module: m.wasm\nlimits: { fuel: 1000000, pureTimeout: 10s }\ncall: decide\nexpect:\n  error: { reason: HookFuel }\n",
    );
    folder.hook(&["test", "a.yaml"]).ok();
    folder.write("b.yaml", "module: m.wasm\nlimits: { memory: 1Ti }\ncall: decide\n");
    folder.write("c.yaml", "module: m.wasm\nlimits: { memory: 1Gi }\ncall: decide\n");
    folder
        .hook(&["test", "b.yaml", "c.yaml"])
        .failed()
        .says("limits.memory: `1Ti` is not a number of bytes")
        .says("limits.memory is 1Gi: it must be between 64Ki and 256Mi");
}

#[test]
fn a_freeze_and_its_release_are_one_case() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write(
        "a.yaml",
        format!(
            "module: m.wasm\n{GRANT}steps:\n- call: quiesce\n  host:\n  - call: freeze.scale-down\n    with: {{ target: {{ name: web }}, replicas: 0 }}\n    \
             answer: 3\n  expect:\n    output: {{ achieved: application }}\n- call: release\n  expect:\n    output: done\n    undo:\n    \
             - scale:\n        workload: {{ apiVersion: apps/v1, kind: Deployment, name: web }}\n        set: 0\n        restore: 3\n"
        ),
    );
    folder.hook(&["test", "a.yaml"]).ok();
}

#[test]
fn a_call_that_the_script_does_not_have_is_named() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write(
        "a.yaml",
        format!("module: m.wasm\n{GRANT}call: quiesce\nexpect: {{ error: {{ reason: HookFailed }} }}\n"),
    );
    folder
        .hook(&["test", "a.yaml"])
        .failed()
        .says("the script has no answer for this call: add one under `host`")
        .says("- call: freeze.scale-down")
        .says("replicas: 0");
    let script = "host: [{ call: freeze.scale-down }, { call: kube.get }]";
    folder.write("a.yaml", format!("module: m.wasm\n{GRANT}call: quiesce\n{script}\nexpect: {{ output: {{ achieved: application }} }}\n"));
    folder.hook(&["test", "a.yaml"]).failed().says("host[1]: kube.get was not called like that");
}

#[test]
fn what_was_not_granted_is_denied_and_fails_the_case() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write("a.yaml", "module: m.wasm\ncall: quiesce\nexpect: { error: { reason: HookDenied } }\n");
    let denied = "no kubernetes grant has verb scale for deployments.apps `web`";
    folder.hook(&["test", "a.yaml"]).failed().says(&format!("denied: {denied}"));
    folder.write("a.yaml", format!("module: m.wasm\ncall: quiesce\nexpect: {{ error: {{ reason: HookDenied }}, denied: ['{denied}'] }}\n"));
    folder.hook(&["test", "a.yaml"]).ok();
}

#[test]
fn replicas_that_the_host_keeps_are_in_the_plan() {
    let folder = Folder::new();
    folder.write("m.wasm", keeps_nothing());
    folder.write(
        "a.yaml",
        "module: m.wasm\ncall: choose\ninput:\n  points:\n  - { id: a, created: 2026-01-01T00:00:00Z }\n  - { id: b, created: 2026-01-02T00:00:00Z, pinned: true }\n  \
         - { id: c, created: 2026-01-03T00:00:00Z }\n  - { id: d, created: 2026-01-04T00:00:00Z, ready: false }\nexpect:\n  output: []\n  plan:\n    \
         keep: [{ id: b, reason: pinned }, { id: c, reason: the newest that is ready }, { id: d, reason: the newest that is ready }]\n    delete: [a]\n    postponed: 0\n",
    );
    folder.hook(&["test", "a.yaml"]).ok();
}

#[test]
fn settings_that_the_module_refuses_fail_every_case() {
    let folder = Folder::new();
    folder.write("m.wasm", refuses_settings());
    folder.write("a.yaml", "module: m.wasm\ncall: decide\nexpect: { output: proceed }\n");
    folder.hook(&["test", "a.yaml"]).failed().says("settings/a: no");
    folder
        .write("a.yaml", "module: m.wasm\ncall: validate\nexpect: { output: [{ path: /a, message: no }] }\n");
    // YAML 1.1 reads `no` as false; here it is text.
    folder.hook(&["test", "a.yaml"]).ok();
}

#[test]
fn what_was_observed_is_written_on_demand_and_nothing_else() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    folder.write(
        "a.yaml",
        "# Why.\nmodule: m.wasm   # here\ncall: decide\nexpect:\n  output: proceed\n\nsettings: {}\n",
    );
    folder.hook(&["test", "--update", "a.yaml"]).ok().says("new  a.yaml");
    let written =
        "# Why.\nmodule: m.wasm   # here\ncall: decide\nexpect:\n  output:\n    skip: why\n\nsettings: {}\n";
    assert_eq!(folder.read("a.yaml"), written);
    folder.hook(&["test", "--update", "a.yaml"]).ok().says("ok   a.yaml");
    assert_eq!(folder.read("a.yaml"), written);
}

#[test]
fn steps_are_updated_each_in_its_place() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write("a.yaml", format!("module: m.wasm\n{GRANT}steps:\n- call: quiesce\n  host:\n  - call: freeze.scale-down\n- call: release\n"));
    folder
        .hook(&["test", "a.yaml"])
        .failed()
        .says("step 1: quiesce")
        .says("expect: says neither `output` nor `error`");
    folder.hook(&["test", "--update", "a.yaml"]).ok();
    folder.hook(&["test", "a.yaml"]).ok();
    let written = folder.read("a.yaml");
    assert!(written.contains("- call: release\n  expect:\n    output: done\n    undo:\n"), "{written}");
}

#[test]
fn what_the_script_lacks_is_not_updated_away() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write("a.yaml", format!("module: m.wasm\n{GRANT}call: quiesce\n"));
    folder.hook(&["test", "--update", "a.yaml"]).failed().says("the script has no answer for this call");
}

#[test]
fn that_the_module_lacks_the_point_is_not_updated_into_a_case() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    let case = "module: m.wasm\ncall: quiesce\n";
    folder.write("a.yaml", case);
    folder
        .hook(&["test", "--update", "a.yaml"])
        .failed()
        .says("FAIL a.yaml")
        .says("error: HookModuleInvalid: the module does not export scribe:hooks/quiesce")
        .says("--update does not write HookModuleInvalid into a case");
    assert_eq!(folder.read("a.yaml"), case);
    // Unless the case is about that.
    let wanted = format!("{case}expect: {{ error: {{ reason: HookModuleInvalid }} }}\n");
    folder.write("a.yaml", &wanted);
    folder.hook(&["test", "--update", "a.yaml"]).ok().says("ok   a.yaml");
    assert_eq!(folder.read("a.yaml"), wanted);
}

#[test]
fn the_module_on_the_command_line_goes_first() {
    let folder = Folder::new();
    let module = folder.write("m.wasm", proceeds());
    folder.write("a.yaml", "call: decide\nexpect: { output: proceed }\n");
    folder.hook(&["test", "a.yaml"]).failed().says("a.yaml").says("module: is missing");
    folder.hook(&["test", "a.yaml", "--module", module.to_str().unwrap()]).ok();
    folder.write("a.yaml", "module: elsewhere.wasm\ncall: decide\nexpect: { output: proceed }\n");
    folder.hook(&["test", "a.yaml"]).failed().says("elsewhere.wasm").says("No such file");
    folder.hook(&["test", "a.yaml", "-m", "m.wasm"]).ok();
}

#[test]
fn a_module_that_is_not_built_yet_has_to_be() {
    let folder = Folder::new();
    folder.write("tests/a.yaml", "module: ../m.wasm\ncall: decide\nexpect: { output: proceed }\n");
    folder
        .hook(&["test", "tests"])
        .failed()
        .says("module: open tests/../m.wasm: No such file")
        .says(": build it first, or name it by --module\n");
    folder.hook(&["test", "tests", "-m", "n.wasm"]).failed().says("open n.wasm").says(": build it first\n");
    // It is there: what is wrong is something else.
    folder.write("m.wasm", "hello, there");
    let shown = folder.hook(&["test", "tests"]).failed().says("is not WebAssembly").stdout;
    assert!(!shown.contains("build it first"), "{shown}");
}

#[test]
fn what_came_is_shown_whatever_is_expected() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    folder.write("a.yaml", "module: m.wasm\ncall: decide\n");
    let unsettled = "expect: says neither `output` nor `error`: write one";
    folder
        .hook(&["test", "a.yaml"])
        .failed()
        .says("output:\n         skip: why\n")
        .says(&format!("{unsettled}, or run with --update"));
    folder.write("b.yaml", "module: m.wasm\ncall: quiesce\n");
    folder
        .hook(&["test", "b.yaml"])
        .failed()
        .says("error: HookModuleInvalid: the module does not export scribe:hooks/quiesce: it has decision")
        .says(&format!("{unsettled}\n"));
    folder.write("r.wasm", refuses_settings());
    folder.write("c.yaml", "module: r.wasm\ncall: decide\n");
    let shown = folder.hook(&["test", "c.yaml"]).failed().says("output: proceed").stdout;
    assert_eq!(shown.lines().nth(1), Some("     settings/a: no"), "{shown}");
}

/// File, field, and the way out.
#[test]
fn every_bad_field_is_named() {
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    for (text, said) in [
        ("", "call: is missing: write the function that is tested"),
        ("call: decide\ncalls: 1", "calls: unknown field `calls`"),
        ("call: decline", "call: unknown variant `decline`, expected one of validate, decide"),
        ("call: decide\ninput: { points: [] }", "input: decide is given nothing: "),
        ("call: choose\ninput: { points: [{ id: a }] }", "input: points[0]: missing field `created`"),
        ("call: choose\ninput: { points: [{ id: a, created: noon }] }", "input: points[0].created: "),
        (
            "call: choose\ninput: { points: [{ id: a, created: 1, pin: true }] }",
            "input: points[0].pin: unknown field `pin`",
        ),
        (
            "call: tune\ninput: { defaults: { bandwidth: 1 } }",
            "input: defaults.bandwidth: unknown field `bandwidth`",
        ),
        ("call: decide\nhost: [{ call: kube.get }]", "host: decide is pure, and asks its host for nothing"),
        ("call: quiesce\nhost: [{ call: kube.read }]", "host[0].call: unknown variant `kube.read`"),
        (
            "call: quiesce\nhost: [{ call: kube.get, with: { a: 1 } }]",
            "host[0].with.a: there is no such parameter: use target, fieldPath",
        ),
        ("call: quiesce\nhost: [{ call: exec.run, answer: 1 }]", "host[0].answer: "),
        ("call: decide\nexpect: { output: go }", "expect.output: unknown variant `go`, expected one of"),
        (
            "call: decide\nexpect: { output: proceed, error: { reason: HookTrap } }",
            "expect.error: there is an output too",
        ),
        (
            "call: decide\nexpect: { error: { reason: Broken } }",
            "expect.error.reason: unknown variant `Broken`",
        ),
        ("call: decide\nexpect: { undo: [] }", "expect.undo: only quiesce and release have one"),
        ("call: decide\ncontext: { attempt: { now: 5pm } }", "context.attempt.now: "),
        (
            "call: decide\ncontext: { replication: { role: both } }",
            "context.replication.role: unknown variant `both`",
        ),
        ("call: decide\ngrants: { files: [] }", "grants.files: unknown field `files`"),
        (
            "call: decide\ngrants: { exec: [{ podSelector: {}, containers: [a], commands: [[a]] }] }",
            "grants.exec[0].podSelector: is empty, which is every pod: name a label",
        ),
        (
            "call: decide\ngrants: { exec: [{ podSelector: { a: b }, containers: [a], commands: [ls] }] }",
            "grants.exec[0].commands[0]: expected sequence start at line 2, column ",
        ),
        (
            "call: decide\ngrants: { exec: [{ podSelector: { a: b }, containers: [a], commands: [ls] }] }",
            ": a command is a list, as in `commands: [[ls, -l]]`",
        ),
        (
            "call: decide\ngrants: { exec: [{ podSelector: { a: b }, containers: [a], commands: ls }] }",
            ": a command is a list, as in `commands: [[ls, -l]]`",
        ),
        (
            "call: choose\ninput: { points: [{ id: a, created: 1 }, { id: a, created: 2 }] }",
            "input: points[1].id: `a` is there already: name each replica once",
        ),
        (
            "steps: [{ call: decide, now: 2026-02-01T00:00:00Z }, { call: decide, now: 2026-01-01T00:00:00Z }]",
            "steps[1].now: is before the step before it: write a later time, or none",
        ),
        ("steps: []", "steps: is empty"),
        ("call: decide\nsteps: [{ call: decide }]", "call: there are `steps`: write it into one of them"),
        ("steps: [{ call: decide, expect: { output: go } }]", "steps[0].expect.output: unknown variant `go`"),
        ("call: decide\ncall: decide", "call"),
        ("call: [", "line "),
    ] {
        folder.write("a.yaml", format!("{text}\n"));
        let said_all = folder.hook(&["test", "a.yaml", "-m", "m.wasm"]).failed().stdout;
        let line = said_all.lines().nth(1).unwrap_or_default();
        assert!(line.contains("a.yaml: ") && line.contains(said), "{text}\n  said   {line}\n  wanted {said}");
    }
}

#[test]
fn where_there_is_no_case_it_says_so() {
    let folder = Folder::new();
    folder.write("empty/readme.md", "");
    folder.hook(&["test", "empty"]).failed().complains("empty has no test case");
    folder.hook(&["test", "nowhere"]).failed().complains("look at nowhere: No such file");
}
