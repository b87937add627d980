//! A hook's settings: read with serde, judged before they are used.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::bindings::settings::exports::scribe::hooks::settings::{Guest, Info};
use crate::types::Problem;

/// What every hook has, whatever its points.
pub trait Hook {
    /// The `settings` in the object's spec, read with serde. Give it `#[serde(deny_unknown_fields)]`: then a word that is spelled wrong is
    /// refused when the object is applied, and not ignored on the night on which it was needed.
    type Settings: DeserializeOwned;

    /// A JSON schema of the settings, for tools; `include_str!` one.
    const SCHEMA: Option<&'static str> = None;

    /// Judges what serde could read: all that is wrong, each with where and with what to write instead. Pure: there is no host to ask.
    #[must_use]
    fn validate(settings: &Self::Settings) -> Vec<Problem> {
        let _ = settings;
        Vec::new()
    }
}

/// Name and version of the module: those of the author's package, which only a macro sees.
#[doc(hidden)]
pub trait Package {
    const NAME: &'static str;
    const VERSION: &'static str;
}

impl<T: Hook + Package> Guest for T {
    fn describe() -> Info {
        crate::panics::report();
        Info {
            name: T::NAME.to_owned(),
            version: T::VERSION.to_owned(),
            settings_schema: T::SCHEMA.map(str::to_owned),
        }
    }

    fn validate(settings_json: String) -> Result<(), Vec<Problem>> {
        crate::panics::report();
        judge::<T>(&settings_json)
    }
}

/// Reads and judges.
pub(crate) fn judge<T: Hook>(json: &str) -> Result<(), Vec<Problem>> {
    let settings = read::<T::Settings>(json).map_err(|problem| vec![problem])?;
    let problems = <T as Hook>::validate(&settings);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Reads settings; what is wrong is told with its place.
pub(crate) fn read<S: DeserializeOwned>(json: &str) -> Result<S, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let settings = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| Problem::at(pointer(error.path()), reason(error.inner())))?;
    deserializer.end().map_err(|error| Problem::at("", reason(&error)))?;
    Ok(settings)
}

/// The words without the line and column, which the user, who has written YAML, has never seen.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A JSON pointer to where reading has stopped.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let word = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            // A variant that holds something is the one key of an object.
            Segment::Enum { variant } => variant.clone(),
            // Inside of what serde has put aside first, as for a tagged or flattened type.
            Segment::Unknown => break,
        };
        pointer.push('/');
        pointer.push_str(&word);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Settings {
        days: u32,
        #[serde(default)]
        windows: Vec<Window>,
        #[serde(default)]
        mode: Mode,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Window {
        #[serde(rename = "a/b")]
        start: u32,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Mode {
        #[default]
        Plain,
        Held {
            #[allow(dead_code, reason = "only read")]
            seconds: u32,
        },
    }

    fn problem(json: &str) -> (String, String) {
        let problem = read::<Settings>(json).unwrap_err();
        (problem.path.unwrap_or_default(), problem.message)
    }

    #[test]
    fn a_problem_says_where_it_is() {
        let cases = [
            (r#"{"days":"x"}"#, "/days", "invalid type: string \"x\", expected u32"),
            (r#"{"days":-1}"#, "/days", "invalid value: integer `-1`, expected u32"),
            (
                r#"{"days":1,"windows":[{"a/b":1},{"a/b":true}]}"#,
                "/windows/1/a~1b",
                "invalid type: boolean `true`, expected u32",
            ),
            (r#"{"days":1,"windows":[{}]}"#, "/windows/0", "missing field `a/b`"),
            (
                r#"{"days":1,"day":1}"#,
                "/day",
                "unknown field `day`, expected one of `days`, `windows`, `mode`",
            ),
            (
                r#"{"days":1,"mode":{"held":{"seconds":"x"}}}"#,
                "/mode/held/seconds",
                "invalid type: string \"x\", expected u32",
            ),
            ("{}", "", "missing field `days`"),
            (r#"{"days":1} x"#, "", "trailing characters"),
            ("", "", "EOF while parsing a value"),
        ];
        for (json, path, message) in cases {
            assert_eq!(problem(json), (path.to_owned(), message.to_owned()), "{json}");
        }
    }
}
