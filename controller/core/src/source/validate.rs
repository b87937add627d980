//! Reads the spec once; nothing after this looks at it again.

use super::SourceObserved;
use crate::build::pod::privilege;
use crate::quantity;
use crate::schedule::Schedule;
use crate::settings::Settings;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scribe_crds::Duration;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{
    self, Comparison, EmptySource, Fidelity, MoverConfig, Phase, SourceCopyMethod, SourceRsync,
};
use scribe_mover_contract::guards::Guards;
use scribe_mover_contract::peer;

/// What is to be carried out, and why not now, if so.
#[derive(Debug)]
pub struct Plan {
    /// The spec, if it can be read.
    pub valid: Option<ValidSource>,
    /// Why nothing is started or made. What runs goes on with what it has.
    pub hold: Option<Hold>,
}

/// Why nothing is started or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The phase that it shows as.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// In words, with the way out.
    pub message: String,
}

/// The spec of a ReplicationSource, read.
#[derive(Debug)]
pub struct ValidSource {
    /// When a sync starts.
    pub trigger: Trigger,
    /// The recovery point objective that is asked for, in seconds.
    pub rpo: Option<i64>,
    /// How the cut is made.
    pub copy_method: SourceCopyMethod,
    /// The class of a snapshot that is the cut; none: the default class of the driver.
    pub snapshot_class: Option<String>,
    /// How long a cut may take, in seconds.
    pub cut_timeout: i64,
    /// The size of the cut, if it is not the source claim's.
    pub capacity: Option<Quantity>,
    /// The storage class of the cut, if it is not the source claim's.
    pub storage_class: Option<String>,
    /// The access modes of the cut, if they are not the source claim's.
    pub access_modes: Option<Vec<String>>,
    /// The Secret with the ssh keys.
    pub ssh_keys: String,
    /// The destination's address, if it is not the Secret's.
    pub address: Option<String>,
    /// The destination's port, if it is not the Secret's.
    pub port: Option<u16>,
    /// How changed files are found.
    pub comparison: peer::Comparison,
    /// Refuse what cannot be kept.
    pub strict: bool,
    /// Bytes per second.
    pub bandwidth_limit: Option<u64>,
    /// rsync patterns.
    pub excludes: Vec<String>,
    /// What a sync must not do.
    pub guards: Guards,
    /// How the mover runs.
    pub mover: MoverConfig,
}

/// When a sync starts.
#[derive(Debug, Default)]
pub struct Trigger {
    /// At every tick.
    pub schedule: Option<Schedule>,
    /// At every new value.
    pub manual: Option<String>,
    /// Once, at the beginning, if there is a schedule.
    pub on_create: bool,
    /// All the time, this many seconds apart.
    pub interval: Option<i64>,
    /// How long after each tick, in seconds.
    pub delay: i64,
}

impl Trigger {
    /// When the first scheduled sync after a moment starts.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let delay = SignedDuration::from_secs(self.delay);
        let tick = self.schedule.as_ref()?.next_after(moment.checked_sub(delay).unwrap_or(Timestamp::MIN))?;
        Some(tick.checked_add(delay).unwrap_or(Timestamp::MAX))
    }
}

/// A part of the jitter that is an object's own: random, but always the same.
fn delay(jitter: i64, uid: &str) -> i64 {
    // Ten hexadecimal digits, and a jitter of ten years at most.
    let number = i64::from_str_radix(&names::digest(uid), 16).unwrap_or_default();
    number % (jitter + 1)
}

impl Plan {
    /// Reads the spec and finds out whether it may be carried out.
    pub fn of(seen: &SourceObserved, rsync: &SourceRsync, settings: &Settings) -> Self {
        let valid = match read(seen, rsync, settings) {
            Ok(valid) => valid,
            Err(problems) => {
                let message = format!("{}.", problems.join("; "));
                let hold = Hold { phase: Phase::Failed, reason: Reason::InvalidSpec, message };
                return Self { valid: None, hold: Some(hold) };
            }
        };
        let hold = if let Some(what) = privilege(&valid.mover)
            && !seen.around.privileged_movers
        {
            let reason = Reason::PrivilegedMoversNotAllowed;
            let message = format!(
                "spec.rsync.moverSecurityContext.{what}, and this namespace does not allow that. {}",
                reason.action()
            );
            Some(Hold { phase: Phase::Failed, reason, message })
        } else if let Some(why) = seen.around.pause(seen.source.spec.paused) {
            let action = if seen.source.spec.paused { Reason::Paused.action() } else { "" };
            let message = format!("{why}: nothing is started. {action}").trim_end().to_owned();
            Some(Hold { phase: Phase::Paused, reason: Reason::Paused, message })
        } else {
            None
        };
        Self { valid: Some(valid), hold }
    }
}

/// Collects what is wrong, each with its field, so that a user has to correct a spec only once.
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, field: &str, words: impl std::fmt::Display) {
        self.0.push(format!("{field}: {words}"));
    }

    fn duration(&mut self, field: &str, given: Option<&Duration>) -> Option<i64> {
        let given = given?;
        let seconds = i64::try_from(std::time::Duration::from(*given).as_secs()).ok();
        match seconds.filter(|seconds| *seconds >= 1 && *seconds <= MAX_SECONDS && !given.is_negative()) {
            Some(seconds) => Some(seconds),
            None => {
                self.add(
                    field,
                    format_args!("`{given}` is not between 1s and ten years: write for example 10m"),
                );
                None
            }
        }
    }

    fn name(&mut self, field: &str, what: &str, given: &str) {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = given.len() <= 253
            && given.chars().all(inner)
            && given.starts_with(outer)
            && given.ends_with(outer);
        if !good {
            self.add(
                field,
                format_args!("`{given}` cannot be the name of a {what}: write its name in small letters"),
            );
        }
    }
}

/// Beyond this, sums of times would not be times any more.
const MAX_SECONDS: i64 = 10 * 366 * 24 * 3600;
const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

fn read(seen: &SourceObserved, rsync: &SourceRsync, settings: &Settings) -> Result<ValidSource, Vec<String>> {
    let mut problems = Problems(Vec::new());
    let trigger = read_trigger(seen, settings, &mut problems);
    copy_method(rsync, &mut problems);
    problems.name("spec.sourcePVC", "claim", &seen.source.spec.source_pvc);
    problems.name("spec.rsync.sshKeys", "Secret", &rsync.ssh_keys);
    if let Some(class) = &rsync.storage_class_name {
        problems.name("spec.rsync.storageClassName", "storage class", class);
    }
    if let Some(account) = &rsync.mover.mover_service_account {
        problems.name("spec.rsync.moverServiceAccount", "service account", account);
    }
    if rsync.capacity.as_ref().is_some_and(|capacity| !matches!(quantity::bytes(capacity), Some(1..))) {
        problems.add("spec.rsync.capacity", "not a size: write for example 10Gi");
    }
    for mode in rsync.access_modes.iter().flatten().filter(|mode| !ACCESS_MODES.contains(&mode.as_str())) {
        problems
            .add("spec.rsync.accessModes", format_args!("`{mode}` is none of {}", ACCESS_MODES.join(", ")));
    }
    let bandwidth_limit = rsync.bandwidth_limit.as_ref().and_then(|given| {
        let bytes = quantity::bytes(given).filter(|bytes| *bytes >= 1024);
        if bytes.is_none() {
            let words = "not a quantity of at least 1Ki bytes per second: write for example 10Mi";
            problems.add("spec.rsync.bandwidthLimit", words);
        }
        bytes
    });
    if rsync.excludes.iter().any(|pattern| pattern.is_empty() || pattern.contains(['\n', '\r', '\0'])) {
        problems
            .add("spec.rsync.excludes", "a pattern is empty or has a line break: write one pattern per item");
    }
    let valid = ValidSource {
        trigger,
        copy_method: rsync.copy_method,
        snapshot_class: rsync.volume_snapshot_class_name.clone(),
        rpo: problems.duration("spec.rpo", seen.source.spec.rpo.as_ref()),
        cut_timeout: problems
            .duration("spec.rsync.cutTimeout", rsync.cut_timeout.as_ref())
            .unwrap_or(settings.cut_timeout),
        capacity: rsync.capacity.clone(),
        storage_class: rsync.storage_class_name.clone(),
        access_modes: rsync.access_modes.clone(),
        ssh_keys: rsync.ssh_keys.clone(),
        address: rsync.address.clone(),
        port: rsync.port.and_then(|port| match u16::try_from(port) {
            Ok(port @ 1..) => Some(port),
            _ => {
                problems.add("spec.rsync.port", format_args!("{port} is not between 1 and 65535"));
                None
            }
        }),
        comparison: match rsync.comparison {
            Comparison::Content => peer::Comparison::Content,
            Comparison::Metadata => peer::Comparison::Metadata,
        },
        strict: rsync.fidelity == Fidelity::Strict,
        bandwidth_limit,
        excludes: rsync.excludes.clone(),
        guards: read_guards(&seen.source.spec.guards, &mut problems),
        mover: rsync.mover.clone(),
    };
    if problems.0.is_empty() { Ok(valid) } else { Err(problems.0) }
}

/// What the schema refuses; it is asked again because an older one may still be installed.
fn copy_method(rsync: &SourceRsync, problems: &mut Problems) {
    if let Some(class) = &rsync.volume_snapshot_class_name {
        problems.name("spec.rsync.volumeSnapshotClassName", "snapshot class", class);
        if rsync.copy_method != SourceCopyMethod::Snapshot {
            let words = "of no use without a snapshot: remove it, or set copyMethod: Snapshot";
            problems.add("spec.rsync.volumeSnapshotClassName", words);
        }
    }
    let of_a_copy = [
        ("capacity", rsync.capacity.is_some()),
        ("storageClassName", rsync.storage_class_name.is_some()),
        ("accessModes", rsync.access_modes.is_some()),
        ("cutTimeout", rsync.cut_timeout.is_some()),
    ];
    for (field, _) in of_a_copy.into_iter().filter(|(_, is_set)| *is_set) {
        if rsync.copy_method == SourceCopyMethod::Direct {
            problems.add(&format!("spec.rsync.{field}"), "copyMethod Direct makes no copy: remove it");
        }
    }
}

fn read_trigger(seen: &SourceObserved, settings: &Settings, problems: &mut Problems) -> Trigger {
    use crate::schedule::ScheduleError;
    let Some(given) = &seen.source.spec.trigger else {
        return Trigger { interval: Some(settings.min_interval), ..Trigger::default() };
    };
    let zone = given.time_zone.as_deref();
    let schedule = given.schedule.as_deref().and_then(|expression| match Schedule::parse(expression, zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            let field = match error {
                ScheduleError::Expression { .. } | ScheduleError::Never { .. } => "spec.trigger.schedule",
                ScheduleError::Zone { .. } => "spec.trigger.timeZone",
            };
            problems.add(field, error);
            None
        }
    });
    let interval = problems.duration("spec.trigger.minInterval", given.min_interval.as_ref());
    let jitter = problems.duration("spec.trigger.jitter", given.jitter.as_ref()).unwrap_or_default();
    let continuous = given.schedule.is_none() && given.manual.is_none();
    Trigger {
        schedule,
        manual: given.manual.clone(),
        on_create: given.on_create,
        interval: Some(interval.unwrap_or(settings.min_interval)).filter(|_| continuous),
        delay: delay(jitter, seen.source.metadata.uid.as_deref().unwrap_or_default()),
    }
}

fn read_guards(given: &v1alpha1::Guards, problems: &mut Problems) -> Guards {
    for (field, percent) in [
        ("spec.guards.maxDeletedPercent", given.max_deleted_percent),
        ("spec.guards.maxRewrittenPercent", given.max_rewritten_percent),
    ] {
        if !(1..=100).contains(&percent) {
            problems.add(field, format_args!("{percent} is not between 1 and 100: write 100 to turn it off"));
        }
    }
    Guards {
        empty_source: given.empty_source == EmptySource::Refuse,
        max_deleted_percent: given.max_deleted_percent,
        max_rewritten_percent: given.max_rewritten_percent,
    }
}
