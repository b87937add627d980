//! Names, labels and annotations: each is spelled here and nowhere else.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The API group.
pub const GROUP: &str = "scribe.dev";
/// The field manager of everything that the controller applies.
pub const FIELD_MANAGER: &str = "scribe";
/// The field manager of what a hook changes, and of what undoes it.
pub const HOOK_FIELD_MANAGER: &str = "scribe-hook";
/// The finalizer on both kinds.
pub const FINALIZER: &str = "scribe.dev/cleanup";

/// Label: who made an object; the value is [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "scribe";
/// Label: the uid of the ReplicationSource or ReplicationDestination that an object belongs to.
pub const OWNER_UID: &str = "scribe.dev/owner-uid";
/// Label: the id of the sync that an object was made for.
pub const SYNC: &str = "scribe.dev/sync";
/// Label: the kind of owner, `source` or `destination`.
pub const SIDE: &str = "scribe.dev/side";
/// Label on mover pods: the attempt, from 1.
pub const ATTEMPT: &str = "scribe.dev/attempt";

/// Annotation of a replica: the time of its data, RFC 3339.
pub const DATA_TIME: &str = "scribe.dev/data-time";
/// Annotation of a replica: the id of the sync that brought it.
pub const SYNC_ID: &str = "scribe.dev/sync-id";
/// Annotation of a replica: the uid of the source claim.
pub const SOURCE_UID: &str = "scribe.dev/source-uid";
/// Annotation of a replica: what it can be relied upon to be.
pub const CONSISTENCY: &str = "scribe.dev/consistency";
/// Annotation of a replica: how changed files were found.
pub const COMPARISON: &str = "scribe.dev/comparison";
/// Annotation of a replica: set when it was published; a snapshot without it is not a replica.
pub const PUBLISHED: &str = "scribe.dev/published";
/// Annotation of a replica and of a kept claim: namespace and name of the destination that it belonged to.
pub const DESTINATION: &str = "scribe.dev/destination";
/// Annotation of a replica: the uid of the destination of the same name that it belonged to before.
pub const ADOPTED_FROM: &str = "scribe.dev/adopted-from";
/// Annotation that a user puts on a replica to keep it, whatever `retain` says, unless the value is `"false"`.
pub const PINNED: &str = "scribe.dev/pinned";
/// Annotation that a user puts on a source or a destination: the id of a sync that was refused, of which the like is to be let through
/// once. On a source it concerns the guards, on a destination the source that it belongs to.
pub const ADMIT_SYNC: &str = "scribe.dev/admit-sync";
/// Annotation that a user puts on a source: the id of a sync for which an application was brought to rest, and which does go on although its
/// release could not be seen to succeed. It is not released any more.
pub const FORGET_FREEZE: &str = "scribe.dev/forget-freeze";
/// Annotation of a destination's Service and mover pod: a hash of what it was made from, so that a change of the spec is seen.
pub const PLAN_HASH: &str = "scribe.dev/plan-hash";
/// Annotation of a destination's mover pod: the uid of the claim that it receives into.
pub const CLAIM_UID: &str = "scribe.dev/claim-uid";
/// Annotation of a Secret with keys that were made: the relationship that they belong to.
pub const RELATIONSHIP: &str = "scribe.dev/relationship";
/// Annotation of a hook's store: the module that it belongs to.
pub const HOOK_MODULE: &str = "scribe.dev/hook-module";
/// Annotation of a namespace: movers may run as root there, if it is `"true"`.
pub const PRIVILEGED_MOVERS: &str = "scribe.dev/privileged-movers";

/// Kubernetes' own annotation of a claim of a class with `WaitForFirstConsumer`: the node for which its volume is to be made. With it, the claim
/// waits no longer for a pod.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Annotation of the controller's own namespace: everything in the cluster is paused, as by `spec.paused`, unless the value is `"false"`.
pub const PAUSE_ALL: &str = "scribe.dev/pause-all";

/// The longest name of a Service or a pod, and of a label's value.
pub const MAX_NAME: usize = 63;

/// Cuts a name that is too long, and ends it in a hash of the whole, so that two long names never meet.
///
/// ```
/// use scribe_crds::names::bounded;
/// assert_eq!(bounded("short", 63), "short");
/// let long = bounded(&"x".repeat(80), 63);
/// assert_eq!(long.len(), 63);
/// assert_ne!(long, bounded(&"x".repeat(81), 63));
/// ```
pub fn bounded(name: &str, max: usize) -> String {
    if name.len() <= max { name.to_owned() } else { hashed(name, name, max) }
}

/// Ten hexadecimal digits that stand for a text: enough to tell two texts of one object apart.
pub fn digest(text: &str) -> String {
    hexadecimal(text, 5)
}

/// Thirty-two hexadecimal digits that stand for a text, also where somebody would like two texts to have the same.
pub fn fingerprint(text: &str) -> String {
    hexadecimal(text, 16)
}

/// The first bytes of a text's hash.
fn hexadecimal(text: &str, bytes: usize) -> String {
    let mut hash = String::with_capacity(2 * bytes);
    for byte in Sha256::digest(text.as_bytes()).iter().take(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// `readable`, cut to fit, and a hash of `whole`.
fn hashed(readable: &str, whole: &str, max: usize) -> String {
    let room = max.saturating_sub(11);
    let keep =
        readable.char_indices().map(|(at, _)| at).chain([readable.len()]).take_while(|at| *at <= room).last();
    format!("{}-{}", readable[..keep.unwrap_or(0)].trim_end_matches(['-', '.']), digest(whole))
}

/// An object's name as a part of its children's. Services and pods have no dots in their names; and an object whose name ends as our
/// suffixes do must not be given the children of another.
fn stem(name: &str) -> String {
    if name.contains('.') || name.ends_with("-source") || name.ends_with("-control") {
        hashed(&name.replace('.', "-"), name, usize::MAX)
    } else {
        name.to_owned()
    }
}

/// The name of what lasts as long as a ReplicationSource does: its control Secret.
pub fn source_base(name: &str) -> String {
    bounded(&format!("scribe-src-{}", stem(name)), MAX_NAME)
}

/// The name of the cut of a sync.
pub fn source_cut(name: &str, sync_id: &str) -> String {
    bounded(&format!("scribe-src-{}-{sync_id}", stem(name)), MAX_NAME)
}

/// The name of the mover pod of one attempt of a sync.
pub fn source_pod(name: &str, sync_id: &str, attempt: u32) -> String {
    bounded(&format!("scribe-src-{}-{sync_id}-{attempt}", stem(name)), MAX_NAME)
}

/// The name of what a ReplicationDestination makes once: its claim, Service, mover pod and own Secret.
pub fn destination_base(name: &str) -> String {
    bounded(&format!("scribe-dst-{}", stem(name)), MAX_NAME)
}

/// The name of the Secret that is carried to the source.
pub fn source_secret(name: &str) -> String {
    bounded(&format!("scribe-dst-{}-source", stem(name)), MAX_NAME)
}

/// The name of the Secret with the token by which the controller and a destination's mover know each other.
pub fn destination_control(name: &str) -> String {
    bounded(&format!("scribe-dst-{}-control", stem(name)), MAX_NAME)
}

/// The name of a replica: `<name>-<data time as yyyymmddthhmmssz>`, with `-<n>` for the second and later tries to make it.
pub fn replica(name: &str, data_time: jiff::Timestamp, publication: u32) -> String {
    let stamp = data_time.strftime("%Y%m%dt%H%M%Sz");
    let suffix = if publication > 1 { format!("-{publication}") } else { String::new() };
    // A VolumeSnapshot's name may be longer than a pod's, but it is often made the name of a claim, and that of a pod.
    let room = MAX_NAME - 17 - suffix.len();
    format!("{}-{stamp}{suffix}", bounded(name, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_fit_the_limits_of_services_and_pods() {
        for length in [1, 40, 52, 53, 63, 253] {
            let name = format!("{}.{}", "n".repeat(length), "m".repeat(length));
            for child in [
                source_base(&name),
                source_cut(&name, "abcdefgh"),
                source_pod(&name, "abcdefgh", 12),
                destination_base(&name),
                source_secret(&name),
                destination_control(&name),
            ] {
                assert!(child.len() <= MAX_NAME, "{child}");
                assert!(!child.contains('.'), "{child}");
            }
        }
    }

    #[test]
    fn no_object_is_given_the_children_of_another() {
        let mut seen = std::collections::BTreeSet::new();
        for name in ["db", "db-source", "db-control", "a.b", "a-b", "a.b-source"] {
            for child in [destination_base(name), source_secret(name), destination_control(name)] {
                assert!(seen.insert(child.clone()), "{child}");
            }
        }
    }

    #[test]
    fn a_replica_is_named_after_the_time_of_its_data() {
        let at: jiff::Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        assert_eq!(replica("db", at, 1), "db-20260304t050607z");
        assert_eq!(replica("db", at, 2), "db-20260304t050607z-2");
        assert!(replica(&"x".repeat(253), at, 11).len() <= MAX_NAME);
    }
}
