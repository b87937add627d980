//! `hook run`.

use crate::modules::{keeps_nothing, scales_down, skips};
use crate::setup::Folder;

#[test]
fn the_answer_goes_to_standard_output() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    folder.write("a.yaml", "{}\n");
    let ran = folder.hook(&["run", "m.wasm", "-i", "a.yaml", "--call", "decide"]).ok().complains("fuel ");
    assert_eq!(ran.stdout, "output:\n  skip: why\n");
    let ran = folder.hook(&["run", "m.wasm", "-i", "a.yaml", "--call", "decide", "-o", "json"]).ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()["output"]["skip"], "why");
    folder.write("r.wasm", keeps_nothing());
    folder.write("b.yaml", "call: choose\ninput: { points: [{ id: a, created: 1 }] }\n");
    folder.hook(&["run", "r.wasm", "-i", "b.yaml"]).ok().says("reason: the newest that is ready");
}

#[test]
fn what_happened_becomes_a_case_that_passes() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    let input = "# Of mine.\nsettings: { a: 1 }\ngrants:\n  kubernetes:\n  - { apiGroups: [apps], resources: [deployments], verbs: [scale], names: [web] }\ncall: quiesce\nhost:\n- { call: freeze.scale-down, times: any }\n";
    folder.write("input.yaml", input);
    std::fs::create_dir(folder.path().join("tests")).unwrap();
    let record = ["run", "m.wasm", "-i", "input.yaml", "--record", "tests/first.yaml"];
    folder.hook(&record).ok().complains("wrote tests/first.yaml");
    let written = folder.read("tests/first.yaml");
    assert!(written.starts_with("# Of mine.") && written.contains("module: \"../m.wasm\""), "{written}");
    assert!(written.contains("replicas: 0") && written.contains("achieved: application"), "{written}");
    folder.hook(&["test", "tests"]).ok();
    folder.hook(&record).failed().complains("tests/first.yaml is there already");
    assert_eq!(folder.read("tests/first.yaml"), written);
}

#[test]
fn what_it_asks_for_in_vain_is_shown() {
    let folder = Folder::new();
    folder.write("m.wasm", scales_down());
    folder.write("a.yaml", "grants:\n  kubernetes:\n  - { apiGroups: [apps], resources: [deployments], verbs: [scale], names: [web] }\ncall: quiesce\n");
    folder
        .hook(&["run", "m.wasm", "-i", "a.yaml"])
        .failed()
        .says("reason: HookFailed")
        .complains("`host` has no answer for")
        .complains("- call: freeze.scale-down");
}

#[test]
fn the_file_and_the_command_line_must_name_the_same_function() {
    let folder = Folder::new();
    folder.write("m.wasm", keeps_nothing());
    folder.write("a.yaml", "call: choose\ninput: { points: [{ id: a, created: 1 }] }\n");
    folder.write("b.yaml", "steps: [{ call: choose }]\n");
    let differ = "call: is `choose`, and --call is `decide`: leave --call out, or name the same function";
    for (command, file, field) in [
        ("run", "a.yaml", "a.yaml: "),
        ("run", "b.yaml", "b.yaml: steps[0]."),
        ("bench", "a.yaml", "a.yaml: "),
        ("bench", "b.yaml", "b.yaml: steps[0]."),
    ] {
        let wrong = [command, "m.wasm", "-i", file, "--call", "decide"];
        folder.hook(&wrong).failed().complains(&format!("{field}{differ}"));
    }
    folder.hook(&["run", "m.wasm", "-i", "a.yaml", "--call", "choose"]).ok();
}
