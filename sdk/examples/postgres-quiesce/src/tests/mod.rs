mod freeze;

use scribe_hook_sdk::exec::Outcome;
use scribe_hook_sdk::quiesce::ReleaseReason;
use scribe_hook_sdk::testing::{self, Call, Host, assert_schema, context};
use serde_json::{Value, json};

use super::*;

fn settings(mode: &str) -> Value {
    json!({ "mode": mode, "podSelector": "app=db", "freezeContainer": "freezer", "directory": "/data", "maxSeconds": 30 })
}

fn ended(exit_code: i32, stderr: &str) -> Result<Vec<Outcome>, Error> {
    Ok(vec![Outcome {
        pod: "db-0".to_owned(),
        exit_code,
        stdout: Vec::new(),
        stderr: stderr.as_bytes().to_vec(),
        truncated: false,
    }])
}

const RELEASE: Release = Release { token: None, reason: ReleaseReason::CutTaken, try_number: 1 };

#[test]
fn fsfreeze_follows_a_checkpoint_and_is_held_by_a_session() {
    let host = Host::new();
    host.exec(ended(0, ""));
    let frozen = PostgresQuiesce::quiesce(&context(&settings("fsfreeze"))).unwrap();
    assert_eq!(frozen.achieved, Consistency::Filesystem);
    let [
        Call::Exec { target, command },
        Call::FreezeHoldSession { target: freezer, command: held, ready_marker },
    ] = &host.calls()[..]
    else {
        panic!("{:?}", host.calls());
    };
    assert_eq!(target.container.as_deref(), Some("postgres"));
    assert_eq!(command.argv.last().unwrap(), "--command=CHECKPOINT");
    assert_eq!(freezer.container.as_deref(), Some("freezer"));
    assert_eq!(held.argv[3..], ["freeze", "/data", "30"]);
    assert!(FREEZE.contains(ready_marker));
}

#[test]
fn nothing_is_frozen_without_the_checkpoint() {
    let host = Host::new();
    host.exec(ended(2, "FATAL:  the database system is starting up\n"));
    let error = PostgresQuiesce::quiesce(&context(&settings("fsfreeze"))).unwrap_err();
    assert_eq!(
        error,
        HookError::failed("the command in pod db-0 ended with 2: FATAL:  the database system is starting up")
    );
    assert_eq!(host.calls().len(), 1);
}

#[test]
fn release_thaws_what_a_killed_session_has_left_frozen() {
    let host = Host::new();
    host.exec(ended(1, "fsfreeze: /data: unfreeze failed: Invalid argument"));
    PostgresQuiesce::release(&context(&settings("fsfreeze")), &RELEASE).unwrap();
    let [Call::Exec { target, command }] = &host.calls()[..] else { panic!("{:?}", host.calls()) };
    assert!(target.all_matching);
    assert_eq!(command.argv, ["flock", "-n", "/data", "fsfreeze", "--unfreeze", "/data"]);
    // A session that lives thaws it; and with the pod its mount is gone.
    for well in [ended(0, ""), ended(1, ""), Err(Error::NoSuchTarget("no pod has app=db".to_owned()))] {
        host.exec(well);
        PostgresQuiesce::release(&context(&settings("fsfreeze")), &RELEASE).unwrap();
    }
}

/// The file system may still be frozen.
#[test]
fn release_does_not_rest_before_it_knows_that_nothing_is_frozen() {
    let host = Host::new();
    for unknown in [
        ended(1, "fsfreeze: /data: unfreeze failed: Operation not permitted"),
        ended(127, "flock: failed to execute fsfreeze: No such file or directory"),
        Err(Error::NotRunning("container freezer of pod db-0 does not run: OOMKilled".to_owned())),
        Err(Error::Unavailable("timeout".to_owned())),
    ] {
        host.exec(unknown);
        PostgresQuiesce::release(&context(&settings("fsfreeze")), &RELEASE).unwrap_err();
    }
}

#[test]
fn backup_mode_is_held_by_a_session_that_ends_with_its_stdin() {
    let host = Host::new();
    host.exec(ended(0, ""));
    let frozen = PostgresQuiesce::quiesce(&context(&settings("backup"))).unwrap();
    assert_eq!(frozen.achieved, Consistency::Filesystem);
    let [Call::FreezeHoldSession { command, ready_marker, .. }, Call::Exec { command: sync, .. }] =
        &host.calls()[..]
    else {
        panic!("{:?}", host.calls());
    };
    assert_eq!(command.stdin, BACKUP.as_bytes());
    assert!(BACKUP.contains(ready_marker));
    assert_eq!(sync.argv, ["sync", "-f", "/data"]);
    PostgresQuiesce::release(&context(&settings("backup")), &RELEASE).unwrap();
}

#[test]
fn what_was_not_synced_is_not_called_so() {
    let host = Host::new();
    host.exec(ended(1, "sync: error syncing"));
    let frozen = PostgresQuiesce::quiesce(&context(&settings("backup"))).unwrap();
    assert_eq!(frozen.achieved, Consistency::Crash);
}

#[test]
fn settings_are_judged() {
    let judge = |settings: Value| {
        testing::validate::<PostgresQuiesce>(&settings)
            .map_err(|problems| problems.iter().map(Problem::line).collect::<Vec<_>>())
    };
    assert_eq!(judge(settings("backup")), Ok(()));
    let wrong =
        json!({ "mode": "fsfreeze", "podSelector": " ", "directory": "data", "maxSeconds": 0, "user": "-x" });
    assert_eq!(
        judge(wrong).unwrap_err(),
        [
            "/podSelector: is empty: name the labels of the database's pod, as in app=db",
            "/directory: is not an absolute path: write where the volume is mounted",
            "/maxSeconds: is not within 1 and 900",
            "/user: is not a name",
        ]
    );
    let unknown = judge(json!({ "mode": "stop", "podSelector": "app=db" })).unwrap_err();
    assert_eq!(unknown, ["/mode: unknown variant `stop`, expected `fsfreeze` or `backup`"]);
}

#[test]
fn the_schema_is_that_of_the_settings() {
    assert_schema::<PostgresQuiesce>(schemars::schema_for!(Settings).as_value());
}
