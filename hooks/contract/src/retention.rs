//! What a retention hook is asked, and what follows from its answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A replica that a retention hook judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaPoint {
    /// Its name.
    pub id: String,
    /// Of when the data is, in milliseconds since 1970-01-01T00:00:00Z.
    pub created: u64,
    /// How large it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its labels. A module sees them sorted by key.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The user wants it kept.
    #[serde(default)]
    pub pinned: bool,
    /// A claim is being made from it.
    #[serde(default)]
    pub in_use: bool,
    /// It can be restored from.
    #[serde(default = "yes")]
    pub ready: bool,
}

fn yes() -> bool {
    true
}

/// A replica that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keep {
    /// Its name.
    pub id: String,
    /// Shown beside the replica.
    #[serde(default)]
    pub reason: String,
}

/// What stays and what goes. Every replica is in one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// What stays, and why, the oldest first.
    pub keep: Vec<Keep>,
    /// What goes, the oldest first.
    pub delete: Vec<String>,
    /// What would go too, but for the limit on one run.
    pub postponed: usize,
}

/// An answer that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// It names what there is not.
    #[error("keeps `{0}`, which is not among the points that it was given")]
    Unknown(String),
    /// It names something twice.
    #[error("keeps `{0}` twice")]
    Twice(String),
}

/// Puts replicas in the order in which a module sees them.
pub fn sort(points: &mut [ReplicaPoint]) {
    points.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
}

/// Looks whether an answer speaks of what was asked.
///
/// # Errors
///
/// Names the replica that is unknown, or named twice.
pub fn check<'a>(ids: impl IntoIterator<Item = &'a str>, answer: &[Keep]) -> Result<(), KeepError> {
    let known: BTreeSet<&str> = ids.into_iter().collect();
    let mut named = BTreeSet::new();
    for keep in answer {
        // Only the start of a name that we do not know: it is the module's text.
        let shown = || keep.id.chars().take(64).filter(|c| !c.is_control()).collect::<String>();
        if !known.contains(keep.id.as_str()) {
            return Err(KeepError::Unknown(shown()));
        }
        if !named.insert(keep.id.as_str()) {
            return Err(KeepError::Twice(shown()));
        }
    }
    Ok(())
}

impl Plan {
    /// What follows from a module's answer: what it names stays, and so does the newest replica that can be restored from with those that are newer
    /// and have not proved themselves (all, where none can be restored from), whatever is pinned or in use, and what is in `also`. Of the rest, the
    /// `most` oldest go.
    ///
    /// # Errors
    ///
    /// See [`check`]. Then everything has to stay: [`Plan::keep_everything`].
    pub fn new(
        points: &[ReplicaPoint],
        answer: &[Keep],
        also: &BTreeSet<String>,
        most: Option<usize>,
    ) -> Result<Self, KeepError> {
        check(points.iter().map(|point| point.id.as_str()), answer)?;
        let mut points = points.to_vec();
        sort(&mut points);
        let newest = points.iter().rposition(|point| point.ready).unwrap_or(0);
        let chosen: BTreeMap<&str, &str> =
            answer.iter().map(|keep| (keep.id.as_str(), keep.reason.as_str())).collect();
        let why = |at: usize, point: &ReplicaPoint| {
            if let Some(reason) = chosen.get(point.id.as_str()) {
                Some((*reason).to_owned())
            } else if point.pinned {
                Some("pinned".to_owned())
            } else if point.in_use {
                Some("in use".to_owned())
            } else if at >= newest {
                Some("the newest that is ready".to_owned())
            } else {
                also.contains(&point.id).then(|| "needed".to_owned())
            }
        };
        let most = most.unwrap_or(usize::MAX);
        let mut plan = Self { keep: Vec::new(), delete: Vec::new(), postponed: 0 };
        for (at, point) in points.iter().enumerate() {
            match why(at, point) {
                Some(reason) => plan.keep.push(Keep { id: point.id.clone(), reason }),
                None if plan.delete.len() < most => plan.delete.push(point.id.clone()),
                None => {
                    plan.postponed += 1;
                    plan.keep.push(Keep { id: point.id.clone(), reason: "next run".to_owned() });
                }
            }
        }
        Ok(plan)
    }

    /// What follows when there is no answer.
    pub fn keep_everything(points: &[ReplicaPoint], reason: &str) -> Self {
        let mut points = points.to_vec();
        sort(&mut points);
        let keep = points.into_iter().map(|point| Keep { id: point.id, reason: reason.to_owned() }).collect();
        Self { keep, delete: Vec::new(), postponed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: &str, created: u64) -> ReplicaPoint {
        ReplicaPoint {
            id: id.to_owned(),
            created,
            size_bytes: None,
            labels: BTreeMap::new(),
            pinned: false,
            in_use: false,
            ready: true,
        }
    }

    fn keep(id: &str) -> Keep {
        Keep { id: id.to_owned(), reason: "asked".to_owned() }
    }

    fn kept(plan: &Plan) -> Vec<&str> {
        plan.keep.iter().map(|keep| keep.id.as_str()).collect()
    }

    #[test]
    fn what_must_stay_stays_whatever_is_answered() {
        let points = vec![
            ReplicaPoint { ready: false, ..point("unproved", 9) },
            point("newest", 8),
            ReplicaPoint { ready: false, ..point("not-ready", 7) },
            ReplicaPoint { pinned: true, ..point("pinned", 3) },
            ReplicaPoint { in_use: true, ..point("used", 2) },
            point("needed", 1),
            point("old", 0),
        ];
        let plan = Plan::new(&points, &[], &BTreeSet::from(["needed".to_owned()]), None).unwrap();
        assert_eq!(kept(&plan), ["needed", "used", "pinned", "newest", "unproved"]);
        assert_eq!(plan.delete, ["old", "not-ready"]);
    }

    #[test]
    fn where_nothing_can_be_restored_from_nothing_goes() {
        let points = ["a", "b"].map(|id| ReplicaPoint { ready: false, ..point(id, 1) });
        let plan = Plan::new(&points, &[], &BTreeSet::new(), None).unwrap();
        assert_eq!((kept(&plan), plan.delete.len()), (vec!["a", "b"], 0));
    }

    #[test]
    fn no_more_than_the_limit_goes_and_the_oldest_first() {
        let points = [point("d", 4), point("a", 1), point("c", 3), point("b", 2)];
        let plan = Plan::new(&points, &[], &BTreeSet::new(), Some(2)).unwrap();
        assert_eq!(
            (plan.delete.as_slice(), plan.postponed),
            (["a".to_owned(), "b".to_owned()].as_slice(), 1)
        );
        assert_eq!(kept(&plan), ["c", "d"]);
    }

    #[test]
    fn unknown_and_repeated_names_are_refused() {
        assert_eq!(check(["a", "b"], &[keep("x")]), Err(KeepError::Unknown("x".into())));
        assert_eq!(check(["a", "b"], &[keep("a"), keep("a")]), Err(KeepError::Twice("a".into())));
        assert_eq!(check(["a", "b"], &[keep("a"), keep("b")]), Ok(()));
    }

    #[test]
    fn without_an_answer_everything_stays() {
        let plan = Plan::keep_everything(&[point("b", 2), point("a", 1)], "the hook failed");
        assert_eq!((kept(&plan), plan.delete.len()), (vec!["a", "b"], 0));
    }

    proptest::proptest! {
        #[test]
        fn the_newest_that_is_ready_never_goes_and_nothing_is_lost(
            flags in proptest::collection::vec((0_u64..4, proptest::prelude::any::<[bool; 4]>()), 0..12),
            most in proptest::option::of(0_usize..12),
        ) {
            let points: Vec<_> = flags
                .iter()
                .enumerate()
                .map(|(number, (created, [ready, pinned, in_use, _]))| ReplicaPoint {
                    ready: *ready, pinned: *pinned, in_use: *in_use, ..point(&format!("p{number}"), *created)
                })
                .collect();
            let answer: Vec<_> =
                flags.iter().enumerate().filter(|(_, (_, flags))| flags[3]).map(|(number, _)| keep(&format!("p{number}"))).collect();
            let plan = Plan::new(&points, &answer, &BTreeSet::new(), most).unwrap();
            proptest::prop_assert_eq!(plan.keep.len() + plan.delete.len(), points.len());
            proptest::prop_assert!(plan.delete.len() <= most.unwrap_or(usize::MAX));
            let newest = points.iter().filter(|point| point.ready).max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
            for point in &points {
                let is_proved_old = newest.is_some_and(|newest| (point.created, &point.id) < (newest.created, &newest.id));
                let must_stay = point.pinned || point.in_use || !is_proved_old || answer.contains(&keep(&point.id));
                proptest::prop_assert!(!must_stay || !plan.delete.contains(&point.id), "{}", point.id);
            }
        }
    }
}
