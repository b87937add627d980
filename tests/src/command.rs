//! Running a program of the system to its end.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that its error repeats.
const TAIL_LINES: usize = 20;

/// Runs the command and returns its standard output.
///
/// # Errors
/// The program cannot be started, or ends with anything but 0: the error holds the command line and the end of its output.
pub fn run(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start `{line}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let words = format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{line}` ended with {}:\n{}", output.status, tail(&words, TAIL_LINES));
    }
    Ok(stdout)
}

/// `run` for a program and its arguments alone.
///
/// # Errors
/// Those of [`run`].
pub fn call(program: &str, args: &[&str]) -> Result<String> {
    run(Command::new(program).args(args))
}

/// The last `lines` lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }

    #[test]
    fn a_failed_program_is_quoted() {
        let error = call("sh", &["-c", "echo why >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
    }
}
