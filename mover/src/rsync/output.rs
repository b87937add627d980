//! What rsync says. No line that is read here holds a name, so no name can forge one.

use scribe_mover_contract::peer::Counts;

/// What rsync's standard output amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The totals.
    pub counts: Counts,
    /// Entries that differed in any way, deletions included.
    pub differences: u64,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the files that were dealt with.
    pub bytes: u64,
    /// Entries that were dealt with; rsync says that only when a file is done.
    pub files: Option<u64>,
}

/// Collects standard output piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    summary: Summary,
    step: Option<Step>,
}

/// No line that we asked for is nearly as long.
const MAX_LINE: usize = 1024;

impl Reader {
    /// Takes the next piece; the progress that stands in it, if any.
    pub fn push(&mut self, piece: &[u8]) -> Option<Step> {
        self.step = None;
        for &byte in piece {
            match byte {
                b'\n' | b'\r' => self.finish_line(),
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
        self.step
    }

    /// What it all amounted to.
    pub fn finish(mut self) -> Summary {
        self.finish_line();
        self.summary
    }

    fn finish_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if is_difference(&line) {
            self.summary.differences += 1;
        } else if let Some((name, value)) = line.split_once(": ") {
            self.read_total(name, value);
        } else if let Some(step) = read_progress(&line) {
            let files = step.files.or(self.step.and_then(|before| before.files));
            self.step = Some(Step { files, ..step });
        }
    }

    fn read_total(&mut self, name: &str, value: &str) {
        let Some(number) = value.split(' ').next().and_then(|word| word.parse::<u64>().ok()) else { return };
        let counts = &mut self.summary.counts;
        match name {
            "Number of files" => counts.files_total = number,
            "Number of deleted files" => counts.files_deleted = number,
            "Number of regular files transferred" => counts.files_sent = number,
            "Total file size" => counts.bytes_total = number,
            "Literal data" => counts.bytes_literal = number,
            "Total bytes sent" | "Total bytes received" => counts.bytes_sent += number,
            _ => {}
        }
    }
}

/// `%i`: eleven characters, of which the first says what is done and the second to what.
fn is_difference(line: &str) -> bool {
    let mut characters = line.chars();
    line.len() == 11
        && (line.starts_with("*deleting")
            || (characters.next().is_some_and(|c| "<>ch.*".contains(c))
                && characters.next().is_some_and(|c| "fdLDS".contains(c))))
}

/// `      1234  12%   10.00MB/s    0:00:01 (xfr#3, to-chk=7/10)`; the part in brackets only when a file is done.
fn read_progress(line: &str) -> Option<Step> {
    let mut words = line.split_ascii_whitespace();
    let bytes = words.next()?.parse().ok()?;
    words.next()?.strip_suffix('%')?;
    words.next()?.strip_suffix("/s")?;
    Some(Step { bytes, files: read_checked(line) })
}

fn read_checked(line: &str) -> Option<u64> {
    let (_, checked) = line.rsplit_once("-chk=")?;
    let (left, all) = checked.strip_suffix(')')?.split_once('/')?;
    Some(all.parse::<u64>().ok()?.saturating_sub(left.parse().ok()?))
}

impl Summary {
    /// Adds a second run over the same tree; its totals of the tree replace those of the first.
    pub fn merge(self, later: Self) -> Self {
        let (a, b) = (self.counts, later.counts);
        Self {
            differences: self.differences + later.differences,
            counts: Counts {
                bytes_total: b.bytes_total,
                files_total: b.files_total,
                bytes_sent: a.bytes_sent + b.bytes_sent,
                bytes_literal: a.bytes_literal + b.bytes_literal,
                files_sent: a.files_sent + b.files_sent,
                files_deleted: a.files_deleted + b.files_deleted,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rsync 3.5.0 prints it.
    const OUTPUT: &[u8] = b".d....og...\n<f+++++++++\n\r              2  10%    0.00kB/s    0:00:00  \
        \r              2  10%    0.00kB/s    0:00:00 (xfr#1, to-chk=8/10)\n*deleting  \nhf+++++++++\n\n\
        Number of files: 10 (reg: 7, dir: 3)\nNumber of created files: 9 (reg: 7, dir: 2)\n\
        Number of deleted files: 4 (reg: 3, dir: 1)\nNumber of regular files transferred: 6\nTotal file size: 20 bytes\n\
        Total transferred file size: 18 bytes\nLiteral data: 17 bytes\nMatched data: 0 bytes\nFile list size: 0\n\
        File list generation time: 0.001 seconds\nTotal bytes sent: 783\nTotal bytes received: 170\n\n\
        sent 783 bytes  received 170 bytes  1906.00 bytes/sec\ntotal size is 20  speedup is 0.02\n";

    #[test]
    fn real_output_is_understood_in_pieces_of_any_size() {
        for size in [1, 7, OUTPUT.len()] {
            let mut reader = Reader::default();
            let steps: Vec<_> = OUTPUT.chunks(size).filter_map(|piece| reader.push(piece)).collect();
            assert_eq!(steps.last(), Some(&Step { bytes: 2, files: Some(2) }));
            // A large file's own progress is told as well, long before it is done.
            assert!(size != 1 || steps[0] == Step { bytes: 2, files: None });
            let summary = reader.finish();
            assert_eq!(summary.differences, 4);
            let counts = Counts {
                bytes_total: 20,
                bytes_sent: 953,
                bytes_literal: 17,
                files_total: 10,
                files_sent: 6,
                files_deleted: 4,
            };
            assert_eq!(summary.counts, counts);
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut reader = Reader::default();
        reader.push(&vec![b'x'; 10 * MAX_LINE]);
        assert_eq!(reader.line.len(), MAX_LINE);
        assert_eq!(reader.finish(), Summary::default());
    }
}
