//! Published replicas, as their snapshots tell: nothing about them is believed from the status.

use super::view::{annotation, is_leaving};
use crate::build::meta::label;
use crate::quantity;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::names;
use scribe_crds::snapshots::{SNAPSHOT_GROUP, VolumeSnapshot};
use scribe_crds::v1alpha1::{Comparison, Consistency, LatestImage, Received, Replica};
use std::collections::BTreeMap;

/// A published replica that exists.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub resource_version: Option<&'a str>,
    pub data_time: Timestamp,
    pub sync_id: &'a str,
    pub source_uid: Option<&'a str>,
    pub consistency: Consistency,
    pub comparison: Comparison,
    /// Whether a claim can be made from it.
    pub ready: bool,
    /// Whether its user wants it kept.
    pub pinned: bool,
    /// Whether a destination of this name that is gone has published it.
    pub adopted: bool,
    /// How large a claim made from it has to be, in bytes, where the driver says so.
    pub size: Option<u64>,
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Seen<'a> {
    /// Every replica of the owner, newest first.
    pub fn all(snapshots: &'a [VolumeSnapshot], owner_uid: &str) -> Vec<Self> {
        let ours =
            |snapshot: &&VolumeSnapshot| label(&snapshot.metadata, names::OWNER_UID) == Some(owner_uid);
        let mut replicas: Vec<Self> = snapshots.iter().filter(ours).filter_map(Self::read).collect();
        replicas.sort_by(|a, b| (b.data_time, b.name).cmp(&(a.data_time, a.name)));
        replicas
    }

    /// A snapshot as a replica: published, without an owner that could take it along, and not on its way out.
    pub fn read(snapshot: &'a VolumeSnapshot) -> Option<Self> {
        let meta = &snapshot.metadata;
        annotation(meta, names::PUBLISHED)?;
        if is_leaving(meta) || meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty()) {
            return None;
        }
        Some(Self {
            name: meta.name.as_deref()?,
            uid: meta.uid.as_deref()?,
            resource_version: meta.resource_version.as_deref(),
            data_time: annotation(meta, names::DATA_TIME)?.parse().ok()?,
            sync_id: annotation(meta, names::SYNC_ID)?,
            source_uid: annotation(meta, names::SOURCE_UID),
            consistency: read(annotation(meta, names::CONSISTENCY)?)?,
            comparison: read(annotation(meta, names::COMPARISON)?)?,
            pinned: annotation(meta, names::PINNED).is_some_and(|value| value != "false"),
            adopted: annotation(meta, names::ADOPTED_FROM).is_some(),
            size: snapshot.status.as_ref().and_then(|status| quantity::bytes(status.restore_size.as_ref()?)),
            labels: meta.labels.as_ref(),
            ready: snapshot.status.as_ref().and_then(|status| status.ready_to_use) == Some(true),
        })
    }

    /// The replica as it is shown in the status.
    pub fn to_status(&self, kept_because: &str) -> Replica {
        Replica {
            name: self.name.to_owned(),
            data_time: Time(self.data_time),
            sync_id: self.sync_id.to_owned(),
            consistency: self.consistency,
            comparison: self.comparison,
            pinned: self.pinned,
            kept_because: kept_because.to_owned(),
        }
    }

    /// A reference to it.
    pub fn to_image(&self) -> LatestImage {
        LatestImage {
            api_group: SNAPSHOT_GROUP.to_owned(),
            kind: "VolumeSnapshot".to_owned(),
            name: self.name.to_owned(),
        }
    }
}

/// What a snapshot is annotated with at its publication.
pub(super) fn annotations(
    received: &Received,
    source_uid: &str,
    destination: String,
    now: Timestamp,
) -> BTreeMap<String, String> {
    [
        (names::DATA_TIME, received.data_time.0.to_string()),
        (names::SYNC_ID, received.sync_id.clone()),
        (names::SOURCE_UID, source_uid.to_owned()),
        (names::CONSISTENCY, written(&received.consistency)),
        (names::COMPARISON, written(&received.comparison)),
        (names::DESTINATION, destination),
        (names::PUBLISHED, now.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// A value as it stands in the status, so that annotation and status never differ.
fn written<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
