//! What rsync's end means: every exit code has a class.

use crate::reason::{Failure, Reason};
use scribe_mover_contract::job::Outcome;
use std::collections::VecDeque;

/// How an rsync that did not succeed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is there, except for files that vanished while they were read. Fit for a live source only.
    Vanished(String),
    /// A file changed while it was read: it became shorter, or another at every look. Nothing is wrong but that; on a live source a second
    /// look may find it at rest.
    Changed(String),
    /// The forced command refused: the session is over, or the volume is sealed. Shake hands again.
    SessionOver(String),
    /// It failed.
    Failed(Failure),
}

/// Lines of standard error: the first ones tell the cause, the last ones how it ended.
#[derive(Debug, Default)]
pub struct Errors {
    first: Vec<String>,
    last: VecDeque<String>,
    line: Vec<u8>,
    /// What follows on a `line` that is full.
    end: VecDeque<u8>,
    /// Lines about files that vanished or changed while they were read: the first ones, and how many of each kind there were.
    restless: Vec<String>,
    vanished: u64,
    changed: u64,
    /// Lines about anything else.
    others: u64,
}

const KEPT: usize = 8;
/// How many of the files that vanished or changed are named.
const NAMED: usize = 3;
/// What is kept of a line, in bytes: its beginning, and of a longer one its end, where the error stands.
const MAX_LINE: usize = 512;
const MAX_END: usize = 128;

impl Errors {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &byte in piece {
            match byte {
                b'\n' => self.finish_line(),
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {
                    if self.end.len() == MAX_END {
                        self.end.pop_front();
                    }
                    self.end.push_back(byte);
                }
            }
        }
    }

    fn finish_line(&mut self) {
        self.line.extend(self.end.drain(..));
        let text = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        if text.is_empty() {
            return;
        }
        tracing::info!("{text}");
        self.classify(&text);
        if self.first.len() < KEPT {
            self.first.push(text);
        } else {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            self.last.push_back(text);
        }
    }

    fn classify(&mut self, line: &str) {
        if line.starts_with("rsync error:") || line.starts_with("rsync warning:") {
            return;
        }
        let count = if has_vanished(line) {
            &mut self.vanished
        } else if has_changed(line) {
            &mut self.changed
        } else {
            &mut self.others
        };
        *count += 1;
        if (has_vanished(line) || has_changed(line)) && self.restless.len() < NAMED {
            self.restless.push(line.to_owned());
        }
    }

    /// The files that vanished or changed, for people.
    fn restless(&self) -> String {
        let count = self.vanished + self.changed;
        let more = count.saturating_sub(NAMED as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", self.restless.join("; "))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.last).map(String::as_str)
    }

    fn find(&self, marks: &[&str]) -> Option<&str> {
        self.lines().find(|line| is_about(line, marks))
    }

    /// The line that says the most about the cause. rsync has escaped whatever is odd about a name in it.
    fn cause(&self) -> String {
        let is_summary = |line: &&str| !line.starts_with("rsync error:");
        self.lines().find(is_summary).or_else(|| self.lines().next()).unwrap_or("it said nothing").to_owned()
    }
}

/// A name can hold anything, but it stands between quotes, in which rsync escapes nothing that could end the line.
fn has_vanished(line: &str) -> bool {
    ["file has vanished: ", "directory has vanished: "].iter().any(|words| line.starts_with(words))
}

/// A file that became shorter than it was when it was opened, or that is not, at the end of a second try, what was read at its beginning.
fn has_changed(line: &str) -> bool {
    let is_shorter = line.starts_with("rsync: [sender] read errors mapping ")
        && is_about(line, &["No data available (61)"]);
    let verification = ["discarded", "retained", "put into partial-dir"];
    let is_another = line.starts_with("ERROR: ")
        && verification.iter().any(|end| line.ends_with(&format!(" failed verification -- update {end}.")));
    let is_tried_again = line.starts_with("WARNING: ") && line.ends_with("(will try again).");
    is_shorter || is_another || is_tried_again
}

/// Whether a line of rsync's is about one of those errors of the system. They stand at its very end, after a colon; anywhere else
/// they are part of a file's name, which can be anything.
fn is_about(line: &str, errors: &[&str]) -> bool {
    // Who says it stands before the message or, in square brackets, behind it.
    let message = match line.rsplit_once(" [") {
        Some((message, who)) if who.strip_suffix(']').is_some_and(|who| !who.contains(']')) => message,
        _ => line,
    };
    let ends_with = |error: &&str| message.strip_suffix(error).is_some_and(|rest| rest.ends_with(": "));
    line.starts_with("rsync: ") && errors.iter().any(ends_with)
}

/// Judges the end of an rsync: its exit code, `None` if a signal ended it, and what it wrote to standard error.
pub fn judge(code: Option<i32>, mut errors: Errors) -> Verdict {
    errors.finish_line();
    if let Some(line) = errors.lines().find_map(|line| line.strip_prefix("scribe: refused: ")) {
        return Verdict::SessionOver(line.to_owned());
    }
    let failed = |outcome, reason, what: &str, line: String| {
        Verdict::Failed(Failure::new(outcome, reason, format!("{what}: {line}")))
    };
    let lost = |what: &str| failed(Outcome::Transient, Reason::ConnectionLost, what, errors.cause());
    let broken = |what: &str| failed(Outcome::Transient, Reason::TransferFailed, what, errors.cause());
    match code {
        None => lost("rsync was killed"),
        Some(1) => failed(
            Outcome::Permanent,
            Reason::InternalError,
            "rsync did not take its options",
            errors.cause(),
        ),
        Some(2 | 4) => {
            failed(Outcome::Permanent, Reason::ProtocolMismatch, "the rsyncs do not match", errors.cause())
        }
        Some(24) => Verdict::Vanished(errors.restless()),
        Some(23) if errors.changed > 0 && errors.others == 0 => Verdict::Changed(errors.restless()),
        Some(3 | 11 | 13 | 22 | 23 | 25) => from_lines(&errors),
        Some(5 | 10 | 12 | 30 | 35 | 255) => {
            // A full volume ends the other side's rsync, and what is seen here is that the connection breaks.
            full(&errors).map_or_else(|| lost("the connection broke during the transfer"), Verdict::Failed)
        }
        Some(14..=16 | 19..=21) => lost("rsync was interrupted"),
        Some(124..=127) => broken("ssh or the remote command could not be run"),
        Some(code) => broken(&format!("rsync ended with {code}")),
    }
}

fn full(errors: &Errors) -> Option<Failure> {
    let line = errors.find(&["No space left on device (28)", "Disk quota exceeded (122)"])?;
    Some(Failure::permanent(Reason::DestinationFull, format!("the receiving volume is full: {line}")))
}

/// The code only says that something failed; the lines say what.
fn from_lines(errors: &Errors) -> Verdict {
    if let Some(failure) = full(errors) {
        return Verdict::Failed(failure);
    }
    let denied = ["Permission denied (13)", "Operation not permitted (1)"];
    if let Some(line) = errors.find(&denied) {
        return Verdict::Failed(Failure::permanent(
            Reason::NeedsPrivilege,
            format!(
                "{line}; run the mover as the owner of the data (moverSecurityContext.runAsUser), or as root in a \
                 namespace that allows it"
            ),
        ));
    }
    let unreadable = ["Input/output error (5)", "Structure needs cleaning (117)", "Bad message (74)"];
    let at_the_source =
        errors.lines().find(|line| line.starts_with("rsync: [sender]") && is_about(line, &unreadable));
    match at_the_source {
        Some(line) => Verdict::Failed(Failure::transient(Reason::SourceReadError, line)),
        None => Verdict::Failed(Failure::transient(Reason::TransferFailed, errors.cause())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(code: Option<i32>, text: &str) -> Verdict {
        let mut errors = Errors::default();
        errors.push(text.as_bytes());
        judge(code, errors)
    }

    fn reason(code: Option<i32>, text: &str) -> (String, Outcome) {
        match verdict(code, text) {
            Verdict::Failed(failure) => (failure.reason, failure.outcome),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_code_fails_and_has_a_class() {
        for code in (1..=255).filter(|code| *code != 24) {
            assert!(matches!(verdict(Some(code), ""), Verdict::Failed(_)), "{code}");
        }
        assert!(matches!(verdict(None, ""), Verdict::Failed(_)));
    }

    #[test]
    fn the_lines_tell_the_reason() {
        let cases = [
            (
                23,
                "rsync: [sender] send_files failed to open \"/data/a\": Permission denied (13)\n",
                "NeedsPrivilege",
            ),
            (
                23,
                "rsync: [generator] chown \"/data/a\" failed: Operation not permitted (1)\n",
                "NeedsPrivilege",
            ),
            (
                11,
                "rsync: [receiver] write failed on \"/data/a\": No space left on device (28)\n",
                "DestinationFull",
            ),
            (
                12,
                "rsync: [receiver] write failed on \"/data/a\": No space left on device (28)\n",
                "DestinationFull",
            ),
            (
                23,
                "rsync: [generator] mkdir \"/data/a\" failed: Disk quota exceeded (122)\n",
                "DestinationFull",
            ),
            (
                23,
                "rsync: [sender] read errors mapping \"/data/a\": Input/output error (5)\n",
                "SourceReadError",
            ),
            (
                23,
                "rsync: [receiver] read errors mapping \"/data/a\": Input/output error (5)\n",
                "TransferFailed",
            ),
            (12, "client_loop: send disconnect: Broken pipe\n", "ConnectionLost"),
            (255, "ssh: connect to host destination port 8022: Connection refused\n", "ConnectionLost"),
            (1, "rsync: unknown option\n", "InternalError"),
        ];
        for (code, text, expected) in cases {
            assert_eq!(reason(Some(code), text).0, expected, "{code} {text}");
        }
    }

    #[test]
    fn a_file_s_name_is_no_error() {
        let cases = [
            (
                "rsync: [sender] read errors mapping \"/data/Permission denied (13)\": Input/output error (5)\n",
                "SourceReadError",
            ),
            (
                "rsync: [receiver] rename \"/data/a: No space left on device (28)\" failed: Is a directory (21)\n",
                "TransferFailed",
            ),
            ("cannot delete non-empty directory: Permission denied (13)\n", "TransferFailed"),
            (
                "rsync: [receiver] read errors mapping \"/data/[sender]\": Input/output error (5)\n",
                "TransferFailed",
            ),
            (
                "rsync: send_files failed to open \"/data/a [b]\": Permission denied (13) [sender]\n",
                "NeedsPrivilege",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(reason(Some(23), text).0, expected, "{text}");
        }
    }

    #[test]
    fn the_error_of_a_long_name_is_found() {
        let name = "x".repeat(10 * MAX_LINE);
        let text =
            format!("rsync: [sender] send_files failed to open \"/data/{name}\": Permission denied (13)\n");
        assert_eq!(reason(Some(23), &text).0, "NeedsPrivilege");
    }

    #[test]
    fn a_refusal_is_not_a_lost_connection() {
        let text = "scribe: refused: token 5 is not that of the current session\nrsync: connection unexpectedly closed\n";
        assert!(matches!(verdict(Some(12), text), Verdict::SessionOver(_)));
    }

    #[test]
    fn vanished_files_are_for_the_caller_to_judge() {
        assert!(matches!(verdict(Some(24), "file has vanished: \"/data/a\"\n"), Verdict::Vanished(_)));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_told_from_one_that_is_broken() {
        let shorter = "rsync: [sender] read errors mapping \"/data/a\": No data available (61)\n";
        let another = "WARNING: a failed verification -- update discarded (will try again).\n\
            ERROR: a failed verification -- update discarded.\n";
        let end = "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1)\n";
        for text in [
            format!("{shorter}{end}"),
            format!("{another}{end}"),
            format!("file has vanished: \"b\"\n{shorter}{end}"),
        ] {
            assert!(matches!(verdict(Some(23), &text), Verdict::Changed(_)), "{text}");
        }
        let broken = "rsync: [sender] read errors mapping \"/data/b\": Input/output error (5)\n";
        assert_eq!(reason(Some(23), &format!("{shorter}{broken}{end}")).0, "SourceReadError");
        let forged = "rsync: [sender] send_files failed to open \"/data/a failed verification -- update discarded.\": Permission denied (13)\n";
        assert_eq!(reason(Some(23), forged).0, "NeedsPrivilege");
        let many = (0..9).map(|i| format!("file has vanished: \"/data/{i}\"\n")).collect::<String>();
        let Verdict::Vanished(words) = verdict(Some(24), &many) else { panic!("vanished") };
        assert_eq!(
            words,
            "file has vanished: \"/data/0\"; file has vanished: \"/data/1\"; file has vanished: \"/data/2\" and 6 more"
        );
    }

    #[test]
    fn the_cause_survives_a_flood_of_lines() {
        let mut text = "rsync: [sender] send_files failed to open \"a\": Permission denied (13)\n".to_owned();
        text.push_str(&"rsync: [generator] something else\n".repeat(10_000));
        text.push_str(&"x".repeat(10 * MAX_LINE));
        assert_eq!(reason(Some(23), &text).0, "NeedsPrivilege");
    }
}
