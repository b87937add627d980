//! A destination without snapshots: the receiving claim itself is the replica, and is overwritten in place.

use super::view::{View, name_of};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{DestinationStatus, LatestImage, Received};

/// What the claim of today holds, complete and untouched since. The record of its commit was the publication.
pub(super) fn published<'a>(view: &View<'_>, status: &'a DestinationStatus) -> Option<&'a Received> {
    let is_whole = status.dirty.is_none();
    let received = status.received.as_ref().filter(|received| is_whole && received.published_at.is_some())?;
    (view.received_claim_uid() == Some(&received.claim_uid)).then_some(received)
}

/// Says whether the claim can be used. From the record that a sync begins to write until that of its commit it cannot: what is in it then
/// is of no one time. The recovery point stays what it was, the last that was whole, and goes only with the claim.
pub(super) fn report(view: &View<'_>, status: &mut DestinationStatus) -> (bool, Reason, String) {
    if let Some(received) = published(view, status) {
        let name = view.seen.claim.as_ref().map(|claim| name_of(&claim.metadata)).unwrap_or_default();
        let message = format!("claim {name} holds the data of {}", received.data_time.0);
        status.latest_image =
            Some(LatestImage { api_group: String::new(), kind: "PersistentVolumeClaim".to_owned(), name });
        return (true, Reason::ReplicaAvailable, message);
    }
    status.latest_image = None;
    let received = status.received.as_ref().map(|received| received.claim_uid.as_str());
    if received.is_none() || received != view.received_claim_uid() {
        status.recovery_point = None;
    }
    match &status.dirty {
        Some(dirty) => {
            let message = format!(
                "sync {} writes into the receiving claim, or was broken off while it did; the next complete sync makes it whole",
                dirty.sync_id
            );
            (false, Reason::Overwriting, message)
        }
        None => (false, Reason::NoReplica, "nothing has been received yet".to_owned()),
    }
}
