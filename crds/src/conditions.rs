//! Condition types and reasons: one closed table.
//!
//! A reason appears in a condition, in an Event and as the value of a metric's label, always spelled the same.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::fmt::Write;

/// Condition type: a sync runs, or can run.
pub const SYNCHRONIZING: &str = "Synchronizing";
/// Condition type (destination): there is a published replica that a claim can be made from.
pub const PROMOTABLE: &str = "Promotable";

/// Condition type: the newest published replica is as young as the objective asks for.
pub const WITHIN_RPO: &str = "WithinRPO";
/// Condition type: replication goes on, but not as it should.
pub const DEGRADED: &str = "Degraded";
/// Condition type (source, destination, while they have hooks): every hook can be asked.
pub const HOOKS_READY: &str = "HooksReady";
/// Condition type: an application that was brought to rest could not be let go on yet. Only there while it is so.
pub const STILL_FROZEN: &str = "StillFrozen";
/// Condition type (HookModule): hooks can be made from it.
pub const READY: &str = "Ready";

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    /// As it stands in a condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Whether a reason stands for normal work or for trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is as it should be.
    Normal,
    /// Somebody may have to act.
    Warning,
}

macro_rules! reasons {
    ($($name:ident $severity:ident $meaning:literal, $action:literal;)+) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The reason as it stands in conditions, Events and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Whether somebody may have to act.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What to do about it.
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)+ }
            }
        }
    };
}

reasons! {
    SyncInProgress Normal "A sync runs.", "Nothing; status.progress shows how far it is.";
    AwaitingPublication Normal "The data has arrived; the destination makes a snapshot of it.", "Nothing.";
    WaitingForSchedule Normal "The next tick of the schedule has not come.", "Nothing; status.nextSyncTime shows when it comes.";
    WaitingForManual Normal "spec.trigger.manual has not changed since the last sync.", "Set spec.trigger.manual to a new value to sync.";
    WaitingForInterval Normal "Continuous replication waits for its interval to pass.", "Nothing.";
    WaitingForSlot Normal "As many movers run as are allowed to.", "Nothing; it goes on when its turn comes. Raise --max-movers, --max-movers-per-namespace or --max-movers-per-node of the controller if the cluster bears more.";
    WaitingForRetry Warning "An attempt failed and the next one comes after a pause.", "Read the message; the sync goes on by itself.";
    Listening Normal "The destination waits for its source.", "Carry the Secret named in status.methodStatus.sshKeys to the source, if it is not there yet.";
    SourceMissing Normal "The claim to replicate does not exist.", "Make the claim, or correct spec.sourcePVC in a new ReplicationSource.";
    Paused Normal "spec.paused is true.", "Set spec.paused to false to go on.";
    Preparing Normal "The destination makes its keys, its claim, its Service and its mover.", "Nothing.";
    CleaningUp Normal "A sync is due, and waits until what the last one made is deleted.", "Nothing; if it lasts, look at the events of what the message names.";
    Deleting Normal "The object is being deleted and cleans up.", "Nothing; the message says what it waits for.";
    ReplicaAvailable Normal "There is a published replica.", "Make a claim from status.latestImage to use it.";
    ReplicasAdopted Normal "Replicas of a destination of the same name that was deleted belong to this one now.", "Pin those that are to stay, or raise spec.retain, before the next replica is published.";
    NoReplica Normal "Nothing has been published yet.", "Wait for the first sync to be published.";
    Overwriting Normal "A sync writes into the claim that is the replica itself (copyMethod Direct).", "Wait for the sync to end; with copyMethod Snapshot there would be a replica all the time.";
    WithinObjective Normal "The newest replica is as young as the objective asks for.", "Nothing.";
    NoObjective Normal "There is no recovery point objective to judge by.", "Set spec.rpo of the ReplicationSource, if there is one; with a schedule it is computed.";
    AsExpected Normal "Nothing is known to be wrong.", "Nothing.";
    ObjectiveExceeded Warning "The newest replica is older than the objective allows.", "Look at the conditions Synchronizing and Degraded: they say what keeps syncs from being published.";
    ObjectiveUnreachable Warning "Syncs are too far apart, or take too long, for the objective to be kept.", "Sync more often, make syncs faster, or raise spec.rpo.";
    SyncsFail Warning "Syncs have failed since the last successful one.", "Read status.lastAttempt; the next sync is started by its trigger.";
    InvalidSpec Warning "A field has a value that cannot be carried out.", "Correct the field that the message names.";
    UnsupportedVolumeMode Warning "The claim is a block volume; only file systems are copied.", "Use a claim with volumeMode Filesystem.";
    PrivilegedMoversNotAllowed Warning "The mover is to run as root, or less confined than others, and the namespace does not allow that.", "Annotate the namespace with scribe.dev/privileged-movers=true, or change the field that the message names.";
    CutFailed Warning "The point-in-time copy could not be made.", "Read the provisioner's words in the message; the sync is tried again.";
    CutTimeout Warning "The point-in-time copy was not made within spec.rsync.cutTimeout.", "Look at the claim's events and the driver; raise spec.rsync.cutTimeout if the driver is only slow.";
    CutVanished Warning "The point-in-time copy was deleted by somebody else.", "Find out who deletes claims named scribe-src-…; the next trigger makes a new one.";
    QuotaExceeded Warning "A quota of the namespace forbids what the sync needs.", "Raise the quota that the message names.";
    ObjectRefused Warning "The API server refused an object that Scribe needs.", "Read the message; an admission policy or a name that is taken is the usual cause.";
    KeysMissing Warning "The Secret with the ssh keys does not exist, or lacks a key.", "Carry the Secret from the destination, under the name in spec.rsync.sshKeys.";
    MoverStartTimeout Warning "The mover pod did not start in time.", "Look at the pod's events: image, quota, scheduling or the volume.";
    MoverFailed Warning "The mover ended without saying why.", "Read status.latestMoverStatus.logs; the sync is tried again.";
    DestinationUnreachable Warning "The destination's address did not answer.", "Check the address, the port and the network between the clusters.";
    ConnectionLost Warning "The connection broke during the sync.", "Nothing; the sync is tried again and goes on where it was.";
    HostKeyMismatch Warning "What answers at the address is not the destination: its host key differs.", "Check the address; if the destination was made anew, carry its Secret over again.";
    ClientKeyRejected Warning "The destination does not accept this source's key.", "Carry the destination's Secret over again.";
    OtherSourcePinned Warning "The destination belongs to another source claim.", "Make a new ReplicationDestination for this source, or admit it as the message says.";
    RelationshipMismatch Warning "The keys belong to another relationship than the destination's.", "Carry the destination's Secret over again.";
    ProtocolMismatch Warning "The two sides speak protocols that are too far apart.", "Upgrade Scribe on the older side.";
    ClockSkew Warning "The source's data is of a time that has not come yet by the destination's clock.", "Set the clocks of both clusters right; the sync is tried again.";
    SyncReplaced Warning "The destination has admitted a newer sync.", "Nothing; the next trigger starts a new sync.";
    DestinationPaused Warning "The destination is paused.", "Set spec.paused of the ReplicationDestination to false.";
    DestinationNotTriggered Warning "The destination accepts one sync per value of spec.trigger.manual, and has had it.", "Set spec.trigger.manual of the ReplicationDestination to a new value.";
    DestinationFull Warning "The receiving claim has no room left.", "Raise spec.rsync.capacity of the ReplicationDestination, or free room at the source.";
    NeedsPrivilege Warning "The mover may not read or keep a file.", "Set moverSecurityContext.runAsUser to the owner of the data, or run the mover as root in an annotated namespace.";
    FidelityRefused Warning "The destination cannot keep an attribute, and spec.rsync.fidelity is Strict.", "Use a storage class that keeps it, or set spec.rsync.fidelity to BestEffort.";
    SourceReadError Warning "A file of the cut could not be read.", "Check the source volume; nothing was published.";
    SyncGuarded Warning "A guard refused the sync before its first write: too much of the replica would be deleted or rewritten, or the source is empty.", "Repair the source; if it is meant, admit the next sync as the message says.";
    TransferFailed Warning "rsync ended with an error.", "Read the message; the sync is tried again.";
    CommitRefused Warning "The destination received something else than the source sent.", "Nothing; the next sync compares everything.";
    PublicationFailed Warning "The snapshot of what was received could not be made.", "Read the snapshotter's words in the message; the data is kept and published by the next attempt.";
    PublicationTimeout Warning "The snapshot of what was received did not become ready in time.", "Look at the VolumeSnapshot; raise spec.rsync.publishTimeout of the destination if the driver is only slow.";
    SnapshotsUnavailable Warning "The cluster has no VolumeSnapshot API.", "Install the snapshot CRDs and the snapshot controller.";
    SnapshotClassMissing Warning "The VolumeSnapshotClass does not exist.", "Make the class, or name another in spec.rsync.volumeSnapshotClassName.";
    SnapshotClassRetains Warning "The VolumeSnapshotClass keeps what is deleted: pruned replicas go on taking room on the storage.", "Name a class with deletionPolicy Delete in spec.rsync.volumeSnapshotClassName, or delete what is left behind yourself: contents without a VolumeSnapshot.";
    ForeignSnapshot Warning "Somebody else's snapshot of the receiving claim is not cut yet, and a sync begins to write.", "Take snapshots of claims made from the published replicas, not of the receiving claim.";
    ClaimInUse Warning "Another ReplicationDestination receives into this claim.", "Use another claim, or delete the other ReplicationDestination.";
    ClaimMissing Warning "The claim named in spec.rsync.destinationPVC does not exist.", "Make the claim, or name an existing one in a new ReplicationDestination.";
    UnsupportedAccessMode Warning "The claim can be used by a single pod only (ReadWriteOncePod), so that it cannot be read beside its user.", "Set spec.rsync.copyMethod to Clone or Snapshot.";
    ClaimMoved Warning "The pod that uses the claim runs on another node than the mover that reads it.", "Nothing; the mover made way, and the sync is tried again beside that pod.";
    ClaimPending Warning "The claim to read from or to receive into is not bound.", "Look at the claim's events.";
    AddressPending Warning "The Service has no address yet.", "Wait for the load balancer, or look at the Service's events.";
    HooksCanRun Normal "Every hook can be asked.", "Nothing.";
    HookRunning Normal "A hook has been asked, and its answer is awaited.", "Nothing.";
    HookSkipped Normal "A hook said that the sync that was due is not to be.", "Nothing; the next trigger asks again. Read the hook's reason in the message.";
    HookDeferred Normal "A hook said that the sync that is due is to wait.", "Nothing; it is asked again at the time in the message.";
    HookDryRun Normal "A Retention hook with dryRun said what it would keep.", "Set dryRun of the hook to false to let it delete.";
    Quiescing Normal "A hook brings the application to rest, or lets it go on.", "Nothing.";
    Quiesced Normal "A hook has brought the application to rest.", "Nothing.";
    Released Normal "The application goes on.", "Nothing.";
    StillFrozen Warning "An application that a hook has brought to rest could not be let go on.", "It is tried again. status.quiesce.undo has what is left to be undone. If the application does go on, annotate the source as the message says: what is left is not undone then.";
    QuiesceLost Warning "An application was not known to be at rest until the copy was complete: the controller that had brought it there is gone, what held it has ended, somebody has changed what was set, or the attempt was held up before its copy.", "Nothing; a copy that is there is discarded, and the sync is tried again. If it happens again, look who else scales or annotates what the hook does, and whether what holds it ends by itself before spec.hooks[].quiesce.maxWindow, as by the hook's own maxSeconds.";
    QuiesceWindowExpired Warning "The copy was not complete within the time that an application may be at rest.", "Raise spec.hooks[].quiesce.maxWindow, and with it what bounds the hook itself, such as maxSeconds in its settings; or, if the storage class waits for a pod, set copyMethod: Snapshot.";
    QuiesceTooWeak Warning "A hook achieved less than spec.hooks[].quiesce.requireConsistency wants.", "Read the hook's words in the message, or require less.";
    HookSuspended Warning "A Failure hook wants no further sync.", "Read its words in the message. Changing anything in the spec, as a new spec.trigger.manual does, lets syncs go on.";
    HookRejected Warning "A hook said that this sync is not to be.", "Read its words in the message; the next trigger asks again.";
    HookModuleMissing Warning "A hook names a HookModule that does not exist.", "Make the HookModule, or correct spec.hooks[].module.";
    HookModuleNotReady Warning "The HookModule of a hook cannot be used.", "Look at the condition Ready of the HookModule.";
    HookPointMissing Warning "The module of a hook cannot be asked at a point that the hook names.", "Remove the point from the hook, or name a module that exports it: status.exports of the HookModule lists what there is.";
    HookSettingsInvalid Warning "The module of a hook refuses the hook's settings.", "Correct spec.hooks[].settings as the message says.";
    HookRightsMissing Warning "The ServiceAccount of a hook may not do what the HookModule grants.", "Bind a Role to the ServiceAccount as the message says, or remove the grant from spec.capabilities of the HookModule. Syncs go on meanwhile; the hook will be denied.";
    HookFuel Warning "A hook computed more than it may.", "Raise spec.limits.fuel of the HookModule, or ask the module's author. At a source, onError: Continue lets syncs go on without it.";
    HookTimeout Warning "A hook took longer than it may.", "Raise the limit that the message names (spec.limits.pureTimeout, timeout or cpu of the HookModule), or ask the module's author. At a source, onError: Continue lets syncs go on without it.";
    HookMemory Warning "A hook wanted more memory than it may have.", "Raise spec.limits.memory of the HookModule, or ask the module's author. At a source, onError: Continue lets syncs go on without it.";
    HookTrap Warning "A hook broke down.", "Ask the module's author; the message says how it ended. At a source, onError: Continue lets syncs go on without it.";
    HookOutput Warning "A hook gave an answer that cannot be carried out.", "Ask the module's author; the message says what is wrong with it. At a source, onError: Continue lets syncs go on without it.";
    HookDenied Warning "A hook failed after it was denied something.", "The message names it: add it to spec.capabilities of the HookModule, or bind a Role to the hook's ServiceAccount.";
    HookUnavailable Warning "The controller could not run the hook, or compile its module, now.", "Nothing; it is tried again. If it lasts, look whether the controller has enough memory, and whether --hook-compile-memory is.";
    HookFailed Warning "A hook said that it cannot give an answer.", "Read its words in the message. At a source, onError: Continue lets syncs go on without it.";
    HookRetryAfter Warning "A hook wants to be asked again later.", "Nothing; it is asked again. Read its words in the message.";
    ModuleReady Normal "The module is loaded, and hooks can be made from it.", "Nothing.";
    ModuleLoading Normal "The module is being read and compiled.", "Nothing.";
    ModuleStale Warning "The module as its source is now cannot be used; hooks go on with the one before.", "Repair what the message says; the new one is used as soon as it can be.";
    ModuleNotFound Warning "The source of the module does not exist.", "Make what the message names, or correct the spec of the HookModule.";
    ModuleFetchFailed Warning "The module could not be read from its source.", "Read the message; it is tried again.";
    ModuleWithoutRoom Warning "There is no room for the code of the module: each that there is a HookModule of stays in memory.", "Delete HookModules that nothing uses, or raise the controller's --hook-code-memory, of which one namespace gets half.";
    HookModuleInvalid Warning "What was read is not a module that Scribe can run.", "Read the message, and build the module with the SDK of a supported version.";
    InternalError Warning "Scribe did not expect this.", "Report it with the message and the controller's log.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

/// A reason that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownReason(pub String);

impl std::fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not a known reason", self.0)
    }
}

impl std::error::Error for UnknownReason {}

/// Sets a condition, and keeps its transition time while its status stays the same.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: impl Into<Status>,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = status.into().as_str();
    let before = conditions.iter().position(|condition| condition.type_ == type_);
    let since = match before {
        Some(at) if conditions[at].status == status => conditions[at].last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// The table of reasons as a page of the documentation.
pub fn documentation() -> String {
    let mut page = String::from(
        "<!-- Generated by `cargo xtask codegen` from crds/src/conditions.rs. Do not edit by hand. -->\n\
         # Reasons\n\n\
         Every condition, Event and metric of Scribe uses these reasons.\n\n\
         | Reason | | Meaning | What to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let kind = match reason.severity() {
            Severity::Normal => "normal",
            Severity::Warning => "warning",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{reason}` | {kind} | {} | {} |", reason.meaning(), reason.action());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let mut conditions = Vec::new();
        let first: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        set(&mut conditions, SYNCHRONIZING, false, Reason::Paused, "paused", Some(1), first);
        set(&mut conditions, SYNCHRONIZING, false, Reason::WaitingForManual, "waiting", Some(2), later);
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time.0, first);
        assert_eq!(conditions[0].reason, "WaitingForManual");
        set(&mut conditions, SYNCHRONIZING, true, Reason::SyncInProgress, "sync", Some(2), later);
        assert_eq!(conditions[0].last_transition_time.0, later);
    }

    #[test]
    fn every_reason_reads_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert!("Sunshine".parse::<Reason>().is_err());
    }
}
