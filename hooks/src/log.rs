//! The log of one call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scribe_hooks_contract::effects::Level;
use scribe_hooks_contract::limits::fixed;

use crate::outcome::LogLine;
use crate::sanitize;

/// The log of one call. Standard output and standard error write to it too.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    lines: Vec<LogLine>,
    bytes: usize,
    dropped: u64,
    /// What standard output and standard error have not ended with a newline yet.
    open: [Vec<u8>; 2],
}

/// What a byte stream of the module is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Stdout => Level::Info,
            Self::Stderr => Level::Warn,
        }
    }
}

/// A line costs this much even if it is empty: in memory it does.
const LINE_COST: usize = 32;

impl Lines {
    fn push(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        let short = |text: &str| sanitize::line(text, fixed::LOG_LINE_BYTES);
        let message = short(message);
        let fields: Vec<_> =
            fields.iter().take(32).map(|(name, value)| (short(name), short(value))).collect();
        let cost = LINE_COST
            + message.len()
            + fields.iter().map(|(name, value)| LINE_COST + name.len() + value.len()).sum::<usize>();
        if self.bytes + cost > fixed::LOG_BYTES {
            self.dropped += 1;
        } else {
            self.bytes += cost;
            self.lines.push(LogLine { level, message, fields });
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for byte in bytes {
            let open = &mut self.open[stream as usize];
            if *byte == b'\n' || open.len() >= fixed::LOG_LINE_BYTES {
                let line = std::mem::take(open);
                self.push(stream.level(), &String::from_utf8_lossy(&line), &[]);
            }
            if *byte != b'\n' {
                self.open[stream as usize].push(*byte);
            }
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it as dropped.
    pub fn push(&self, level: Level, message: &str, fields: &[(String, String)]) {
        self.lines().push(level, message, fields);
    }

    /// Adds what a stream wrote, line by line.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        self.lines().write(stream, bytes);
    }

    /// What was written, and how many lines were dropped.
    pub fn take(&self) -> (Vec<LogLine>, u64) {
        let mut lines = self.lines();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let open = std::mem::take(&mut lines.open[stream as usize]);
            if !open.is_empty() {
                lines.push(stream.level(), &String::from_utf8_lossy(&open), &[]);
            }
        }
        (std::mem::take(&mut lines.lines), lines.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_become_lines() {
        let log = Log::default();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"bad \xff\n");
        log.write(Stream::Stdout, b"o");
        let (lines, dropped) = log.take();
        let texts: Vec<_> = lines.iter().map(|line| (line.level, line.message.as_str())).collect();
        assert_eq!(texts, [(Level::Info, "one"), (Level::Warn, "bad \u{fffd}"), (Level::Info, "two")]);
        assert_eq!(dropped, 0);
    }

    #[test]
    fn nobody_writes_lines_that_look_like_others() {
        let log = Log::default();
        log.push(Level::Info, "m", &[("a\nb".into(), "\u{1b}[31m\r\n2026 ERROR".into())]);
        log.write(Stream::Stdout, b"x\x1b[31m\rERROR\n");
        let (lines, _) = log.take();
        let [line, written] = &lines[..] else { panic!("{lines:?}") };
        let (name, value) = &line.fields[0];
        for text in [name, value, &written.message] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let log = Log::default();
        for _ in 0..100_000 {
            log.push(Level::Info, "", &[]);
        }
        log.push(Level::Info, &"x".repeat(1 << 20), &[(String::new(), "y".repeat(1 << 20))]);
        let (lines, dropped) = log.take();
        assert_eq!(lines.len(), fixed::LOG_BYTES / LINE_COST);
        assert_eq!(lines.len() as u64 + dropped, 100_001);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let log = Log::default();
        log.write(Stream::Stdout, &vec![b'x'; 3 * fixed::LOG_LINE_BYTES]);
        assert!(log.take().0.iter().all(|line| line.message.len() <= fixed::LOG_LINE_BYTES));
    }
}
