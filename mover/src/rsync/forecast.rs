//! What a dry run says. As with [`super::output`], no line that is read here holds a name.

use scribe_mover_contract::guards::Forecast;

/// What a dry run amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries of the source.
    source: Option<Entries>,
    /// Those of them that the destination has nothing of that kind of.
    created: Option<Entries>,
    /// Entries of the destination that are to go.
    deleted: Option<Entries>,
    /// Files that are there and are to be sent.
    rewritten: u64,
    /// The size of all files of the source, in bytes.
    bytes: Option<u64>,
    /// The size of those that are new, in bytes.
    created_bytes: u64,
}

/// A number of entries as rsync gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entries {
    all: u64,
    folders: u64,
}

impl Entries {
    fn files(self) -> u64 {
        self.all.saturating_sub(self.folders)
    }

    /// `10 (reg: 7, dir: 3)`, and without the brackets if there are none.
    fn read(value: &str) -> Option<Self> {
        let (all, kinds) = value.split_once(' ').unwrap_or((value, ""));
        let kinds = kinds.trim_start_matches('(').trim_end_matches(')').split(", ");
        let folders =
            kinds.filter_map(|kind| kind.strip_prefix("dir: ")).find_map(|number| number.parse().ok());
        Some(Self { all: all.parse().ok()?, folders: folders.unwrap_or_default() })
    }
}

impl Tally {
    /// What is to become of a claim into which the last commit brought that many bytes. Nothing, if a number is missing.
    pub fn forecast(&self, bytes: Option<u64>) -> Option<Forecast> {
        let (source, deleted) = (self.source?.files(), self.deleted?.files());
        // What the source has and is not new is there, whatever is in it.
        let common = source.saturating_sub(self.created?.files());
        let common_bytes = self.bytes?.saturating_sub(self.created_bytes);
        Some(Forecast {
            source_files: source,
            files: common + deleted,
            deleted_files: deleted,
            rewritten_files: self.rewritten,
            bytes,
            deleted_bytes: bytes.unwrap_or_default().saturating_sub(common_bytes),
        })
    }
}

/// Collects standard output piece by piece.
#[derive(Debug, Default)]
pub struct TallyReader {
    line: Vec<u8>,
    tally: Tally,
}

/// No line that we asked for is nearly as long.
const MAX_LINE: usize = 1024;
/// The end of what `%i` says of an entry that is not there yet.
const NEW: &str = "+++++++++";

impl TallyReader {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &byte in piece {
            match byte {
                b'\n' => self.finish_line(),
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    /// What it all amounted to.
    pub fn finish(mut self) -> Tally {
        self.finish_line();
        self.tally
    }

    fn finish_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if let Some((name, value)) = line.split_once(": ") {
            self.read_total(name, value);
        } else if let Some((what, length)) = line.split_once(' ').filter(|(what, _)| what.len() == 11) {
            self.read_entry(what, length.parse().unwrap_or_default());
        }
    }

    fn read_total(&mut self, name: &str, value: &str) {
        let tally = &mut self.tally;
        let entries = Entries::read(value);
        match name {
            "Number of files" => tally.source = entries,
            "Number of created files" => tally.created = entries,
            "Number of deleted files" => tally.deleted = entries,
            "Total file size" => tally.bytes = entries.map(|bytes| bytes.all),
            _ => {}
        }
    }

    /// `%i %l`: what is done to what, and its size.
    fn read_entry(&mut self, what: &str, length: u64) {
        match (what.get(..2), what.get(2..)) {
            (Some("<f" | "cL"), Some(NEW)) => self.tally.created_bytes += length,
            (Some("<f"), _) => self.tally.rewritten += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rsync 3.5.0 prints it.
    const OUTPUT: &[u8] =
        b"*deleting   0\n*deleting   0\n<f.s....... 7\ncLc.t...... 1\n<f+++++++++ 4\n<f..t...... 4\n\
        cL+++++++++ 1\n*deleting   0\n.d..t...... 4096\ncd+++++++++ 4096\n<f+++++++++ 2\n\n\
        Number of files: 11 (reg: 6, dir: 3, link: 2)\nNumber of created files: 4 (reg: 2, dir: 1, link: 1)\n\
        Number of deleted files: 13 (reg: 11, dir: 2)\nNumber of regular files transferred: 4\n\
        Total file size: 29 bytes\nTotal transferred file size: 22 bytes\nLiteral data: 0 bytes\n\
        Matched data: 0 bytes\nFile list size: 0\nTotal bytes sent: 270\nTotal bytes received: 213\n\n\
        sent 270 bytes  received 213 bytes  966.00 bytes/sec\ntotal size is 29  speedup is 0.06 (DRY RUN)\n";

    fn read(output: &[u8], size: usize) -> Tally {
        let mut reader = TallyReader::default();
        output.chunks(size).for_each(|piece| reader.push(piece));
        reader.finish()
    }

    #[test]
    fn real_output_is_understood_in_pieces_of_any_size() {
        for size in [1, 7, OUTPUT.len()] {
            let tally = read(OUTPUT, size);
            let expected = Forecast {
                source_files: 8,
                // Five are there and stay, and eleven go.
                files: 16,
                deleted_files: 11,
                rewritten_files: 2,
                bytes: Some(100),
                // Of the 29, seven are new.
                deleted_bytes: 78,
            };
            assert_eq!(tally.forecast(Some(100)), Some(expected.clone()));
            assert_eq!(tally.forecast(None), Some(Forecast { bytes: None, deleted_bytes: 0, ..expected }));
        }
    }

    #[test]
    fn what_was_cut_short_is_no_forecast() {
        let text = String::from_utf8(OUTPUT.to_vec()).unwrap();
        for missing in ["Number of files", "Number of created", "Number of deleted", "Total file size"] {
            let rest: Vec<_> = text.lines().filter(|line| !line.starts_with(missing)).collect();
            assert_eq!(read(rest.join("\n").as_bytes(), 9).forecast(None), None, "{missing}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut reader = TallyReader::default();
        reader.push(&vec![b'x'; 10 * MAX_LINE]);
        assert_eq!(reader.line.len(), MAX_LINE);
        assert_eq!(reader.finish(), Tally::default());
    }
}
