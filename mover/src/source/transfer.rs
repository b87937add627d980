//! Runs rsync, and watches it.

use super::live::changed_since;
use crate::reason::{Failure, Reason};
use crate::rsync::arguments::Transfer;
use crate::rsync::exit_codes::{Errors, Verdict, judge};
use crate::rsync::forecast::{Tally, TallyReader};
use crate::rsync::output::{Reader, Step, Summary};
use crate::state::StateCell;
use anyhow::{Context, Result};
use scribe_mover_contract::control::Progress;
use scribe_mover_contract::peer::Comparison;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

/// How often a live source is looked at, at most, until nothing of it changed in the middle of a read.
const MAX_LOOKS: u32 = 3;
/// How often progress is published at most.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// Sends the cut.
pub struct Sender<'a> {
    /// Where the cut is mounted.
    pub data: &'a Path,
    /// Where progress is published.
    pub state: &'a StateCell,
    /// What decides the options.
    pub transfer: Transfer<'a>,
    /// Whether the cut has entries with both an access control list and a set-id or sticky bit.
    pub has_special_acls: bool,
}

/// How a transfer ended that did not fail.
pub enum Sent<S = Summary> {
    /// Everything is there.
    All {
        /// What it amounted to.
        summary: S,
        /// Worth saying.
        warnings: Vec<String>,
    },
    /// All but files that changed while they were read. Not publishable.
    Restless {
        /// What it amounted to.
        summary: S,
        /// Which files.
        words: String,
    },
    /// The session is over; the destination says why.
    SessionOver(String),
}

impl Sender<'_> {
    /// Sends everything that differs.
    ///
    /// # Errors
    /// rsync failed.
    pub async fn send(&self) -> Result<Sent, Failure> {
        let started = SystemTime::now();
        let sent = self.send_all().await?;
        let Sent::All { summary, mut warnings } = sent else { return Ok(sent) };
        if self.transfer.is_live {
            warnings.extend(changed_since(self.data, started).await);
        }
        Ok(Sent::All { summary, warnings })
    }

    async fn send_all(&self) -> Result<Sent, Failure> {
        let sent = self.send_at_rest(self.transfer).await?;
        if !(self.has_special_acls && self.transfer.abilities.acls) {
            return Ok(sent);
        }
        let Sent::All { summary, mut warnings } = sent else { return Ok(sent) };
        // rsync 3.5.0 sets the special bits of a new folder after its list, and that takes away what the list said about the
        // group. A second look puts it right, and the content has been seen to already.
        let again = self.send_at_rest(Transfer { comparison: Comparison::Metadata, ..self.transfer }).await?;
        let Sent::All { summary: second, warnings: more } = again else { return Ok(again) };
        warnings.extend(more);
        Ok(Sent::All { summary: summary.merge(second), warnings })
    }

    /// On a live source files change while they are read. What was caught in the middle is looked at again, and not for ever.
    async fn send_at_rest(&self, transfer: Transfer<'_>) -> Result<Sent, Failure> {
        let mut before: Option<Summary> = None;
        let mut words = String::new();
        for _ in 0..MAX_LOOKS {
            let mut merged = |summary: Summary| match before.take() {
                Some(before) => before.merge(summary),
                None => summary,
            };
            match self.send_once(transfer).await? {
                Sent::All { summary, warnings } => {
                    return Ok(Sent::All { summary: merged(summary), warnings });
                }
                Sent::Restless { summary, words: restless } => {
                    words = restless;
                    before = Some(merged(summary));
                }
                over @ Sent::SessionOver(_) => return Ok(over),
            }
        }
        let message = format!(
            "files change faster than they can be read ({MAX_LOOKS} times in a row): {words}; use copyMethod Clone or Snapshot, or exclude them"
        );
        Err(Failure::transient(Reason::TransferFailed, message))
    }

    async fn send_once(&self, transfer: Transfer<'_>) -> Result<Sent, Failure> {
        if transfer.abilities.owners {
            // As root it may change the volume's root too, so one run does it all.
            return self.rsync(transfer.whole(), None).await;
        }
        let pruned = self.rsync(transfer.pruning(), None).await?;
        let Sent::All { summary: pruned, mut warnings } = pruned else { return Ok(pruned) };
        tracing::info!("pruned");
        let sent = self.rsync(transfer.named(), Some(self.data.to_owned())).await?;
        Ok(match sent {
            Sent::All { summary, warnings: more } => {
                warnings.extend(more);
                Sent::All { summary: pruned.merge(summary), warnings }
            }
            Sent::Restless { summary, words } => Sent::Restless { summary: pruned.merge(summary), words },
            over @ Sent::SessionOver(_) => over,
        })
    }

    /// Says what it would do, and does nothing. To be asked before the first write. See [`Transfer::rehearsal`].
    ///
    /// # Errors
    /// rsync failed.
    pub async fn rehearse(&self) -> Result<Sent<Tally>, Failure> {
        self.run(self.transfer.rehearsal(), None, read_tally).await
    }

    async fn rsync(&self, arguments: Vec<OsString>, names: Option<PathBuf>) -> Result<Sent, Failure> {
        self.run(arguments, names, async |stdout| self.read_output(stdout).await).await
    }

    async fn run<S>(
        &self,
        arguments: Vec<OsString>,
        names: Option<PathBuf>,
        read: impl AsyncFnOnce(Option<ChildStdout>) -> S,
    ) -> Result<Sent<S>, Failure> {
        let ended = self.watch(arguments, names, read).await.map_err(|error| Failure::internal(&error))?;
        let (code, summary, errors) = ended;
        if code == Some(0) {
            return Ok(Sent::All { summary, warnings: Vec::new() });
        }
        match judge(code, errors) {
            Verdict::SessionOver(message) => Ok(Sent::SessionOver(message)),
            Verdict::Vanished(line) if self.transfer.is_live => Ok(Sent::All {
                summary,
                warnings: vec![format!("files vanished while they were read: {line}")],
            }),
            Verdict::Changed(words) if self.transfer.is_live => Ok(Sent::Restless { summary, words }),
            Verdict::Changed(line) => {
                let message = format!("files of the cut changed, which a cut does not do: {line}");
                Err(Failure::transient(Reason::TransferFailed, message))
            }
            Verdict::Vanished(line) => {
                let message = format!("files of the cut vanished, which a cut does not do: {line}");
                Err(Failure::transient(Reason::TransferFailed, message))
            }
            Verdict::Failed(failure) => Err(failure),
        }
    }

    async fn watch<S>(
        &self,
        arguments: Vec<OsString>,
        names: Option<PathBuf>,
        read: impl AsyncFnOnce(Option<ChildStdout>) -> S,
    ) -> Result<(Option<i32>, S, Errors)> {
        tracing::debug!(?arguments, "rsync");
        let stdin = if names.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new("rsync")
            .args(arguments)
            .current_dir(self.data)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start rsync")?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let naming = async {
            match (stdin, names) {
                (Some(stdin), Some(folder)) => name_entries(stdin, folder).await,
                _ => Ok(()),
            }
        };
        let (named, summary, errors) = tokio::join!(naming, read(stdout), read_errors(stderr));
        let status = child.wait().await.context("wait for rsync")?;
        // With a list that was cut short, what is missing from it would count as deleted.
        named?;
        Ok((status.code(), summary, errors))
    }

    async fn read_output(&self, stdout: Option<impl AsyncRead + Unpin>) -> Summary {
        let mut reader = Reader::default();
        let mut meter = Meter::new(self.state);
        if let Some(mut stdout) = stdout {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = stdout.read(&mut piece).await {
                if let Some(step) = reader.push(&piece[..length]) {
                    meter.show(step);
                }
            }
        }
        reader.finish()
    }
}

async fn read_tally(stdout: Option<ChildStdout>) -> Tally {
    let mut reader = TallyReader::default();
    if let Some(mut stdout) = stdout {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = stdout.read(&mut piece).await {
            reader.push(&piece[..length]);
        }
    }
    reader.finish()
}

async fn read_errors(stderr: Option<impl AsyncRead + Unpin>) -> Errors {
    let mut errors = Errors::default();
    if let Some(mut stderr) = stderr {
        let mut piece = vec![0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            errors.push(&piece[..length]);
        }
    }
    errors
}

/// Writes the names of a folder's entries as rsync reads them.
async fn name_entries(mut stdin: ChildStdin, folder: PathBuf) -> Result<()> {
    let (sender, mut names) = tokio::sync::mpsc::channel::<Vec<u8>>(16);
    let listing = tokio::task::spawn_blocking(move || list(&folder, &sender));
    while let Some(piece) = names.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            // rsync is gone; its exit code tells why.
            drop(names);
            break;
        }
    }
    drop(stdin);
    listing.await.context("wait for the list of the root's entries")?
}

/// A volume can hold millions of entries in its root: they go in pieces.
fn list(folder: &Path, sender: &tokio::sync::mpsc::Sender<Vec<u8>>) -> Result<()> {
    const PIECE: usize = 64 * 1024;
    let reading = || format!("read {}", folder.display());
    let mut piece = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.file_name() == "lost+found" && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // The "./" keeps names like "#x" and ":x" from meaning something.
        piece.extend(b"./");
        piece.extend(entry.file_name().as_bytes());
        piece.push(0);
        if piece.len() >= PIECE && sender.blocking_send(std::mem::take(&mut piece)).is_err() {
            return Ok(());
        }
    }
    // The other end may have gone; then rsync's exit code tells why.
    let _ = sender.blocking_send(piece);
    Ok(())
}

/// Publishes progress, not too often, with a rate that follows the recent past.
struct Meter<'a> {
    state: &'a StateCell,
    shown: Instant,
    bytes: u64,
    rate: u64,
}

impl<'a> Meter<'a> {
    fn new(state: &'a StateCell) -> Self {
        Self { state, shown: Instant::now(), bytes: 0, rate: 0 }
    }

    fn show(&mut self, step: Step) {
        let elapsed = self.shown.elapsed();
        if elapsed < PROGRESS_PAUSE {
            return;
        }
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let now = step.bytes.saturating_sub(self.bytes).saturating_mul(1000) / milliseconds;
        // The mean of now and before: half of the past is forgotten with each step.
        self.rate = if self.rate == 0 { now } else { u64::midpoint(self.rate, now) };
        (self.shown, self.bytes) = (Instant::now(), step.bytes);
        let rate = self.rate;
        self.state.change(|state| {
            let progress = state.progress.get_or_insert_with(Progress::default);
            progress.bytes_done = step.bytes.min(progress.bytes_total);
            if let Some(files) = step.files {
                progress.files_done = files.min(progress.files_total);
            }
            progress.rate = rate;
        });
    }
}
