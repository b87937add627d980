use super::*;
use serde_json::json;

fn sessions() -> (tempfile::TempDir, StateCell, Sessions) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let state = StateCell::new();
    let sessions = Sessions::new(data, state.clone(), Processes::new());
    (folder, state, sessions)
}

fn handshake() -> Handshake {
    serde_json::from_value(json!({
        "protocol": 1, "syncId": "s", "attempt": 1, "clusterId": "c", "claimUid": "u", "cutUid": "k",
        "dataTime": "2026-01-01T00:00:00Z", "consistency": "crash", "comparison": "content",
        "relationship": "r", "generation": 1, "sourceName": "ns/rs", "volumeMode": "filesystem",
        "expectedBytes": 0, "expectedFiles": 0, "sentAt": "2026-01-01T00:00:00Z"
    }))
    .unwrap()
}

fn commit() -> Commit {
    serde_json::from_value(json!({
        "syncId": "s", "attempt": 1, "claimUid": "u", "cutUid": "k", "dataTime": "2026-01-01T00:00:00Z",
        "consistency": "crash", "comparison": "content", "unchanged": false,
        "counts": {"bytesTotal": 90, "bytesSent": 0, "bytesLiteral": 0, "filesTotal": 9, "filesSent": 0,
            "filesDeleted": 0}
    }))
    .unwrap()
}

fn progress(bytes_done: u64, files_done: u64) -> Progress {
    Progress { bytes_done, bytes_total: 90, files_done, files_total: 9, rate: 5 }
}

#[tokio::test]
async fn after_a_failed_flush_it_listens_again() {
    let (folder, state, sessions) = sessions();
    sessions.unseal(1).await.unwrap();
    sessions.begin(&handshake(), 1).await.unwrap();
    // What a volume does that is taken away: it cannot even be opened.
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let sealed = sessions.seal(1, &commit()).await.unwrap();
    assert!(matches!(sealed, Sealed::Refused(words) if words.starts_with("open ")));
    let now = state.current();
    assert_eq!((now.activity, now.seal, now.progress), (Activity::Listening, None, None));
}

#[tokio::test]
async fn only_the_session_that_is_served_shows_progress_and_not_more_than_all() {
    let (_folder, state, sessions) = sessions();
    let shown = || state.current().progress;
    assert!(sessions.progress(1, &progress(1, 1)).await.is_err());
    sessions.unseal(1).await.unwrap();
    sessions.begin(&handshake(), 1).await.unwrap();
    assert!(sessions.progress(2, &progress(1, 1)).await.is_err());
    assert_eq!(shown(), None);
    sessions.progress(1, &progress(91, 10)).await.unwrap();
    assert_eq!(shown(), Some(progress(90, 9)));
    // The next session begins at nothing.
    sessions.begin(&handshake(), 2).await.unwrap();
    assert_eq!(shown(), None);
    assert!(sessions.progress(1, &progress(1, 1)).await.is_err());
    sessions.progress(2, &progress(1, 1)).await.unwrap();
    let Sealed::Ask { seal } = sessions.seal(2, &commit()).await.unwrap() else { panic!("not sealed") };
    assert_eq!(shown(), Some(Progress { rate: 0, ..progress(90, 9) }));
    assert!(sessions.progress(2, &progress(1, 1)).await.is_err());
    let answer = CommitAnswer::Received { claim_uid: "r".to_owned(), publish_deadline: 1, published: None };
    sessions.answered(2, &answer).await;
    assert_eq!(shown(), None);
    sessions.unseal(seal).await.unwrap();
    sessions.begin(&handshake(), 3).await.unwrap();
    sessions.progress(3, &progress(1, 1)).await.unwrap();
    sessions.end_session(3).await.unwrap();
    assert_eq!(shown(), None);
}

#[tokio::test]
async fn without_a_session_any_order_to_end_one_seals() {
    let (_folder, state, sessions) = sessions();
    sessions.unseal(1).await.unwrap();
    sessions.begin(&handshake(), 7).await.unwrap();
    assert!(sessions.end_session(6).await.is_err());
    assert_eq!(state.current().seal, None);
    sessions.end_session(7).await.unwrap();
    assert_eq!((state.current().seal, state.current().session), (Some(2), None));
    sessions.unseal(2).await.unwrap();
    let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    let registration = sessions.processes.register(group, 7, Kind::Rsync);
    tokio::spawn(async move {
        child.wait().await.unwrap();
        drop(registration);
    });
    sessions.end_session(1).await.unwrap();
    assert!(!sessions.processes.is_connected(7));
    assert_eq!(state.current().seal, Some(3));
    // Nothing to do, and nothing wrong.
    sessions.end_session(1).await.unwrap();
    assert_eq!(state.current().seal, Some(3));
}
