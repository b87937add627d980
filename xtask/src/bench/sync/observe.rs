//! Watches everything that has to do with a sync, and reads the movers' logs.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::runtime::watcher::{self, Event, watcher};
use scribe_tests::site::Site;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::timeline::{Moment, Seen};

/// Between two looks for the log of a mover that starts. Not a measure of anything: lines bear their own times.
const LOOK: Duration = Duration::from_millis(5);
/// How long a sync may take; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Everything that is told of from here on.
pub struct Observer {
    moments: UnboundedReceiver<Moment>,
    logs: Logs,
    /// Ended when this is dropped.
    _watches: JoinSet<()>,
}

/// The open logs of source movers, by pod. What is open can be read after the kubelet has removed it with the pod.
type Logs = Arc<Mutex<HashMap<String, File>>>;

impl Observer {
    pub fn new(source: &Site, destination: &Site) -> Self {
        let (sender, moments) = unbounded_channel();
        let mut watches = JoinSet::new();
        let logs = Logs::default();
        follow(&mut watches, source, &sender, |rs| Seen::Source(Box::new(rs)));
        follow(&mut watches, source, &sender, |claim| Seen::Claim(Box::new(claim)));
        follow(&mut watches, source, &sender, |pod| Seen::Pod(Box::new(pod)));
        follow(&mut watches, destination, &sender, |rd| Seen::Destination(Box::new(rd)));
        follow(&mut watches, destination, &sender, |snapshot| Seen::Snapshot(Box::new(snapshot)));
        let (folder, namespace, open) = (source.cluster.pod_logs(), source.namespace.clone(), logs.clone());
        watches.spawn(async move {
            loop {
                open_new(&folder, &format!("{namespace}_scribe-src-"), &open);
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { moments, logs, _watches: watches }
    }

    /// Forgets what was seen so far.
    pub fn clear(&mut self) {
        while self.moments.try_recv().is_ok() {}
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until one of the moments satisfies the condition, and adds all up to it.
    ///
    /// # Errors
    /// It does not come: the error says what was awaited.
    pub async fn until(
        &mut self,
        awaited: &str,
        moments: &mut Vec<Moment>,
        mut is_there: impl FnMut(&Seen) -> bool,
    ) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Ok(moment) = tokio::time::timeout_at(deadline, self.moments.recv()).await {
            let moment = moment.context("the watches have ended")?;
            let found = is_there(&moment.seen);
            moments.push(moment);
            if found {
                return Ok(());
            }
        }
        bail!("{awaited}: not within {} s", PATIENCE.as_secs())
    }

    /// What the source's movers have logged since the last [`Self::clear`].
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn source_lines(&self) -> Result<Vec<Moment>> {
        let mut moments = Vec::new();
        for log in self.logs.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            log.seek(SeekFrom::Start(0)).context("read a mover's log")?;
            moments.extend(lines(log, Seen::Sends)?);
        }
        Ok(moments)
    }
}

fn follow<K>(
    watches: &mut JoinSet<()>,
    site: &Site,
    sender: &UnboundedSender<Moment>,
    seen: impl Fn(K) -> Seen + Send + 'static,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let mut events = watcher(site.api::<K>(), watcher::Config::default()).boxed();
    let sender = sender.clone();
    watches.spawn(async move {
        // An error is followed by another try; what was missed then shows in the list that it begins with.
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                // Whoever listened may be gone.
                let _ = sender.send(Moment { at: Timestamp::now(), seen: seen(object) });
            }
        }
    });
}

fn open_new(folder: &std::path::Path, prefix: &str, logs: &Logs) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix)
            && !logs.contains_key(&name)
            && let Ok(file) = File::open(entry.path().join("mover/0.log"))
        {
            logs.insert(name, file);
        }
    }
}

/// The log of a destination's mover, which serves many syncs.
pub struct DestinationLog {
    log: File,
}

impl DestinationLog {
    /// Finds it.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(destination: &Site) -> Result<Self> {
        let prefix = format!("{}_scribe-dst-", destination.namespace);
        let folder = destination.cluster.pod_logs();
        let entries = std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let logs: Vec<PathBuf> = ours.map(|entry| entry.path().join("mover/0.log")).collect();
        let [log] = logs.as_slice() else { bail!("there are {} destination movers, not one", logs.len()) };
        Ok(Self { log: File::open(log).with_context(|| format!("open {}", log.display()))? })
    }

    /// What was logged since the last call.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn new_lines(&mut self) -> Result<Vec<Moment>> {
        lines(&mut self.log, Seen::Receives)
    }
}

fn lines(log: &mut File, seen: fn(String) -> Seen) -> Result<Vec<Moment>> {
    let mut text = String::new();
    log.read_to_string(&mut text).context("read a mover's log")?;
    Ok(text.lines().filter_map(parse).map(|(at, line)| Moment { at, seen: seen(line) }).collect())
}

/// A line as containerd writes it: its time, the stream, whether it is whole, and the text.
fn parse(line: &str) -> Option<(Timestamp, String)> {
    let mut words = line.splitn(4, ' ');
    let at = words.next()?.parse().ok()?;
    Some((at, words.nth(2)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let (at, text) = parse("2026-01-01T00:00:00.123456789Z stderr F  INFO a b c").unwrap();
        assert_eq!(
            (at.to_string().as_str(), text.as_str()),
            ("2026-01-01T00:00:00.123456789Z", " INFO a b c")
        );
        assert_eq!(parse("something else"), None);
    }
}
