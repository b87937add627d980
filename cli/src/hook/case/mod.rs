//! Test cases: YAML files that say what a hook is asked, what its host answers, and what is expected.

pub mod call;
mod context;
pub mod expect;
mod moment;
pub mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scribe_hooks::contract::context::Context;
use scribe_hooks::contract::grants::Grants;
use scribe_hooks::contract::limits::{Effective, Limits};
use serde::Deserialize;
use serde_json::Value;

use self::call::{Call, Function};
use self::context::ContextInput;
use self::expect::Expect;
use self::moment::Moment;
use self::text::Text;
use crate::hook::scripted::script::Entry;

/// The largest file that is read, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// A case.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub description: Option<String>,
    /// The module, if the case names one.
    pub module: Option<PathBuf>,
    /// What the module may touch.
    pub grants: Arc<Grants>,
    /// What each call may use.
    pub limits: Effective,
    /// What the first call is told.
    pub context: Context,
    /// What the module's store holds to begin with.
    pub state: BTreeMap<String, Text>,
    /// The calls, at least one.
    pub steps: Vec<Step>,
}

/// One call of a case.
#[derive(Debug)]
pub struct Step {
    /// What is called.
    pub call: Call,
    /// When, in milliseconds since 1970-01-01T00:00:00Z. Default: when the step before it ended.
    pub now: Option<u64>,
    /// What the host answers.
    pub host: Vec<Entry>,
    /// What is expected.
    pub expect: Expect,
}

/// A file that is no case. Says the file, the field and what to write.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct CaseError {
    path: PathBuf,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    description: Option<String>,
    module: Option<PathBuf>,
    settings: Option<Value>,
    #[serde(default)]
    grants: Grants,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    context: ContextInput,
    #[serde(default)]
    state: BTreeMap<String, Text>,
    call: Option<Function>,
    input: Option<Value>,
    host: Option<Vec<Entry>>,
    expect: Option<Expect>,
    steps: Option<Vec<FileStep>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileStep {
    call: Function,
    now: Option<Moment>,
    input: Option<Value>,
    #[serde(default)]
    host: Vec<Entry>,
    #[serde(default)]
    expect: Expect,
}

impl Case {
    /// Reads a case from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no case.
    pub fn read(path: &Path) -> Result<Self, CaseError> {
        let error = |message| CaseError { path: path.to_owned(), message };
        let text = read_text(path).map_err(error)?;
        Self::parse(&text, path, None).map_err(error)
    }

    /// The same, where the function may be left out: then it is `function`. Where both name one, it must be the same.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no case.
    pub fn read_input(path: &Path, function: Option<Function>) -> Result<Self, CaseError> {
        let error = |message| CaseError { path: path.to_owned(), message };
        let text = read_text(path).map_err(error)?;
        Self::parse(&text, path, function).map_err(error)
    }

    /// Reads a case. `path` is the file that it comes from: the module's path is taken from there.
    ///
    /// # Errors
    ///
    /// The field, and what to write there.
    pub fn parse(text: &str, path: &Path, function: Option<Function>) -> Result<Self, String> {
        let file: File = parse_yaml(text)?;
        let File { description, module, settings, grants, limits, context, state, .. } = &file;
        grants.validate().map_err(|error| format!("grants.{error}"))?;
        let limits = limits.effective().map_err(|error| error.to_string())?;
        let now = context.now();
        let settings_json = settings.as_ref().map_or_else(Context::no_settings, Value::to_string);
        let context = context.clone().complete(settings_json);
        let (description, state) = (description.clone(), state.clone());
        // A path in a case is meant as seen from the case.
        let module = module.as_ref().map(|module| path.parent().unwrap_or(Path::new("")).join(module));
        let grants = Arc::new(grants.clone());
        let steps = file.steps(now, function)?;
        Ok(Self { description, module, grants, limits, context, state, steps })
    }

    /// Whether its calls stand in `steps`.
    pub fn has_steps(text: &str) -> bool {
        parse_yaml::<File>(text).is_ok_and(|file| file.steps.is_some())
    }
}

impl File {
    fn steps(self, now: u64, function: Option<Function>) -> Result<Vec<Step>, String> {
        let Self { call, input, host, expect, steps, .. } = self;
        agree("call", call, function)?;
        let Some(steps) = steps else {
            let function = call
                .or(function)
                .ok_or("call: is missing: write the function that is tested, like `call: decide`; or several as `steps`")?;
            let step = FileStep {
                call: function,
                now: None,
                input,
                host: host.unwrap_or_default(),
                expect: expect.unwrap_or_default(),
            };
            return Ok(vec![step.settle("", now)?]);
        };
        for (field, is_there) in [
            ("call", call.is_some()),
            ("input", input.is_some()),
            ("host", host.is_some()),
            ("expect", expect.is_some()),
        ] {
            if is_there {
                return Err(format!("{field}: there are `steps`: write it into one of them"));
            }
        }
        if steps.is_empty() {
            return Err("steps: is empty: write at least one".to_owned());
        }
        agree("steps[0].call", Some(steps[0].call), function)?;
        let mut now = now;
        let settle = |(number, step): (usize, FileStep)| {
            let own = step.now.map_or(now, |time| time.0);
            if own < now {
                return Err(format!(
                    "steps[{number}].now: is before the step before it: write a later time, or none"
                ));
            }
            now = own;
            step.settle(&format!("steps[{number}]."), now)
        };
        steps.into_iter().enumerate().map(settle).collect()
    }
}

/// One function is called: which, the file and the command line must not say differently.
fn agree(field: &str, written: Option<Function>, wanted: Option<Function>) -> Result<(), String> {
    match (written, wanted) {
        (Some(written), Some(wanted)) if written != wanted => Err(format!(
            "{field}: is `{}`, and --call is `{}`: leave --call out, or name the same function",
            written.name(),
            wanted.name()
        )),
        _ => Ok(()),
    }
}

impl FileStep {
    fn settle(self, prefix: &str, now: u64) -> Result<Step, String> {
        let Self { call: function, now: own, input, mut host, mut expect } = self;
        let below = |field: &str, why: &str| format!("{prefix}{field}{why}");
        for (number, entry) in host.iter_mut().enumerate() {
            if !function.is_effectful() {
                return Err(below(
                    "host",
                    &format!(": {} is pure, and asks its host for nothing", function.name()),
                ));
            }
            entry.settle().map_err(|why| below(&format!("host[{number}]."), &why))?;
        }
        expect.settle(function).map_err(|why| below("expect.", &why))?;
        let call = Call::read(function, input, now).map_err(|why| below("input: ", &why))?;
        Ok(Step { call, now: own.map(|time| time.0), host, expect })
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > MOST_BYTES {
        return Err(format!("is larger than {} MiB, and so no test case", MOST_BYTES >> 20));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Reads YAML, and says where in it something is wrong.
pub fn parse_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    // As in YAML 1.2: `yes` and `no` are text, which labels are made of.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut place = None;
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        serde_path_to_error::deserialize::<_, T>(deserializer).map_err(|error| {
            place = Some(error.path().to_string());
            error.into_inner()
        })
    });
    read.map_err(|error| match place.filter(|place| place != ".") {
        Some(place) => {
            let words = one_line(&error);
            let hint = hint(&place, &words);
            format!("{place}: {words}{hint}")
        }
        None => one_line(&error),
    })
}

/// How that is written which is easily written otherwise.
fn hint(place: &str, words: &str) -> &'static str {
    let is_of_commands = place.starts_with("grants.exec[") && place.contains("].commands");
    if is_of_commands && words.contains("sequence start") {
        ": a command is a list, as in `commands: [[ls, -l]]`"
    } else {
        ""
    }
}

/// Without the part of the file that it shows, which takes lines.
fn one_line(error: &serde_saphyr::Error) -> String {
    error.without_snippet().to_string()
}
