//! Commands in containers.

use super::imports::exec as import;
use crate::HookError;

pub use crate::bindings::host::scribe::hooks::exec::{Command, Error, Outcome, Target};

/// Seconds that a command has, unless it says otherwise.
const TIMEOUT: u32 = 30;

/// Bytes of stdout, and of stderr, unless a command says otherwise.
const MAX_OUTPUT: u32 = 64 * 1024;

/// Bytes of a failed command's stderr that an error repeats.
const SHOWN: usize = 512;

/// Runs a command; its exit code is for the caller to judge.
///
/// # Errors
/// It was not run, or its end was not seen; `denied` without a grant.
pub fn run(target: &Target, command: &Command) -> Result<Vec<Outcome>, Error> {
    import::run(target, command)
}

/// Runs a command that must end with 0 in every pod.
///
/// # Errors
/// Those of [`run`], and a code that is not 0: with the pod's name and what the command has said.
pub fn check(target: &Target, command: &Command) -> Result<Vec<Outcome>, HookError> {
    let outcomes = run(target, command)?;
    match outcomes.iter().find(|outcome| outcome.exit_code != 0) {
        Some(failed) => Err(failed.complaint().into()),
        None => Ok(outcomes),
    }
}

impl Target {
    /// A pod, in its only container.
    pub fn pod(name: impl Into<String>) -> Self {
        Self { pod: Some(name.into()), label_selector: None, container: None, all_matching: false }
    }

    /// The one pod with these labels, as in `app=db,role=primary`.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { pod: None, label_selector: Some(selector.into()), container: None, all_matching: false }
    }

    /// In this container.
    #[must_use]
    pub fn container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// In every pod that matches.
    #[must_use]
    pub fn all(mut self) -> Self {
        self.all_matching = true;
        self
    }
}

impl Command {
    /// A program and its arguments, without a shell, for at most 30 s and with at most 64 KiB of output.
    pub fn new<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, stdin: Vec::new(), timeout_seconds: TIMEOUT, max_output: MAX_OUTPUT }
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// Bytes of each of stdout and stderr that are kept.
    #[must_use]
    pub fn max_output(mut self, bytes: u32) -> Self {
        self.max_output = bytes;
        self
    }
}

impl Outcome {
    /// Its standard output as text, without the last newline.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Pod, exit code and the beginning of stderr in one line.
    fn complaint(&self) -> String {
        let shown = &self.stderr[..self.stderr.len().min(SHOWN)];
        let said = String::from_utf8_lossy(shown);
        format!("the command in pod {} ended with {}: {}", self.pod, self.exit_code, said.trim_end())
    }
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        Self::Failed(match error {
            Error::Denied(why) => format!("exec: denied: {why}"),
            Error::NoSuchTarget(why) => format!("exec: no such target: {why}"),
            Error::NotRunning(why) => format!("exec: not running: {why}"),
            Error::TimedOut => "exec: the command did not end in time".to_owned(),
            Error::Unavailable(why) => format!("exec: unavailable: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_command_that_failed_in_one_pod_is_quoted() {
        let host = Host::new();
        let ended = |pod: &str, exit_code, stderr: &[u8]| Outcome {
            pod: pod.to_owned(),
            exit_code,
            stdout: Vec::new(),
            stderr: stderr.to_vec(),
            truncated: false,
        };
        // A letter of two bytes across the limit.
        let long = "\u{e4}".repeat(SHOWN).into_bytes();
        host.exec(Ok(vec![ended("a", 0, b""), ended("b", 3, &[b"x".as_slice(), &long].concat())]));
        let error = check(&Target::labels("app=db").all(), &Command::new(["true"])).unwrap_err();
        let HookError::Failed(said) = error else { panic!("{error:?}") };
        assert!(said.starts_with("the command in pod b ended with 3: x\u{e4}"), "{said}");
        assert!(said.len() < 2 * SHOWN, "{}", said.len());
    }
}
