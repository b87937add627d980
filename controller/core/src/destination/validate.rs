//! Reads a spec once: afterwards nothing looks at the raw one.

use super::draft::Hold;
use crate::build::pod::privilege;
use crate::observed::DestinationObserved;
use crate::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{
    DestinationCopyMethod, DestinationHookPoint, DestinationRsync, MoverConfig, Retain, ServiceType,
};
use std::collections::BTreeMap;

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidDestination<'a> {
    /// Where to receive into.
    pub claim: ReceivingClaim<'a>,
    /// The class of the published snapshots.
    pub snapshot_class: Option<&'a str>,
    /// How the destination can be reached.
    pub service_type: ServiceType,
    /// Annotations of the Service.
    pub service_annotations: &'a BTreeMap<String, String>,
    /// The port of the Service.
    pub port: u16,
    /// The user's own Secret with keys.
    pub ssh_keys: Option<&'a str>,
    /// How long a snapshot may take, in seconds; none: the controller's setting.
    pub publish_timeout: Option<i64>,
    /// Which replicas are kept.
    pub retain: Retain,
    /// How the mover pod runs.
    pub mover: &'a MoverConfig,
}

/// The claim to receive into.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceivingClaim<'a> {
    /// One that we make.
    Own {
        /// Its size, as it was written.
        capacity: &'a Quantity,
        /// Its size in bytes.
        bytes: u64,
        /// Its access modes.
        access_modes: &'a [String],
        /// Its storage class.
        storage_class: Option<&'a str>,
    },
    /// One that the user names, and that always stays.
    Named(&'a str),
}

/// The port of ssh.
const DEFAULT_PORT: u16 = 22;
/// The modes in which a pod can write.
const WRITABLE_MODES: [&str; 3] = ["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"];

/// Reads the spec.
///
/// The schema refuses most of this; it is asked again because an older schema may still be installed.
pub(super) fn validate(seen: &DestinationObserved) -> Result<ValidDestination<'_>, Hold> {
    let spec = &seen.destination.spec;
    let rsync = spec
        .rsync
        .as_ref()
        .ok_or_else(|| invalid("spec", "set exactly one of spec.rsync and spec.external"))?;
    let port = match rsync.port {
        None => DEFAULT_PORT,
        Some(port) => u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| invalid("spec.rsync.port", "set a port from 1 to 65535, or remove it for 22"))?,
    };
    let publish_timeout = rsync.publish_timeout.map(|timeout| {
        let seconds = i64::try_from(std::time::Duration::from(timeout).as_secs()).unwrap_or(i64::MAX);
        if timeout.is_negative() || seconds == 0 {
            return Err(invalid("spec.rsync.publishTimeout", "set at least 1s, for example 10m"));
        }
        Ok(seconds)
    });
    let valid = ValidDestination {
        claim: claim(rsync)?,
        snapshot_class: object_name(
            "spec.rsync.volumeSnapshotClassName",
            rsync.volume_snapshot_class_name.as_deref(),
        )?,
        service_type: rsync.service_type,
        service_annotations: &rsync.service_annotations,
        port,
        ssh_keys: object_name("spec.rsync.sshKeys", rsync.ssh_keys.as_deref())?,
        publish_timeout: publish_timeout.transpose()?,
        retain: retain(spec.retain.as_ref())?,
        mover: &rsync.mover,
    };
    let is_hooked = spec.hooks.iter().any(|hook| hook.points.contains(&DestinationHookPoint::Retention));
    if is_hooked && (spec.retain.is_some() || rsync.copy_method == DestinationCopyMethod::Direct) {
        return Err(invalid(
            "spec.hooks",
            "a Retention hook says which replicas are kept: remove it, or spec.retain, and do not set copyMethod Direct",
        ));
    }
    if rsync.copy_method == DestinationCopyMethod::Direct {
        direct(&valid, spec.retain.is_some())?;
    }
    object_name("spec.rsync.moverServiceAccount", rsync.mover.mover_service_account.as_deref())?;
    if let Some(what) = privilege(&rsync.mover)
        && !seen.around.privileged_movers
    {
        let namespace = seen.destination.metadata.namespace.as_deref().unwrap_or_default();
        return Err(Hold::fatal(
            Reason::PrivilegedMoversNotAllowed,
            format!(
                "spec.rsync.moverSecurityContext.{what}: annotate namespace {namespace} with {}=true, or change that",
                names::PRIVILEGED_MOVERS
            ),
        ));
    }
    Ok(valid)
}

/// There is nothing but the claim.
fn direct(valid: &ValidDestination<'_>, has_retain: bool) -> Result<(), Hold> {
    let without_snapshots = [
        ("spec.retain", has_retain),
        ("spec.rsync.volumeSnapshotClassName", valid.snapshot_class.is_some()),
        ("spec.rsync.publishTimeout", valid.publish_timeout.is_some()),
    ];
    match without_snapshots.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(invalid(field, "copyMethod Direct makes no snapshots: remove it")),
        None => Ok(()),
    }
}

fn retain(given: Option<&Retain>) -> Result<Retain, Hold> {
    let retain = given.cloned().unwrap_or_default();
    let counts = [
        ("spec.retain.last", Some(retain.last)),
        ("spec.retain.hourly", retain.hourly),
        ("spec.retain.daily", retain.daily),
        ("spec.retain.weekly", retain.weekly),
        ("spec.retain.monthly", retain.monthly),
        ("spec.retain.yearly", retain.yearly),
    ];
    for (field, count) in counts {
        if count.is_some_and(|count| !(1..=MAX_REPLICAS).contains(&count)) {
            return Err(invalid(field, "set a number from 1 to 128"));
        }
    }
    if retain.within.is_some_and(|within| within.is_negative() || std::time::Duration::from(within).is_zero())
    {
        return Err(invalid("spec.retain.within", "set at least 1s, for example 48h"));
    }
    Ok(retain)
}

/// What the status has room for.
pub(super) const MAX_REPLICAS: u32 = 128;

fn claim(rsync: &DestinationRsync) -> Result<ReceivingClaim<'_>, Hold> {
    let sized =
        rsync.capacity.is_some() || rsync.access_modes.is_some() || rsync.storage_class_name.is_some();
    if let Some(name) = object_name("spec.rsync.destinationPVC", rsync.destination_pvc.as_deref())? {
        if sized {
            return Err(invalid(
                "spec.rsync.destinationPVC",
                "it names an existing claim: remove capacity, accessModes and storageClassName",
            ));
        }
        return Ok(ReceivingClaim::Named(name));
    }
    let missing =
        "set capacity and accessModes for the receiving claim, or name an existing claim in destinationPVC";
    let capacity = rsync.capacity.as_ref().ok_or_else(|| invalid("spec.rsync.capacity", missing))?;
    let access_modes =
        rsync.access_modes.as_deref().ok_or_else(|| invalid("spec.rsync.accessModes", missing))?;
    let bytes = quantity::bytes(capacity).filter(|bytes| *bytes > 0).ok_or_else(|| {
        invalid("spec.rsync.capacity", &format!("`{}` is not a size: set for example 10Gi", capacity.0))
    })?;
    if !access_modes.iter().any(|mode| WRITABLE_MODES.contains(&mode.as_str())) {
        return Err(invalid(
            "spec.rsync.accessModes",
            "the claim is written to: set for example ReadWriteOnce",
        ));
    }
    Ok(ReceivingClaim::Own {
        capacity,
        bytes,
        access_modes,
        storage_class: object_name("spec.rsync.storageClassName", rsync.storage_class_name.as_deref())?,
    })
}

/// A name that the API server would take for an object; anything else would be refused much later, and less clearly.
fn object_name<'a>(field: &str, name: Option<&'a str>) -> Result<Option<&'a str>, Hold> {
    let Some(text) = name else { return Ok(None) };
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fine = text.len() <= 253
        && text.split('.').all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(edge)
                && bytes.last().is_some_and(edge)
                && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
        });
    if fine {
        return Ok(Some(text));
    }
    Err(invalid(field, &format!("`{text}` is not a name: use lower-case letters, digits, `-` and `.`")))
}

fn invalid(field: &str, way_out: &str) -> Hold {
    Hold::fatal(Reason::InvalidSpec, format!("{field}: {way_out}"))
}
