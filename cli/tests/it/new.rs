//! `hook new`. That what is made builds and passes its tests, `cargo xtask hooks --test` shows.

use crate::setup::Folder;

const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");

#[test]
fn a_project_has_no_placeholder_left() {
    for (language, extra) in [("rust", ["--sdk-path", SDK].as_slice()), ("python", &[]), ("javascript", &[])]
    {
        let folder = Folder::new();
        folder.hook(&[&["new", "my-hook", "--language", language], extra].concat()).ok().says("cd my-hook");
        let mut folders = vec![folder.path().join("my-hook")];
        let mut files = 0;
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(
                    !text.contains("{{name}}") && !text.contains("{{sdk}}") && !text.contains("{{module}}"),
                    "{path:?}"
                );
            }
        }
        assert!(files > 5, "{language}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let folder = Folder::new();
    folder
        .hook(&["new", "my-hook"])
        .failed()
        .complains("--sdk-path FOLDER")
        .complains("--sdk-git URL")
        .complains("`kubectl scribe hook new my-hook --point retention --sdk-path ../scribe/sdk`");
    folder.hook(&["new", "my-hook", "--sdk-path", "."]).failed().complains("Cargo.toml");
    for (language, source, only) in [("python", "app.py", "decision"), ("javascript", "hook.js", "retention")]
    {
        folder
            .hook(&["new", "my-hook", "-l", language, "-p", "quiesce"])
            .failed()
            .complains("begin with --language rust")
            .complains(&format!("begin with --point {only}, replace what {source} exports"))
            .complains(&format!("the world quiesce-hook of wit/worlds.wit instead of {only}-hook"));
    }
    folder.hook(&["new", "my-hook", "-l", "python", "--sdk-path", SDK]).failed().complains("for Rust");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    folder.write("my-hook/mine", "");
    folder.hook(&["new", "my-hook", "-l", "python"]).failed().complains("File exists");
    assert_eq!(std::fs::read_dir(folder.path().join("my-hook")).unwrap().count(), 1);
    let usage = folder.hook(&["new", "My_Hook", "-l", "python"]);
    assert_eq!(usage.code, 2);
    usage.complains("lower-case letters");
}

#[test]
fn the_commands_come_next_in_every_language() {
    let folder = Folder::new();
    folder
        .hook(&["new", "in-python", "-l", "python"])
        .ok()
        .says("  cd in-python\n  python3 -m venv venv && venv/bin/pip install -r requirements-build.txt\n")
        .says("componentize --stub-wasi app -o in-python.wasm\n  kubectl scribe hook test tests\n");
    folder.hook(&["new", "in-js", "-l", "javascript"]).ok().says("  cd in-js\n  npm install\n  npm test\n");
}

#[test]
fn a_point_that_is_not_called_yet_is_pointed_out() {
    let folder = Folder::new();
    let note = "does not call the point promotion yet";
    folder.hook(&["new", "a", "--sdk-path", SDK, "--point", "promotion"]).ok().says(note);
    let other = folder.hook(&["new", "b", "--sdk-path", SDK, "--point", "quiesce"]).ok();
    assert!(!other.stdout.contains("does not call"), "{other:?}");
}
