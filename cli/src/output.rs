//! Standard output and standard error, either of which may be a pipe that nobody reads any more.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes to standard output. Whoever reads it may have seen enough, as `head` has: the rest is lost then, and nothing is wrong.
///
/// # Errors
///
/// It cannot be written: to a file on a full disk.
pub fn print(text: impl Display) -> Result<()> {
    write(&mut io::stdout().lock(), text).context("write to standard output")
}

/// Writes a line to standard error. Where that cannot be done there is nobody left to tell.
pub fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn write(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails like that.
    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_that_went_away_is_no_failure() {
        assert!(write(&mut Fails(ErrorKind::BrokenPipe), "text").is_ok());
        let error = write(&mut Fails(ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
