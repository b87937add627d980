//! Faults on demand: `faults.json` in the state directory, read again on every call.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::Code;

/// The calls that rules may name. A rule for anything else would silently never fit.
const METHODS: [&str; 17] = [
    "CreateVolume",
    "DeleteVolume",
    "CreateSnapshot",
    "DeleteSnapshot",
    "ListSnapshots",
    "ListVolumes",
    "GetCapacity",
    "ControllerExpandVolume",
    "ValidateVolumeCapabilities",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeGetVolumeStats",
    "NodeExpandVolume",
    "NodeGetInfo",
    "Probe",
];

/// What one rule does to the calls that it fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Fits only calls with this in their name, id or source id. Empty fits all.
    #[serde(default)]
    r#match: String,
    /// After so many calls the rule is used up.
    count: Option<u64>,
    /// Fail with this message.
    pub fail: Option<String>,
    /// The gRPC code to fail with, as in `RESOURCE_EXHAUSTED`.
    #[serde(default, deserialize_with = "code")]
    pub code: Option<Code>,
    /// Wait so many milliseconds.
    #[serde(default, alias = "delay_ms")]
    pub delay_ms: u64,
    /// Wait until the rule is gone from the file.
    #[serde(default)]
    pub hold: bool,
    /// Wait and fail after the work is done, not before: its answer is late or lost.
    #[serde(default)]
    pub after_done: bool,
    /// Show snapshots as not ready to use, for as long as the rule is there.
    #[serde(default)]
    never_ready: bool,
}

/// What a call is about: whatever of these it has, else empty.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The caller's name for what is made.
    pub name: String,
    /// The volume's or snapshot's id.
    pub id: String,
    /// The id of what is copied.
    pub source: String,
}

/// The rules of a state directory.
#[derive(Debug)]
pub struct Faults {
    rules: PathBuf,
    used: PathBuf,
    counting: Mutex<()>,
}

/// Which writing of the rules it is: inode, seconds, nanoseconds. Also the same text written again is another one.
type Version = (u64, i64, i64);

/// The rules by method, in the order of the file.
type Rules = BTreeMap<String, Vec<Rule>>;

/// How often each rule was used. On disk, so that a restarted driver goes on counting.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    version: Version,
    rules: BTreeMap<String, u64>,
}

impl Faults {
    /// The faults of a state directory; no file, no faults.
    pub fn new(state_dir: &Path) -> Self {
        let (rules, used) = (state_dir.join("faults.json"), state_dir.join("faults-used.json"));
        Self { rules, used, counting: Mutex::new(()) }
    }

    /// The rule for this call, counted as used: the first that fits and is not used up.
    ///
    /// # Errors
    /// When the file is there but cannot be read or understood.
    pub fn take(&self, method: &str, subject: &Subject) -> anyhow::Result<Option<Rule>> {
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((version, rules)) = self.read()? else { return Ok(None) };
        let mut used = self.used(version)?;
        for (index, rule) in rules.get(method).into_iter().flatten().enumerate() {
            let times = used.rules.entry(format!("{method}/{index}")).or_default();
            if !rule.acts() || !rule.fits(subject) || rule.count.is_some_and(|count| *times >= count) {
                continue;
            }
            *times += 1;
            let text = serde_json::to_vec(&used).context("write the use of faults as JSON")?;
            fs::write(&self.used, text).with_context(|| format!("write {}", self.used.display()))?;
            return Ok(Some(rule.clone()));
        }
        Ok(None)
    }

    /// Whether a rule that holds this call is still in the file.
    ///
    /// # Errors
    /// When the file is there but cannot be read or understood.
    pub fn holds(&self, method: &str, subject: &Subject) -> anyhow::Result<bool> {
        let rules = self.read()?.map(|(_, rules)| rules).unwrap_or_default();
        Ok(rules.get(method).into_iter().flatten().any(|rule| rule.hold && rule.fits(subject)))
    }

    /// Whether the snapshot is to be shown as not ready.
    ///
    /// # Errors
    /// When the file is there but cannot be read or understood.
    pub fn never_ready(&self, snapshot: &Subject) -> anyhow::Result<bool> {
        let rules = self.read()?.map(|(_, rules)| rules).unwrap_or_default();
        Ok(rules
            .get("CreateSnapshot")
            .into_iter()
            .flatten()
            .any(|rule| rule.never_ready && rule.fits(snapshot)))
    }

    fn read(&self) -> anyhow::Result<Option<(Version, Rules)>> {
        let path = &self.rules;
        let read = fs::metadata(path)
            .map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()))
            .and_then(|version| Ok((version, fs::read(path)?)));
        match read {
            Ok((version, bytes)) => {
                let rules = parse(&bytes).with_context(|| format!("understand {}", path.display()))?;
                Ok(Some((version, rules)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// What was counted for this writing of the rules; nothing for a new one.
    fn used(&self, version: Version) -> anyhow::Result<Used> {
        let fresh = Used { version, rules: BTreeMap::new() };
        match fs::read(&self.used) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .ok()
                .filter(|used: &Used| used.version == version)
                .unwrap_or(fresh)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fresh),
            Err(error) => Err(error).with_context(|| format!("read {}", self.used.display())),
        }
    }
}

impl Rule {
    fn fits(&self, subject: &Subject) -> bool {
        [&subject.name, &subject.id, &subject.source].iter().any(|text| text.contains(&self.r#match))
    }

    /// Whether the rule does anything to the call itself.
    fn acts(&self) -> bool {
        self.fail.is_some() || self.code.is_some() || self.delay_ms > 0 || self.hold
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Rules> {
    let by_method: BTreeMap<String, Value> = serde_json::from_slice(bytes)?;
    let mut all = Rules::new();
    for (method, value) in by_method {
        if !METHODS.contains(&method.as_str()) {
            bail!("there is no call {method:?} to make faults in; there are {}", METHODS.join(", "));
        }
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        let rules = values.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
        all.insert(method.clone(), rules.with_context(|| format!("the rules for {method}"))?);
    }
    Ok(all)
}

fn code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Code>, D::Error> {
    let name = String::deserialize(deserializer)?;
    (1..=16).map(Code::from_i32).find(|code| code_name(*code) == name).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("{name:?} is not a gRPC code such as RESOURCE_EXHAUSTED"))
    })
}

/// The code as the gRPC documents spell it.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, source: &str) -> Subject {
        Subject { name: name.to_owned(), source: source.to_owned(), ..Subject::default() }
    }

    fn faults(text: &str) -> (tempfile::TempDir, Faults) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("faults.json"), text).unwrap();
        let faults = Faults::new(dir.path());
        (dir, faults)
    }

    #[test]
    fn no_file_no_faults() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::new(dir.path());
        assert_eq!(faults.take("CreateVolume", &Subject::default()).unwrap(), None);
        assert!(!faults.never_ready(&Subject::default()).unwrap());
    }

    #[test]
    fn a_count_outlives_the_driver_and_starts_anew_with_the_file() {
        let text = r#"{"CreateSnapshot": {"fail": "full", "code": "RESOURCE_EXHAUSTED", "count": 2}}"#;
        let (dir, first) = faults(text);
        let rule = first.take("CreateSnapshot", &Subject::default()).unwrap().unwrap();
        assert_eq!((rule.fail.as_deref(), rule.code), (Some("full"), Some(Code::ResourceExhausted)));
        let restarted = Faults::new(dir.path());
        assert!(restarted.take("CreateSnapshot", &Subject::default()).unwrap().is_some());
        assert!(restarted.take("CreateSnapshot", &Subject::default()).unwrap().is_none());
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, dir.path().join("faults.json")).unwrap();
        assert!(restarted.take("CreateSnapshot", &Subject::default()).unwrap().is_some());
    }

    #[test]
    fn rules_fit_by_name_or_source_in_order() {
        let (_dir, faults) = faults(
            r#"{"CreateVolume": [{"match": "pvc-7", "fail": "first"}, {"match": "vol", "delay_ms": 5, "afterDone": true}]}"#,
        );
        let fail = |subject| faults.take("CreateVolume", &subject).unwrap().and_then(|rule| rule.fail);
        assert_eq!(fail(subject("pvc-77", "")).as_deref(), Some("first"));
        assert_eq!(fail(subject("x", "pvc-7")).as_deref(), Some("first"));
        let second = faults.take("CreateVolume", &subject("vol", "")).unwrap().unwrap();
        assert!(second.after_done && second.delay_ms == 5 && second.fail.is_none());
        assert_eq!(faults.take("CreateVolume", &subject("x", "y")).unwrap(), None);
        assert_eq!(faults.take("DeleteVolume", &subject("pvc-7", "")).unwrap(), None);
    }

    #[test]
    fn never_ready_lets_the_call_itself_pass() {
        let (_dir, faults) = faults(r#"{"CreateSnapshot": {"neverReady": true, "match": "pvc-1"}}"#);
        assert_eq!(faults.take("CreateSnapshot", &subject("s", "pvc-1")).unwrap(), None);
        assert!(faults.never_ready(&subject("s", "pvc-1")).unwrap());
        assert!(!faults.never_ready(&subject("s", "pvc-2")).unwrap());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            (r#"{"CreateSnapshots": {}}"#, "CreateSnapshots"),
            (r#"{"CreateSnapshot": {"fails": "x"}}"#, "fails"),
            (r#"{"CreateSnapshot": {"fail": "x", "code": "FULL"}}"#, "FULL"),
        ] {
            let (_dir, faults) = faults(text);
            let error = faults.take("CreateSnapshot", &Subject::default()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }

    #[test]
    fn every_code_has_its_name() {
        for code in (0..=16).map(Code::from_i32) {
            let quoted = format!(r#"{{"code": "{}"}}"#, code_name(code));
            let parsed: Result<Rule, _> = serde_json::from_str(&quoted);
            assert_eq!(parsed.ok().and_then(|rule| rule.code), (code != Code::Ok).then_some(code));
        }
    }
}
