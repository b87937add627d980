//! Which published replicas are kept.

use super::replica::Seen;

/// What becomes of the replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Retention<'a, 'b> {
    /// These stay, newest first, with the reason.
    pub keep: Vec<(&'b Seen<'a>, String)>,
    /// These go, oldest first.
    pub prune: Vec<&'b Seen<'a>>,
}

/// Decides by `retain`. `replicas` are newest first.
///
/// *Guarantees*: the newest replica that a claim can be made from stays, whatever is asked for, and so does that of `received`, the
/// sync that was received last: by a data time that was wrong, older ones may seem newer.
pub(super) fn plan<'a, 'b>(
    replicas: &'b [Seen<'a>],
    last: usize,
    received: Option<&str>,
) -> Retention<'a, 'b> {
    let newest_ready = replicas.iter().position(|replica| replica.ready);
    let mut retention = Retention::default();
    for (at, replica) in replicas.iter().enumerate() {
        if at < last {
            retention.keep.push((replica, format!("last {last}")));
        } else if newest_ready.is_none_or(|ready| at <= ready) {
            // Nothing newer has proved itself.
            retention.keep.push((replica, "the newest that is ready".to_owned()));
        } else if received == Some(replica.sync_id) {
            retention.keep.push((replica, "received last".to_owned()));
        } else {
            retention.prune.push(replica);
        }
    }
    retention.prune.reverse();
    retention
}

/// Keeps all.
pub(super) fn everything<'a, 'b>(replicas: &'b [Seen<'a>], because: &str) -> Retention<'a, 'b> {
    Retention {
        keep: replicas.iter().map(|replica| (replica, because.to_owned())).collect(),
        prune: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scribe_crds::v1alpha1::{Comparison, Consistency};

    fn replica(name: &'static str, at: i64, ready: bool) -> Seen<'static> {
        Seen {
            name,
            uid: name,
            data_time: jiff::Timestamp::from_second(at).unwrap(),
            sync_id: name,
            source_uid: None,
            consistency: Consistency::Crash,
            comparison: Comparison::Content,
            ready,
        }
    }

    fn names(replicas: &[Seen<'static>], last: usize) -> (Vec<String>, Vec<String>) {
        let retention = plan(replicas, last, None);
        let keep = retention.keep.iter().map(|(replica, why)| format!("{}: {why}", replica.name)).collect();
        (keep, retention.prune.iter().map(|replica| replica.name.to_owned()).collect())
    }

    #[test]
    fn the_oldest_go_first() {
        let all =
            [replica("d", 4, true), replica("c", 3, true), replica("b", 2, true), replica("a", 1, true)];
        assert_eq!(
            names(&all, 2),
            (vec!["d: last 2".into(), "c: last 2".into()], vec!["a".into(), "b".into()])
        );
        assert_eq!(names(&all, 9).1, Vec::<String>::new());
    }

    #[test]
    fn what_was_received_last_stays_although_others_claim_to_be_newer() {
        let all = [replica("c", 3, true), replica("b", 2, true), replica("a", 1, true)];
        let retention = plan(&all, 1, Some("a"));
        let keep: Vec<_> = retention.keep.iter().map(|(replica, why)| (replica.name, why.as_str())).collect();
        assert_eq!(keep, [("c", "last 1"), ("a", "received last")]);
        assert_eq!(retention.prune.iter().map(|replica| replica.name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn the_last_good_one_stays_whatever_is_asked_for() {
        let all = [replica("c", 3, false), replica("b", 2, true), replica("a", 1, true)];
        assert_eq!(
            names(&all, 1),
            (vec!["c: last 1".into(), "b: the newest that is ready".into()], vec!["a".into()])
        );
        let none_ready = [replica("b", 2, false), replica("a", 1, false)];
        assert_eq!(names(&none_ready, 1).1, Vec::<String>::new());
        assert_eq!(names(&all, 0).1, vec!["a".to_owned()]);
    }
}
