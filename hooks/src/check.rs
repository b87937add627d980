//! Answers are a module's too: bounded, cleaned, and refused where they cannot be followed.

use scribe_hooks_contract::limits::fixed;
use scribe_hooks_contract::points::{Frozen, Info, Problem, Reaction, TransferOptions, Verdict};
use scribe_hooks_contract::retention::{self, Keep};

use crate::sanitize;

/// Of a name or a version.
const NAME_BYTES: usize = 253;
/// Of the reason why a replica is kept.
const REASON_BYTES: usize = 256;

fn message(text: &str) -> String {
    sanitize::line(text, fixed::MESSAGE_BYTES)
}

pub(crate) fn info(info: Info) -> Result<Info, String> {
    let Info { name, version, settings_schema } = info;
    for (field, text) in [("name", &name), ("version", &version)] {
        if text.is_empty() || text.len() > NAME_BYTES {
            return Err(format!("{field} must be between 1 and {NAME_BYTES} bytes long"));
        }
    }
    if let Some(schema) = &settings_schema {
        if schema.len() > fixed::SCHEMA_BYTES {
            return Err(format!("settings-schema is longer than {} bytes", fixed::SCHEMA_BYTES));
        }
        serde_json::from_str::<serde::de::IgnoredAny>(schema)
            .map_err(|error| format!("settings-schema is not JSON: {error}"))?;
    }
    Ok(Info {
        name: sanitize::line(&name, NAME_BYTES),
        version: sanitize::line(&version, NAME_BYTES),
        settings_schema,
    })
}

pub(crate) fn problems(problems: Vec<Problem>) -> Result<Vec<Problem>, String> {
    let clean = |problem: Problem| Problem {
        path: problem.path.map(|path| sanitize::line(&path, REASON_BYTES)),
        message: message(&problem.message),
    };
    Ok(problems.into_iter().take(fixed::PROBLEMS).map(clean).collect())
}

pub(crate) fn verdict(verdict: Verdict) -> Result<Verdict, String> {
    Ok(match verdict {
        Verdict::Proceed => Verdict::Proceed,
        Verdict::Skip(text) => Verdict::Skip(message(&text)),
        Verdict::Defer { seconds, message: text } => {
            Verdict::Defer { seconds: delay(seconds)?, message: message(&text) }
        }
    })
}

fn delay(seconds: u32) -> Result<u32, String> {
    if seconds == 0 || seconds > fixed::MOST_DELAY_SECONDS {
        Err(format!("asks to wait for {seconds} s: it must be between 1 and {}", fixed::MOST_DELAY_SECONDS))
    } else {
        Ok(seconds)
    }
}

pub(crate) fn options(options: TransferOptions) -> Result<TransferOptions, String> {
    for (field, value) in
        [("bandwidth-kib", options.bandwidth_kib), ("timeout-seconds", options.timeout_seconds)]
    {
        if value == Some(0) {
            return Err(format!("{field} is 0: leave it out for no limit"));
        }
    }
    if options.excludes.len() > fixed::EXCLUDES {
        return Err(format!("excludes has more than {} patterns", fixed::EXCLUDES));
    }
    for pattern in &options.excludes {
        if pattern.is_empty() || pattern.len() > fixed::EXCLUDE_BYTES || pattern.chars().any(char::is_control)
        {
            return Err(format!(
                "excludes has a pattern that is empty, longer than {} bytes or with control characters: {}",
                fixed::EXCLUDE_BYTES,
                sanitize::line(pattern, 64)
            ));
        }
    }
    Ok(options)
}

pub(crate) fn keeps(ids: &[String], keeps: Vec<Keep>) -> Result<Vec<Keep>, String> {
    retention::check(ids.iter().map(String::as_str), &keeps).map_err(|error| error.to_string())?;
    let clean = |keep: Keep| Keep { id: keep.id, reason: sanitize::line(&keep.reason, REASON_BYTES) };
    Ok(keeps.into_iter().map(clean).collect())
}

pub(crate) fn frozen(frozen: Frozen) -> Result<Frozen, String> {
    let Frozen { token, achieved, note } = frozen;
    if token.len() > fixed::TOKEN_BYTES {
        return Err(format!("the token is longer than {} bytes", fixed::TOKEN_BYTES));
    }
    Ok(Frozen { token, achieved, note: note.map(|note| message(&note)) })
}

pub(crate) fn reaction(reaction: Reaction) -> Result<Reaction, String> {
    Ok(match reaction {
        Reaction::RetryAfter(seconds) => Reaction::RetryAfter(delay(seconds)?),
        Reaction::Suspend(why) => Reaction::Suspend(message(&why)),
        other @ (Reaction::Default | Reaction::FullResync) => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_cannot_be_followed_are_refused() {
        assert!(verdict(Verdict::Defer { seconds: 0, message: String::new() }).is_err());
        assert!(verdict(Verdict::Defer { seconds: u32::MAX, message: String::new() }).is_err());
        assert!(reaction(Reaction::RetryAfter(0)).is_err());
        assert!(options(TransferOptions { bandwidth_kib: Some(0), ..TransferOptions::default() }).is_err());
        let excludes =
            |pattern: &str| TransferOptions { excludes: vec![pattern.into()], ..TransferOptions::default() };
        assert!(options(excludes("")).is_err());
        assert!(options(excludes("a\nb")).is_err());
        assert!(options(excludes(&"x".repeat(2000))).is_err());
        assert!(options(excludes("/cache/")).is_ok());
        let many = TransferOptions { excludes: vec!["x".into(); 257], ..TransferOptions::default() };
        assert!(options(many).is_err());
        let named = |name: &str, schema: Option<&str>| {
            info(Info { name: name.into(), version: "1".into(), settings_schema: schema.map(Into::into) })
        };
        assert!(named("", None).is_err());
        assert!(named(&"x".repeat(300), None).is_err());
        assert!(named("x", Some("{")).is_err());
        assert!(named("x", Some("{}")).is_ok());
    }

    #[test]
    fn text_for_people_is_cleaned() {
        assert_eq!(
            verdict(Verdict::Skip("a\u{1b}[0m\nb".into())),
            Ok(Verdict::Skip("a\\u{1b}[0m\\nb".into()))
        );
        let many = vec![Problem { path: Some("/\n".into()), message: "\r".into() }; 1000];
        let cleaned = problems(many).unwrap();
        assert_eq!(
            (cleaned.len(), cleaned[0].path.as_deref(), cleaned[0].message.as_str()),
            (100, Some("/\\n"), "\\r")
        );
    }
}
