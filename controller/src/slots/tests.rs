use super::*;
use crate::kinds::Side;
use crate::router::{Owner, Triggers};
use jiff::Timestamp;
use scribe_core::slots::Candidate;
use serde_json::json;

fn ledger() -> (Ledger, Triggers) {
    let (router, triggers) = Router::new();
    let router = Arc::new(router);
    for uid in ["a", "b", "c"] {
        let owner = Owner { side: Side::Source, namespace: "app".to_owned(), name: uid.to_owned() };
        router.add(uid, owner);
    }
    (Ledger::new(Limits { cluster: 1, namespace: 0, node: 0 }, router), triggers)
}

fn candidate(uid: &str, since: i64) -> Candidate {
    Candidate {
        uid: uid.to_owned(),
        namespace: "app".to_owned(),
        deadline: None,
        since: Timestamp::from_second(since).unwrap(),
        nodes: None,
    }
}

fn takes(uid: &str) -> Claim {
    Claim::Takes { candidate: candidate(uid, 0), pod: pod(uid) }
}

fn pod(uid: &str) -> PodName {
    ("app".to_owned(), format!("{uid}-1"))
}

fn woken(triggers: &mut Triggers) -> Vec<String> {
    std::iter::from_fn(|| triggers.sources.try_recv().ok()).map(|source| source.name).collect()
}

#[test]
fn nothing_is_granted_before_everything_is_counted() {
    let (ledger, mut triggers) = ledger();
    assert_eq!(ledger.take(&takes("a")), Taken::Lost);
    ledger.passed("a", &Claim::Waits(candidate("a", 0)), Taken::Lost, true);
    assert!(woken(&mut triggers).is_empty());
    ledger.pods_counted(BTreeMap::from([(("other".to_owned(), "x".to_owned()), None)]));
    assert!(woken(&mut triggers).is_empty(), "a stale leader's pod counts");
    ledger.pods_counted(BTreeMap::new());
    assert_eq!(woken(&mut triggers), ["a"]);
    assert_eq!(ledger.take(&takes("a")), Taken::Now);
}

#[test]
fn two_that_decide_at_the_same_time_do_not_both_get_it_and_the_next_is_woken() {
    let (ledger, mut triggers) = ledger();
    ledger.pods_counted(BTreeMap::new());
    assert_eq!((ledger.take(&takes("a")), ledger.take(&takes("b"))), (Taken::Now, Taken::Lost));
    ledger.passed("a", &takes("a"), Taken::Now, true);
    ledger.passed("b", &Claim::Waits(candidate("b", 2)), Taken::Needless, true);
    ledger.passed("c", &Claim::Waits(candidate("c", 1)), Taken::Needless, true);
    assert_eq!(ledger.take(&takes("a")), Taken::Before);
    // The grant becomes a pod, which ends.
    ledger.pod(pod("a"), Some(None));
    ledger.passed("a", &Claim::Keeps, Taken::Needless, true);
    assert!(woken(&mut triggers).is_empty());
    assert_eq!(numbers(&ledger.view()), BTreeMap::from([("app", (1, 2))]));
    ledger.pod(pod("a"), None);
    assert_eq!(woken(&mut triggers), ["c"]);
    // It cannot be looked at: the other one goes first.
    ledger.step_aside("c");
    assert_eq!(woken(&mut triggers), ["b"]);
}

#[test]
fn a_grant_that_came_to_nothing_is_given_back() {
    let (ledger, mut triggers) = ledger();
    ledger.pods_counted(BTreeMap::new());
    let waits = Claim::Waits(candidate("b", 0));
    let gives_back: [&dyn Fn(); 3] = [
        &|| ledger.passed("a", &takes("a"), Taken::Now, false),
        &|| ledger.passed("a", &Claim::Nothing, Taken::Needless, true),
        &|| ledger.forget("a"),
    ];
    for give_back in gives_back {
        assert_eq!(ledger.take(&takes("a")), Taken::Now);
        ledger.passed("b", &waits, Taken::Needless, true);
        assert!(woken(&mut triggers).is_empty());
        give_back();
        assert_eq!(woken(&mut triggers), ["b"]);
        ledger.forget("b");
    }
    // One that the status says is used is not taken away by a second look.
    assert_eq!(ledger.take(&takes("a")), Taken::Now);
    ledger.passed("a", &takes("a"), Taken::Before, false);
    assert_eq!(ledger.take(&takes("b")), Taken::Lost);
}

#[test]
fn only_movers_of_sources_that_have_not_ended_count() {
    let pod = |kind: &str, owner: &str, phase: &str| -> Option<Option<String>> {
        let value = json!({
            "metadata": {"name": "p", "namespace": "app", "labels": {"scribe.dev/owner-uid": "u"},
                "ownerReferences": [{"apiVersion": "scribe.dev/v1alpha1", "kind": kind, "name": "db", "uid": owner}]},
            "spec": {"containers": [], "nodeName": "n"}, "status": {"phase": phase}
        });
        runs(&serde_json::from_value(value).unwrap())
    };
    let node = Some(Some("n".to_owned()));
    assert_eq!(pod("ReplicationSource", "u", "Running"), node);
    assert_eq!(pod("ReplicationSource", "u", "Unknown"), node);
    assert_eq!(pod("ReplicationSource", "u", "Succeeded"), None);
    assert_eq!(pod("ReplicationSource", "another", "Running"), None);
    assert_eq!(pod("ReplicationDestination", "u", "Running"), None);
}

#[test]
fn a_volume_is_remembered_as_long_as_it_is_of_use() {
    let (ledger, _triggers) = ledger();
    ledger.learn_volume("a", "v1", None, &["v1"]);
    assert_eq!(ledger.volume("a", "v1"), Some(None));
    ledger.learn_volume("a", "v2", None, &["v2"]);
    assert_eq!(ledger.volume("a", "v1"), None);
    ledger.forget("a");
    assert_eq!(ledger.volume("a", "v2"), None);
}
