use super::record::{Candidate, Standing};
use super::*;

const DURATION: Duration = Duration::from_secs(15);

fn candidate(instance: &str) -> Candidate {
    Candidate::new("lease".to_owned(), instance.to_owned(), DURATION)
}

/// As the API server gives it back.
fn stored(mut lease: Lease, version: u32) -> Lease {
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

#[test]
fn a_lease_is_free_after_its_time_without_a_change() {
    let (holder, mut other) = (candidate("a"), candidate("b"));
    let start = Instant::now();
    // What the times in it say is of no account: they are those of another clock.
    let first = stored(holder.first("1999-01-01T00:00:00Z".parse().unwrap()), 1);
    assert!(matches!(other.standing(&first, start), Standing::Held(_)));
    let nearly = start + DURATION - Duration::from_millis(1);
    assert!(matches!(other.standing(&first, nearly), Standing::Held(_)));
    let renewed = stored(holder.renewed(&first, now()), 2);
    assert!(matches!(other.standing(&renewed, nearly), Standing::Held(_)));
    assert!(matches!(other.standing(&renewed, start + DURATION), Standing::Held(_)));
    assert_eq!(other.standing(&renewed, nearly + DURATION), Standing::Free);
}

#[test]
fn the_holder_knows_itself_and_counts_who_came_after_it() {
    let (mut holder, mut other) = (candidate("a"), candidate("b"));
    let start = Instant::now();
    let first = stored(holder.first(now()), 1);
    assert_eq!(holder.standing(&first, start), Standing::Ours);
    let taken = stored(other.taken(&first, now()), 2);
    assert_eq!(taken.spec.as_ref().unwrap().lease_transitions, Some(1));
    assert!(matches!(holder.standing(&taken, start), Standing::Held(by) if by.starts_with("b_")));
    assert_eq!(other.standing(&taken, start), Standing::Ours);
    let released = stored(other.released(&taken), 3);
    assert_eq!(holder.standing(&released, start), Standing::Free);
    assert_eq!(holder.taken(&released, now()).spec.unwrap().lease_transitions, Some(2));
}

#[test]
fn the_same_pod_started_anew_need_not_wait_for_itself() {
    let (before, mut after) = (candidate("pod"), candidate("pod"));
    let first = stored(before.first(now()), 1);
    assert_eq!(after.standing(&first, Instant::now()), Standing::Free);
    // A name that only begins the same way is another's.
    let mut other = candidate("po");
    assert!(matches!(other.standing(&first, Instant::now()), Standing::Held(_)));
}

#[tokio::test]
async fn a_term_ends_by_itself() {
    let term = Term::default();
    assert!(!term.holds());
    term.lasts_until(Instant::now() + Duration::from_secs(3600));
    assert!(term.holds() && term.begins().await);
    term.lasts_until(Instant::now());
    assert!(!term.holds());
    let waits = term.begins();
    term.end();
    assert!(!waits.await);
}

#[tokio::test]
async fn who_waits_for_a_term_is_let_go() {
    let term = Term::default();
    let waits = term.begins();
    term.give_up();
    assert!(!waits.await);
    // Who has a term keeps it: what runs is to end in order.
    let term = Term::default();
    term.lasts_until(Instant::now() + Duration::from_secs(3600));
    term.give_up();
    assert!(term.holds());
}
