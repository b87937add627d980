//! Output into a pipe that nobody reads any more, as where `head` has seen enough.

use std::io::PipeWriter;

use crate::modules::{proceeds, skips};
use crate::setup::{Folder, ran};

fn unread() -> PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn whoever_reads_may_stop() {
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    folder.write("a.yaml", "module: m.wasm\ncall: decide\nexpect: { output: proceed }\n");
    for arguments in [
        ["inspect", "m.wasm"].as_slice(),
        &["inspect", "m.wasm", "-o", "json"],
        &["test", "-v", "a.yaml"],
        &["run", "m.wasm", "-i", "a.yaml"],
        &["run", "m.wasm", "-i", "a.yaml", "-o", "json"],
        &["bench", "m.wasm", "-i", "a.yaml", "-n", "5"],
        &["bench", "m.wasm", "-i", "a.yaml", "-n", "5", "--json"],
        &["new", "my-hook", "-l", "python"],
        &["--help"],
    ] {
        let arguments = [&["hook"], arguments].concat();
        let quiet = ran(folder.command(&arguments).stdout(unread()));
        assert_eq!(quiet.code, 0, "{arguments:?}: {quiet:?}");
        assert!(!quiet.stderr.contains("panicked") && !quiet.stderr.contains("error"), "{quiet:?}");
    }
}

#[test]
fn standard_error_may_go_unread_too() {
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    folder.write("a.yaml", "call: decide\n");
    let run = |module| folder.command(&["hook", "run", module, "-i", "a.yaml"]);
    let ok = ran(run("m.wasm").stderr(unread()));
    assert_eq!((ok.code, ok.stdout.as_str()), (0, "output: proceed\n"));
    assert_eq!(ran(run("nowhere.wasm").stdout(unread()).stderr(unread())).code, 1);
}

/// Who looks at the first lines only still learns from the exit code whether all is well.
#[test]
fn the_verdict_stays() {
    let folder = Folder::new();
    folder.write("m.wasm", skips());
    folder.write("a.yaml", "module: m.wasm\ncall: decide\nexpect: { output: proceed }\n");
    let failed = ran(folder.command(&["hook", "test", "a.yaml"]).stdout(unread())).failed();
    assert_eq!(failed.stderr, "");
}
