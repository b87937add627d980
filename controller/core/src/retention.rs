//! Which replicas are kept, and why: a function of what there is and of what is asked for, and of nothing else. So it can be tried without
//! deleting anything.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use scribe_crds::v1alpha1::Retain;

/// A published replica, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The time of its data.
    pub data_time: Timestamp,
    /// Whether a claim can be made from it.
    pub ready: bool,
    /// Whether its user has pinned it.
    pub pinned: bool,
    /// The claim that is being made from it.
    pub restoring: Option<&'a str>,
    /// Whether it holds what was received last.
    pub received_last: bool,
}

/// Why each replica is kept. No reason: it goes. `replicas` are newest first.
///
/// The rules are a union: whatever one of them keeps is kept. Time is counted from the newest replica's data time and not from now, so that
/// nothing runs out while replication stands still. Of each hour, day, ISO week, month and year (in UTC) the newest replica counts, and only
/// those with a replica are counted.
///
/// *Guarantees*: the newest replica that a claim can be made from stays, whatever is asked for, and so do those newer than it, which have
/// not proved themselves; what was received last stays, as by a data time that was wrong older ones may seem newer; so do those that are
/// pinned, and those that a claim is being made from. A replica that is not ready takes no place of one that is, and stays if it would if it
/// were: it may become ready again.
pub fn reasons(replicas: &[Candidate<'_>], retain: &Retain) -> Vec<Vec<String>> {
    let mut kept = vec![Vec::new(); replicas.len()];
    let all: Vec<usize> = (0..replicas.len()).collect();
    let ready: Vec<usize> = all.iter().copied().filter(|at| replicas[*at].ready).collect();
    for candidates in [&all, &ready] {
        rules(replicas, candidates, retain, &mut kept);
    }
    guarantee(replicas, kept)
}

/// Why each replica is kept, if somebody else than the rules says so: `given` for each replica, or nothing. The same guarantees hold.
pub fn reasons_given(replicas: &[Candidate<'_>], given: Vec<Option<String>>) -> Vec<Vec<String>> {
    let mut kept: Vec<Vec<String>> = given.into_iter().map(|reason| reason.into_iter().collect()).collect();
    kept.resize(replicas.len(), Vec::new());
    guarantee(replicas, kept)
}

/// Adds what stays, whatever is asked for.
fn guarantee(replicas: &[Candidate<'_>], mut kept: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let newest_ready = replicas.iter().position(|replica| replica.ready);
    for (at, replica) in replicas.iter().enumerate() {
        if replica.pinned {
            add(&mut kept[at], "pinned".to_owned());
        }
        if let Some(claim) = replica.restoring {
            add(&mut kept[at], format!("claim {claim} is being made from it"));
        }
        if kept[at].is_empty() && newest_ready.is_none_or(|newest| at <= newest) {
            add(&mut kept[at], "the newest that is ready".to_owned());
        }
        if kept[at].is_empty() && replica.received_last {
            add(&mut kept[at], "received last".to_owned());
        }
    }
    kept
}

/// Each rule, as if there were no other replicas than `candidates`.
fn rules(replicas: &[Candidate<'_>], candidates: &[usize], retain: &Retain, kept: &mut [Vec<String>]) {
    for at in candidates.iter().take(retain.last as usize) {
        add(&mut kept[*at], format!("last {}", retain.last));
    }
    let Some(newest) = candidates.first().map(|at| replicas[*at].data_time) else { return };
    if let Some(within) = retain.within {
        // Longer than any time that there is: all of it.
        let within =
            SignedDuration::try_from(std::time::Duration::from(within)).unwrap_or(SignedDuration::MAX);
        let age = |at: &&usize| newest.duration_since(replicas[**at].data_time);
        for at in candidates.iter().take_while(|at| age(at) <= within) {
            add(&mut kept[*at], format!("within {within:#}"));
        }
    }
    for (name, count, format) in [
        ("hourly", retain.hourly, "%Y-%m-%dT%H"),
        ("daily", retain.daily, "%Y-%m-%d"),
        ("weekly", retain.weekly, "%G-W%V"),
        ("monthly", retain.monthly, "%Y-%m"),
        ("yearly", retain.yearly, "%Y"),
    ] {
        let mut last = None;
        let mut left = count.unwrap_or_default();
        for at in candidates {
            let bucket = replicas[*at].data_time.to_zoned(TimeZone::UTC).strftime(format).to_string();
            if last.as_ref() == Some(&bucket) {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            add(&mut kept[*at], format!("{name} {bucket}"));
            last = Some(bucket);
        }
    }
}

fn add(reasons: &mut Vec<String>, reason: String) {
    if !reasons.contains(&reason) {
        reasons.push(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Candidate<'static> {
        let data_time = text.parse().unwrap();
        Candidate { data_time, ready: true, pinned: false, restoring: None, received_last: false }
    }

    fn only(change: impl FnOnce(&mut Retain)) -> Retain {
        let mut retain = Retain { last: 1, ..Retain::default() };
        change(&mut retain);
        retain
    }

    fn table(replicas: &[Candidate<'_>], retain: &Retain) -> String {
        let lines = replicas.iter().zip(reasons(replicas, retain));
        lines.map(|(replica, why)| format!("{} {}\n", replica.data_time, why.join(", "))).collect()
    }

    /// Every six hours for some days, newest first.
    fn six_hourly(count: i64) -> Vec<Candidate<'static>> {
        let newest: Timestamp = "2026-03-04T06:00:00Z".parse().unwrap();
        let each = |number| newest - SignedDuration::from_hours(6 * number);
        (0..count).map(|number| Candidate { data_time: each(number), ..at("2026-03-04T06:00:00Z") }).collect()
    }

    #[test]
    fn the_rules_are_a_union() {
        let retain = only(|retain| {
            retain.last = 2;
            retain.within = Some("12h".parse().unwrap());
            retain.daily = Some(3);
            retain.weekly = Some(2);
        });
        insta::assert_snapshot!(table(&six_hourly(14), &retain), @r"
        2026-03-04T06:00:00Z last 2, within 12h, daily 2026-03-04, weekly 2026-W10
        2026-03-04T00:00:00Z last 2, within 12h
        2026-03-03T18:00:00Z within 12h, daily 2026-03-03
        2026-03-03T12:00:00Z 
        2026-03-03T06:00:00Z 
        2026-03-03T00:00:00Z 
        2026-03-02T18:00:00Z daily 2026-03-02
        2026-03-02T12:00:00Z 
        2026-03-02T06:00:00Z 
        2026-03-02T00:00:00Z 
        2026-03-01T18:00:00Z weekly 2026-W09
        2026-03-01T12:00:00Z 
        2026-03-01T06:00:00Z 
        2026-03-01T00:00:00Z 
        ");
    }

    #[test]
    fn only_hours_days_weeks_months_and_years_with_a_replica_are_counted() {
        let replicas = [
            at("2026-03-04T06:30:00Z"),
            at("2026-03-04T06:10:00Z"),
            at("2026-02-11T01:00:00Z"),
            at("2025-12-31T23:59:59Z"),
            at("2025-01-01T00:00:00Z"),
            at("2021-01-01T00:00:00Z"),
        ];
        let retain = only(|retain| {
            retain.hourly = Some(3);
            retain.monthly = Some(2);
            retain.weekly = Some(3);
            retain.yearly = Some(3);
        });
        insta::assert_snapshot!(table(&replicas, &retain), @r"
        2026-03-04T06:30:00Z last 1, hourly 2026-03-04T06, weekly 2026-W10, monthly 2026-03, yearly 2026
        2026-03-04T06:10:00Z 
        2026-02-11T01:00:00Z hourly 2026-02-11T01, weekly 2026-W07, monthly 2026-02
        2025-12-31T23:59:59Z hourly 2025-12-31T23, weekly 2026-W01, yearly 2025
        2025-01-01T00:00:00Z 
        2021-01-01T00:00:00Z yearly 2021
        ");
    }

    #[test]
    fn what_is_pinned_or_in_use_stays() {
        let mut replicas = six_hourly(4);
        replicas[1].pinned = true;
        replicas[3].restoring = Some("restored");
        insta::assert_snapshot!(table(&replicas, &only(|_| {})), @r"
        2026-03-04T06:00:00Z last 1
        2026-03-04T00:00:00Z pinned
        2026-03-03T18:00:00Z 
        2026-03-03T12:00:00Z claim restored is being made from it
        ");
    }

    #[test]
    fn what_is_not_ready_takes_no_place_and_may_come_back() {
        let mut replicas = six_hourly(4);
        replicas[0].ready = false;
        replicas[1].ready = false;
        insta::assert_snapshot!(table(&replicas, &only(|_| {})), @r"
        2026-03-04T06:00:00Z last 1
        2026-03-04T00:00:00Z the newest that is ready
        2026-03-03T18:00:00Z last 1
        2026-03-03T12:00:00Z 
        ");
        let daily = only(|retain| retain.daily = Some(2));
        let mut replicas = six_hourly(8);
        replicas[2].ready = false;
        insta::assert_snapshot!(table(&replicas, &daily), @r"
        2026-03-04T06:00:00Z last 1, daily 2026-03-04
        2026-03-04T00:00:00Z 
        2026-03-03T18:00:00Z daily 2026-03-03
        2026-03-03T12:00:00Z daily 2026-03-03
        2026-03-03T06:00:00Z 
        2026-03-03T00:00:00Z 
        2026-03-02T18:00:00Z 
        2026-03-02T12:00:00Z 
        ");
    }

    #[test]
    fn what_was_received_last_stays_although_others_claim_to_be_newer() {
        let mut replicas = six_hourly(3);
        replicas[2].received_last = true;
        insta::assert_snapshot!(table(&replicas, &only(|_| {})), @r"
        2026-03-04T06:00:00Z last 1
        2026-03-04T00:00:00Z 
        2026-03-03T18:00:00Z received last
        ");
    }

    fn candidate() -> impl Strategy<Value = Candidate<'static>> {
        (0..40_000_000_i64, any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(second, ready, pinned)| {
            let data_time = Timestamp::from_second(1_700_000_000 + second).unwrap();
            Candidate { data_time, ready, pinned, restoring: None, received_last: false }
        })
    }

    fn retain() -> impl Strategy<Value = Retain> {
        let count = || prop::option::of(1..20_u32);
        (1..20_u32, count(), count(), count(), count(), count()).prop_map(
            |(last, hourly, daily, weekly, monthly, yearly)| Retain {
                last,
                within: None,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
            },
        )
    }

    /// What offline tests of hooks say that stays is what stays: the plan of the contract and that of the controller are two pieces of code.
    #[test]
    fn hooks_are_planned_alike_offline_and_in_the_controller() {
        use scribe_hooks_contract::retention::{Keep, Plan, ReplicaPoint};
        const REPLICAS: u32 = 3;
        // Five things may be so of each replica, or not.
        for flags in 0..1_u32 << (5 * REPLICAS) {
            let is = |at: u32, what: u32| flags & (1 << (5 * at + what)) != 0;
            // Oldest first.
            let points: Vec<ReplicaPoint> = (0..REPLICAS)
                .map(|at| ReplicaPoint {
                    id: format!("r{at}"),
                    created: u64::from(at) * 1000,
                    size_bytes: None,
                    labels: std::collections::BTreeMap::new(),
                    ready: is(at, 0),
                    pinned: is(at, 1),
                    in_use: is(at, 2),
                })
                .collect();
            let received = (0..REPLICAS).filter(|at| is(*at, 4)).map(|at| format!("r{at}")).collect();
            let chosen = (0..REPLICAS).filter(|at| is(*at, 3));
            let answer: Vec<Keep> =
                chosen.map(|at| Keep { id: format!("r{at}"), reason: "asked".to_owned() }).collect();
            let offline = Plan::new(&points, &answer, &received, None).unwrap();

            let newest_first = (0..REPLICAS).rev();
            let candidates: Vec<Candidate<'_>> = newest_first
                .clone()
                .map(|at| Candidate {
                    data_time: Timestamp::from_second(i64::from(at)).unwrap(),
                    ready: is(at, 0),
                    pinned: is(at, 1),
                    restoring: is(at, 2).then_some("restored"),
                    received_last: is(at, 4),
                })
                .collect();
            let given = newest_first.clone().map(|at| is(at, 3).then(|| "asked".to_owned())).collect();
            let why = reasons_given(&candidates, given);
            let gone = newest_first.rev().zip(why.iter().rev()).filter(|(_, why)| why.is_empty());
            let gone: Vec<String> = gone.map(|(at, _)| format!("r{at}")).collect();
            assert_eq!(gone, offline.delete, "{points:?} {answer:?} {received:?}");
        }
    }

    proptest! {
        /// And pruning by the same rules again takes nothing more.
        #[test]
        fn what_must_stay_stays(mut replicas in prop::collection::vec(candidate(), 0..60), retain in retain()) {
            replicas.sort_by_key(|replica| std::cmp::Reverse(replica.data_time));
            let why = reasons(&replicas, &retain);
            if let Some(newest_ready) = replicas.iter().position(|replica| replica.ready) {
                prop_assert!(!why[newest_ready].is_empty());
            } else {
                prop_assert!(why.iter().all(|why| !why.is_empty()));
            }
            let ready_kept = replicas.iter().zip(&why).filter(|(replica, why)| replica.ready && !why.is_empty());
            let ready = replicas.iter().filter(|replica| replica.ready).count();
            prop_assert!(ready_kept.count() >= ready.min(retain.last as usize));
            for (replica, why) in replicas.iter().zip(&why) {
                prop_assert!(!replica.pinned || !why.is_empty());
            }
            let left: Vec<Candidate<'_>> =
                replicas.iter().zip(&why).filter(|(_, why)| !why.is_empty()).map(|(replica, _)| *replica).collect();
            prop_assert!(reasons(&left, &retain).iter().all(|why| !why.is_empty()));
        }
    }
}
