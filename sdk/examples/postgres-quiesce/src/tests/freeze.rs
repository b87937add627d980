//! The shell's part, by a real shell: only the file system is made up.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{FREEZE, FROZEN};

/// A shell that runs the script, with an `fsfreeze` that writes down how it was called and ends with `code`.
struct Shell {
    folder: TempDir,
    child: Child,
}

impl Shell {
    fn start(code: i32, seconds: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), code, seconds)
    }

    fn start_in(folder: TempDir, code: i32, seconds: &str) -> Self {
        let fsfreeze = folder.path().join("fsfreeze");
        fs::write(&fsfreeze, format!("#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/calls\"\nexit {code}\n"))
            .unwrap();
        fs::set_permissions(&fsfreeze, Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", FREEZE, "freeze"]).arg(folder.path()).arg(seconds);
        bash.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = bash.env("PATH", format!("{}:{path}", folder.path().display())).spawn().unwrap();
        Self { folder, child }
    }

    /// The first line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap();
        calls.replace(&*self.folder.path().to_string_lossy(), "/data")
    }

    /// Waits for its end with stdin as it is, and answers its exit code. `Child::wait` would close it.
    fn end(&mut self) -> Option<i32> {
        let stdin = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(stdin);
        status.code()
    }
}

/// Seconds that no test waits for, unless it fails.
const LONG: &str = "20";

const BOTH: &str = "--freeze /data\n--unfreeze /data\n";

/// It is frozen, and said so, before anything thaws it.
fn frozen(seconds: &str) -> Shell {
    let mut shell = Shell::start(0, seconds);
    assert!(shell.line().contains(FROZEN));
    shell
}

#[test]
fn it_thaws_when_stdin_ends() {
    let mut shell = frozen(LONG);
    assert_eq!(shell.calls(), "--freeze /data\n");
    drop(shell.child.stdin.take());
    assert_eq!((shell.end(), shell.calls().as_str()), (Some(0), BOTH));
}

#[test]
fn it_thaws_when_the_time_is_over() {
    let mut shell = frozen("0.01");
    assert_eq!((shell.end(), shell.calls().as_str()), (Some(124), BOTH));
}

#[test]
fn it_thaws_when_it_is_told_to_end() {
    let mut shell = frozen(LONG);
    let killed = Command::new("kill").arg(shell.child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!((shell.end(), shell.calls().as_str()), (Some(143), BOTH), "by the signal, not by the time");
}

#[test]
fn what_somebody_else_has_frozen_is_not_thawed() {
    let mut shell = Shell::start(1, LONG);
    assert_eq!(shell.line(), "", "nothing is frozen");
    assert_eq!((shell.end(), shell.calls().as_str()), (Some(1), "--freeze /data\n"));
}

/// The release's own command, as far as the lock goes.
fn thaw(folder: &std::path::Path) -> (Option<i32>, String) {
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut flock = Command::new("flock");
    flock.arg("-n").arg(folder).args(["fsfreeze", "--unfreeze"]).arg(folder).env("PATH", path);
    let output = flock.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_a_living_session_holds_is_neither_frozen_twice_nor_thawed() {
    let mut shell = frozen(LONG);
    let folder = shell.folder.path().to_owned();
    let second = Command::new("bash").args(["-c", FREEZE, "freeze"]).arg(&folder).arg(LONG).output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("held by another session"));
    assert_eq!(thaw(&folder), (Some(1), String::new()));
    assert_eq!(shell.calls(), "--freeze /data\n");
    // Killed, it thaws nothing; then the release does.
    shell.child.kill().unwrap();
    shell.child.wait().unwrap();
    assert_eq!(thaw(&folder), (Some(0), String::new()));
    assert_eq!(shell.calls(), BOTH);
}
