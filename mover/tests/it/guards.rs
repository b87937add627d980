//! What a source refuses to do to the receiving claim, before it has done anything.

use crate::harness::{Identity, Mover, Pair, Policy, SyncEnd, USER, describe, run, text};
use scribe_mover_contract::REFUSED_EXIT;
use scribe_mover_contract::control::{Question, QuestionKind};
use scribe_mover_contract::guards::{Guard, Guarded};
use scribe_mover_contract::job::{Outcome, SourceJob};
use scribe_mover_contract::peer::Comparison;
use std::fs;
use std::path::Path;

/// What a source's rsync asks for.
const RSYNC: &str = "--server -lHogDtpXrSe.LsfxCIvu --delete --partial --numeric-ids . .";
/// More than the guards leave unjudged.
const MANY: u64 = 200;

/// That many files in two folders, and a few in the root.
fn fill(pair: &Pair) {
    for number in 0..MANY {
        let name = format!("{}/{number}", if number % 2 == 0 { "even" } else { "odd" });
        fs::create_dir_all(pair.source.path().join(&name).parent().unwrap()).unwrap();
        if !pair.source.path().join(&name).exists() {
            fs::write(pair.source.path().join(&name), name).unwrap();
        }
    }
    pair.write("top", "top");
}

/// A sync that a guard has to refuse, without a trace at the destination; what it says of it.
async fn refused(pair: &Pair, controller: &crate::harness::Controller) -> Guarded {
    let before = holding(pair);
    let told = controller.policy().guarded.len();
    let SyncEnd { code, termination, log } = pair.sync().await;
    assert_eq!((code, termination.reason.as_deref()), (Some(2), Some("SyncGuarded")), "{log}");
    assert_eq!((termination.result, termination.guards_passed), (Outcome::Permanent, false));
    assert!(!termination.published);
    assert_eq!(termination.warnings, [""; 0]);
    let guarded = termination.guarded.expect("the numbers");
    assert_eq!(termination.message, guarded.words());
    assert!(holding(pair) == before, "a guarded sync has changed something: {:#?}", holding(pair));
    let policy = controller.policy();
    assert_eq!(&policy.guarded[told..], std::slice::from_ref(&guarded), "the destination was told once");
    assert_eq!(policy.untouched, Some(true));
    assert!(policy.commits.iter().all(|commit| commit.sync_id != pair.job.sync_id));
    // The session is over, and nobody can write.
    let state = controller.state().await;
    assert!(state.session.is_none() && state.seal.is_some() && state.questions.is_empty(), "{state:?}");
    guarded
}

/// What the destination holds. Without the root itself: what a file system can keep is tried out in it at each handshake.
fn holding(pair: &Pair) -> Vec<String> {
    let mut lines = describe(pair.destination.path(), Identity::Root);
    lines.pop();
    lines
}

/// The same once more, as a sync that the user has admitted.
async fn admitted(pair: &mut Pair) {
    let guards = pair.job.guards.take();
    pair.next("admitted");
    pair.sync_well().await;
    pair.assert_same();
    pair.job.guards = guards;
}

async fn filled(identity: Identity) -> (Pair, Mover, crate::harness::Controller) {
    let mut pair = Pair::with(identity, 64);
    fill(&pair);
    let (mover, controller) = pair.listen().await;
    pair.sync_well().await;
    pair.next("second");
    (pair, mover, controller)
}

#[tokio::test]
async fn an_emptied_source_empties_no_claim() {
    let mut pair = Pair::new();
    pair.write("folder/a", "one");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    // Of what is left after an rm of all files; folders hold nothing.
    fs::remove_file(pair.source.path().join("folder/a")).unwrap();
    pair.next("second");
    let guarded = refused(&pair, &controller).await;
    assert_eq!((guarded.guard, guarded.forecast.deleted_files), (Guard::EmptySource, 1));
    fs::remove_dir(pair.source.path().join("folder")).unwrap();
    pair.next("third");
    assert_eq!(refused(&pair, &controller).await.guard, Guard::EmptySource);
    admitted(&mut pair).await;
    // From here on there is nothing left to lose.
    pair.next("fourth");
    pair.sync_well().await;
}

#[tokio::test]
async fn a_claim_of_the_users_own_is_not_emptied_by_the_first_sync() {
    let mut pair = Pair::new();
    fs::write(pair.destination.path().join("of the user"), "x").unwrap();
    let (_mover, controller) = pair.listen().await;
    assert_eq!(refused(&pair, &controller).await.guard, Guard::EmptySource);
    assert!(controller.policy().guarded[0].forecast.bytes.is_none());
    admitted(&mut pair).await;
}

#[tokio::test]
async fn an_empty_claim_has_nothing_to_guard_and_is_not_asked_twice() {
    let pair = Pair::new();
    fill(&pair);
    let (_mover, _controller) = pair.listen().await;
    let end = pair.sync_well().await;
    assert!(!end.log.contains("what the sync would do"), "{}", end.log);
    pair.assert_same();
}

#[tokio::test]
async fn more_than_half_of_the_files_are_not_deleted() {
    for identity in [Identity::User(USER), Identity::Root] {
        let (mut pair, _mover, controller) = filled(identity).await;
        let root = pair.source.path().to_owned();
        let remove = |name: &str| fs::remove_dir_all(root.join(name)).unwrap();
        remove("even");
        // Just half of them: 100 of 201.
        pair.sync_well().await;
        pair.assert_same();
        fill(&pair);
        pair.next("third");
        pair.sync_well().await;
        remove("even");
        fs::remove_file(pair.source.path().join("top")).unwrap();
        pair.next("fourth");
        let guarded = refused(&pair, &controller).await;
        let forecast = &guarded.forecast;
        assert_eq!((guarded.guard, guarded.percent), (Guard::DeletedFiles, 50));
        assert_eq!((forecast.files, forecast.deleted_files, forecast.source_files), (201, 101, 100));
        admitted(&mut pair).await;
    }
}

#[tokio::test]
async fn what_is_excluded_would_be_deleted_too() {
    let (mut pair, _mover, controller) = filled(Identity::User(USER)).await;
    pair.job.excludes = vec!["/even".to_owned(), "/top".to_owned()];
    assert_eq!(refused(&pair, &controller).await.guard, Guard::DeletedFiles);
    pair.job.excludes = vec!["*".to_owned()];
    pair.next("third");
    assert_eq!(refused(&pair, &controller).await.guard, Guard::EmptySource);
}

#[tokio::test]
async fn more_than_half_of_the_bytes_are_not_deleted() {
    const LARGE: u64 = 96 << 20;
    let mut pair = Pair::new();
    // Few files, and holes in them: they count with their size.
    let grow = |path: &Path, size| fs::File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    let large = pair.write("large", "");
    grow(&large, LARGE);
    pair.write("small", "x");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    for change in ["cut off", "deleted", "replaced"] {
        match change {
            "cut off" => grow(&large, LARGE / 3),
            "deleted" => fs::remove_file(&large).unwrap(),
            // By as much as there was: what is new does not make up for what is gone.
            _ => grow(&pair.write("other", ""), LARGE),
        }
        pair.next(&change.replace(' ', "-"));
        let guarded = refused(&pair, &controller).await;
        assert_eq!(
            (guarded.guard, guarded.forecast.bytes),
            (Guard::DeletedBytes, Some(LARGE + 1)),
            "{change}"
        );
        assert!(guarded.forecast.deleted_bytes >= LARGE * 2 / 3 - 1, "{change}: {guarded:?}");
    }
    admitted(&mut pair).await;
}

#[tokio::test]
async fn more_than_four_fifths_of_the_files_are_not_rewritten() {
    let (mut pair, _mover, controller) = filled(Identity::User(USER)).await;
    let root = pair.source.path().to_owned();
    let rewrite = |count: u64| {
        for number in 0..count {
            let name = format!("{}/{number}", if number % 2 == 0 { "even" } else { "odd" });
            fs::write(root.join(name), format!("scrambled {number}")).unwrap();
        }
    };
    rewrite(160);
    pair.sync_well().await;
    pair.assert_same();
    rewrite(161);
    pair.next("third");
    // Compared by content or not: what a guard sees costs no look at any content.
    for comparison in [Comparison::Content, Comparison::Metadata] {
        pair.job = SourceJob { comparison, attempt: pair.job.attempt + 1, ..pair.job.clone() };
        let guarded = refused(&pair, &controller).await;
        assert_eq!((guarded.guard, guarded.percent), (Guard::RewrittenFiles, 80));
        assert_eq!((guarded.forecast.files, guarded.forecast.rewritten_files), (201, 161));
    }
    admitted(&mut pair).await;
}

#[tokio::test]
async fn a_sync_is_refused_although_nobody_hears_of_it() {
    let mut pair = Pair::new();
    pair.write("a", "one");
    let (mover, controller) = pair.listen().await;
    pair.sync_well().await;
    fs::remove_file(pair.source.path().join("a")).unwrap();
    pair.next("second");
    // A controller that does not answer, and a destination that is gone before it does.
    controller.decide(|policy| policy.records = false);
    pair.job.timeouts.unreachable = 1;
    let source = pair.send();
    let tells = |question: &Question| matches!(question.about, QuestionKind::Guarded { .. });
    controller.wait_for(|state| state.questions.iter().any(tells)).await;
    controller.stop();
    mover.kill().await;
    let end = source.end().await;
    assert_eq!((end.code, end.termination.reason.as_deref()), (Some(2), Some("SyncGuarded")), "{}", end.log);
    assert!(end.termination.warnings[0].contains("may prune"), "{:?}", end.termination.warnings);
    assert!(pair.destination.path().join("a").exists());
}

#[tokio::test]
async fn only_the_source_of_the_session_can_say_so() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (_mover, controller) = pair.listen_with(Policy::default()).await;
    let source = pair.send();
    let state =
        controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    let token = state.session.unwrap().token;
    let guarded = |sync: &str| {
        serde_json::json!({"syncId": sync, "attempt": 1, "claimUid": "claim", "guard": "emptySource", "percent": 0,
            "forecast": {"sourceFiles": 0, "files": 1, "deletedFiles": 1, "rewrittenFiles": 0, "bytes": null,
                "deletedBytes": 0}})
        .to_string()
    };
    for (token, sync) in [(token + 1, "first"), (token, "other")] {
        let answer = pair.ssh(&format!("scribe guarded {token}"), &guarded(sync)).await;
        assert_eq!(answer.status.code(), Some(REFUSED_EXIT), "{token} {sync}");
    }
    assert!(controller.policy().guarded.is_empty() && controller.state().await.session.is_some());
    source.kill().await;
    // Even where the answer does not come, nothing more is sent; and what was sent before is not denied.
    controller.decide(|policy| policy.records = false);
    let (request, document) = (format!("scribe guarded {token}"), guarded("first"));
    let told = pair.ssh(&request, &document);
    let stopped = async {
        controller.wait_for(|state| !state.questions.is_empty()).await;
        pair.ssh(&format!("scribe rsync {token} {RSYNC}"), "").await
    };
    let (_, stopped) = tokio::join!(told, stopped);
    assert_eq!(stopped.status.code(), Some(REFUSED_EXIT));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("a guard keeps this session"), "{stopped:?}");
    assert_eq!(controller.policy().untouched, Some(false));
}

#[tokio::test]
async fn lost_and_found_is_nobodys_and_odd_names_forge_no_numbers() {
    let mut pair = Pair::new();
    let root: &Path = pair.source.path();
    for name in ["\nNumber of deleted files: 666 (reg: 666)", "<f.s....... 7", "\n<f.s....... 7\n"] {
        fs::write(root.join(name), name).unwrap();
    }
    pair.own();
    let (_mover, controller) = pair.listen().await;
    fs::write(pair.destination.path().join("lost+found/recovered"), "x").unwrap();
    pair.sync_well().await;
    for entry in fs::read_dir(pair.source.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            run("rm", &["--", text(&entry.path())]);
        }
    }
    pair.next("second");
    let forecast = refused(&pair, &controller).await.forecast;
    assert_eq!((forecast.files, forecast.deleted_files, forecast.rewritten_files), (3, 3, 0));
}

#[tokio::test]
async fn a_sync_that_has_passed_says_so_since_it_would_not_pass_twice() {
    let mut pair = Pair::new();
    for number in 0..150 {
        pair.write(&format!("rewritten/{number}"), "one");
    }
    for number in 0..50 {
        pair.write(&format!("gone/{number}"), "one");
    }
    let (mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    // A quarter is deleted, and three quarters are rewritten: each is allowed. But of what is left after the deletions, all is rewritten.
    fs::remove_dir_all(pair.source.path().join("gone")).unwrap();
    for number in 0..150 {
        pair.write(&format!("rewritten/{number}"), "two is longer");
    }
    let noise: Vec<u8> =
        (0..6 << 20).map(|i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    pair.write("a-large", noise);
    pair.job.bandwidth_limit = Some(1 << 20);
    pair.next("second");
    let source = pair.send();
    while pair.destination.path().join("gone").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    mover.kill().await;
    let SyncEnd { code, termination, log } = source.end().await;
    assert_eq!((code, termination.guards_passed), (Some(1), true), "{log}");
    let (_mover, controller) = pair.listen().await;
    // It would be refused now; so its controller, which has heard that it had passed, does not ask for that.
    pair.job.attempt = 2;
    assert_eq!(refused(&pair, &controller).await.guard, Guard::RewrittenFiles);
    (pair.job.guards, pair.job.attempt, pair.job.bandwidth_limit) = (None, 3, None);
    pair.sync_well().await;
    pair.assert_same();
}
