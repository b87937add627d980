//! What this process holds: sessions, and changes that are under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::{Command, ExecError, FreezeError};
use scribe_hooks_contract::undo::Place;
use tokio::sync::watch;

use crate::stream::{End, Output, open};

/// Sessions that one process holds: each is a connection.
const MOST_SESSIONS: usize = 256;
/// Those of one namespace.
const MOST_OF_ONE: usize = 64;
/// How long a command may take to end when its stdin has.
pub(crate) const LAST_BREATH: Duration = Duration::from_secs(30);
/// Bytes of a line in which the ready marker is looked for, and of what is shown of stderr.
const LINE_BYTES: usize = 16 << 10;
const SHOWN_BYTES: usize = 1 << 10;

/// What this process holds. One for the life of a process; clones are the same one.
///
/// # Caveats
///
/// A session dies with its process, and so does what it held: nobody need release it, and nobody can tell that it is still held.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    held: HashMap<String, Held>,
    /// Changes that were begun. Their ends are waited for before they are undone.
    begun: HashMap<String, watch::Receiver<()>>,
}

impl Registry {
    /// Room for one more session of that namespace.
    fn make_room(&mut self, namespace: &str) -> Result<(), FreezeError> {
        let of_one =
            |held: &HashMap<String, Held>| held.values().filter(|other| other.namespace == namespace).count();
        if self.held.len() >= MOST_SESSIONS || of_one(&self.held) >= MOST_OF_ONE {
            // Ended, and never undone: an undo finds nothing to do.
            self.held.retain(|_, held| !matches!(*held.state.borrow(), State::Ended { .. }));
        }
        if of_one(&self.held) >= MOST_OF_ONE {
            let why = format!("{MOST_OF_ONE} sessions of namespace {namespace} are held already");
            return Err(FreezeError::Failed(why));
        }
        if self.held.len() >= MOST_SESSIONS {
            return Err(FreezeError::Failed(format!("{MOST_SESSIONS} sessions are held already")));
        }
        Ok(())
    }
}

struct Held {
    /// The uid of the object for which it is held.
    owner: String,
    namespace: String,
    release: watch::Sender<bool>,
    state: watch::Receiver<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Holding,
    Ended {
        how: String,
        /// Whether it had been holding: whoever waits for that may see the end only.
        has_held: bool,
    },
}

/// A session to start.
pub(crate) struct Start {
    pub id: String,
    pub client: Client,
    /// The uid of the object for which it is held.
    pub owner: String,
    pub namespace: String,
    pub place: Place,
    pub command: Command,
    pub ready_marker: String,
}

/// A change that was begun. It is over when this is dropped.
pub(crate) struct Begun {
    sessions: Sessions,
    id: String,
    _over: watch::Sender<()>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.sessions.registry().begun.remove(&self.id);
    }
}

/// How the release of a session went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Released {
    Ended(String),
    /// This process holds no such session.
    Unknown,
    StillRunning,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("held", &self.count()).finish()
    }
}

impl Sessions {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session of that entry of an undo log still holds. `false` means that what it held is free: what was cut since may be torn.
    pub fn holds(&self, id: &str) -> bool {
        self.registry().held.get(id).is_some_and(|held| *held.state.borrow() == State::Holding)
    }

    /// Waits until the session of that entry holds no longer, and says how it ended. At once where it is not held here.
    pub async fn ended(&self, id: &str) -> String {
        let state = self.registry().held.get(id).map(|held| held.state.clone());
        match state {
            Some(state) => how_it_ended(state).await,
            None => "it is not held by this process".to_owned(),
        }
    }

    /// How many sessions are held.
    pub fn count(&self) -> usize {
        self.registry().held.values().filter(|held| *held.state.borrow() == State::Holding).count()
    }

    /// Says that a change is under way, until the answer is dropped.
    pub(crate) fn begin(&self, id: &str) -> Begun {
        let (over, receiver) = watch::channel(());
        self.registry().begun.insert(id.to_owned(), receiver);
        Begun { sessions: self.clone(), id: id.to_owned(), _over: over }
    }

    /// Whether that change is under way.
    pub(crate) fn is_under_way(&self, id: &str) -> bool {
        self.registry().begun.contains_key(id)
    }

    /// Waits until that change is no longer under way.
    pub(crate) async fn settled(&self, id: &str) {
        let begun = self.registry().begun.get(id).cloned();
        if let Some(mut begun) = begun {
            // Nothing is ever sent: the only news is that the sender is gone.
            let _ = begun.changed().await;
        }
    }

    /// Starts a session, and waits until it is ready.
    ///
    /// To drop this future releases the session. Whatever comes of it, the session is known by its id until it is released.
    pub(crate) async fn start(&self, start: Start) -> Result<(), FreezeError> {
        let limit = Duration::from_secs(start.command.timeout_seconds.max(1).into());
        let marker = start.ready_marker.clone();
        let (release, released) = watch::channel(false);
        let (news, mut state) = watch::channel(State::Starting);
        {
            let mut registry = self.registry();
            registry.make_room(&start.namespace)?;
            let (owner, namespace) = (start.owner.clone(), start.namespace.clone());
            let held = Held { owner, namespace, release: release.clone(), state: state.clone() };
            registry.held.insert(start.id.clone(), held);
        }
        let mut given_up = ReleaseOnDrop(Some(release));
        tokio::spawn(async move {
            let end = keep(&start, released, &news).await;
            let why = match end {
                Ok(why) => why,
                Err(error) => explain(error),
            };
            let has_held = *news.borrow() == State::Holding;
            news.send_replace(State::Ended { how: why, has_held });
        });
        let ready = state.wait_for(|state| *state != State::Starting);
        match tokio::time::timeout(limit, ready).await.map(|ready| ready.map(|state| state.clone())) {
            // That it holds no longer is for the next look.
            Ok(Ok(State::Holding | State::Ended { has_held: true, .. })) => {
                given_up.0 = None;
                Ok(())
            }
            Ok(Ok(State::Ended { how, has_held: false })) => {
                Err(FreezeError::Failed(format!("the command ended before it printed `{marker}`: {how}")))
            }
            Ok(Ok(State::Starting) | Err(_)) => Err(FreezeError::Failed("the session was lost".to_owned())),
            Err(_) => Err(FreezeError::Failed(format!(
                "the command has not printed `{marker}` within {} s",
                limit.as_secs()
            ))),
        }
    }

    /// Ends the stdin of every session that is held for that object, and waits for nothing. They are not known any more.
    pub fn let_go_of(&self, owner: &str) {
        // Whoever keeps one hears that nobody can release it any more, which is as good as a release.
        self.registry().held.retain(|_, held| held.owner != owner);
    }

    /// Ends the stdin of a session, and waits for the end of its command, for a while. Known until that was seen.
    pub(crate) async fn release(&self, id: &str) -> Released {
        let state = {
            let registry = self.registry();
            let Some(held) = registry.held.get(id) else { return Released::Unknown };
            held.release.send_replace(true);
            held.state.clone()
        };
        match tokio::time::timeout(LAST_BREATH, how_it_ended(state)).await {
            Ok(how) => {
                self.registry().held.remove(id);
                Released::Ended(how)
            }
            Err(_) => Released::StillRunning,
        }
    }
}

async fn how_it_ended(mut state: watch::Receiver<State>) -> String {
    let ended = state.wait_for(|state| matches!(state, State::Ended { .. })).await;
    match ended.map(|state| state.clone()) {
        Ok(State::Ended { how, .. }) => how,
        _ => "the task that held it is gone".to_owned(),
    }
}

struct ReleaseOnDrop(Option<watch::Sender<bool>>);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release.send_replace(true);
        }
    }
}

/// Runs the command of a session to its end, and says how it ended.
async fn keep(
    start: &Start,
    mut released: watch::Receiver<bool>,
    news: &watch::Sender<State>,
) -> Result<String, ExecError> {
    let Start { client, namespace, place, command, ready_marker, .. } = start;
    let opening = open(client, namespace, place, &command.argv);
    let stream = tokio::select! {
        stream = opening => stream?,
        // Given up before it was there.
        _ = released.wait_for(|is_released| *is_released) => return Ok("it was not started".to_owned()),
    };
    let (mut marker, mut errors) = (Marker::new(ready_marker), Vec::new());
    let release = async {
        let _ = released.wait_for(|is_released| *is_released).await;
    };
    let end = stream
        .run(&command.stdin, release, |output, bytes| match output {
            Output::Stdout if marker.seen(bytes) => {
                news.send_replace(State::Holding);
            }
            Output::Stdout => {}
            Output::Stderr => {
                let room = SHOWN_BYTES.saturating_sub(errors.len()).min(bytes.len());
                errors.extend_from_slice(&bytes[..room]);
            }
        })
        .await;
    let how = match end {
        End::Exited(code) => format!("exit code {code}"),
        End::Lost(why) => why,
    };
    let errors = sanitize::line(String::from_utf8_lossy(&errors).trim(), SHOWN_BYTES);
    Ok(if errors.is_empty() { how } else { format!("{how}: {errors}") })
}

/// Looks for a line that contains the marker.
struct Marker {
    wanted: Vec<u8>,
    line: Vec<u8>,
    is_found: bool,
}

impl Marker {
    fn new(wanted: &str) -> Self {
        Self { wanted: wanted.as_bytes().to_vec(), line: Vec::new(), is_found: false }
    }

    /// Whether this is where it was found.
    fn seen(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.is_found {
                return false;
            }
            let room = LINE_BYTES.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            // A whole line: half of one may be about to say `not ready`.
            if part.ends_with(b"\n") {
                self.is_found =
                    self.line.windows(self.wanted.len().max(1)).any(|window| window == self.wanted);
                self.line.clear();
                if self.is_found {
                    return true;
                }
            }
        }
        false
    }
}

/// An error of a command, for people.
pub(crate) fn explain(error: ExecError) -> String {
    match error {
        ExecError::Denied(why)
        | ExecError::NoSuchTarget(why)
        | ExecError::NotRunning(why)
        | ExecError::Unavailable(why) => why,
        ExecError::TimedOut => "it took too long".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_a_whole_line_and_once() {
        let mut marker = Marker::new("ready");
        assert!(!marker.seen(b"starting\nnearly rea"));
        assert!(!marker.seen(b"dy"));
        assert!(marker.seen(b" now\nready\n"));
        assert!(!marker.seen(b"ready\n"));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut marker = Marker::new("ready");
        for _ in 0..1000 {
            assert!(!marker.seen(&[b'x'; 1024]));
        }
        assert!(marker.line.len() <= LINE_BYTES);
        assert!(marker.seen(b"\nready\n"));
    }

    fn hold(registry: &mut Registry, id: String, namespace: &str, state: State) -> watch::Receiver<bool> {
        let (release, released) = watch::channel(false);
        let (_news, state) = watch::channel(state);
        // One object in each namespace.
        let held =
            Held { owner: format!("uid-{namespace}"), namespace: namespace.to_owned(), release, state };
        registry.held.insert(id, held);
        released
    }

    #[test]
    fn a_namespace_does_not_hold_all_sessions() {
        let mut registry = Registry::default();
        hold(&mut registry, "ended".to_owned(), "a", State::Ended { how: String::new(), has_held: true });
        for number in 1..MOST_OF_ONE {
            hold(&mut registry, number.to_string(), "a", State::Holding);
        }
        registry.make_room("a").unwrap();
        hold(&mut registry, "last".to_owned(), "a", State::Holding);
        let told = registry.make_room("a").unwrap_err();
        assert!(format!("{told:?}").contains("namespace a"), "{told:?}");
        registry.make_room("b").unwrap();
    }

    #[tokio::test]
    async fn who_is_let_go_hears_of_it() {
        let sessions = Sessions::default();
        let mut released = hold(&mut sessions.registry(), "1".to_owned(), "a", State::Holding);
        let mut other = hold(&mut sessions.registry(), "2".to_owned(), "b", State::Holding);
        sessions.let_go_of("uid-a");
        // As `keep` waits for it.
        let heard = released.wait_for(|is_released| *is_released);
        let heard =
            tokio::time::timeout(Duration::from_secs(30), heard).await.expect("it does not hear of it");
        assert!(heard.is_err());
        assert!(!sessions.holds("1"));
        assert!(sessions.holds("2") && futures::poll!(Box::pin(other.changed())).is_pending());
    }

    #[tokio::test]
    async fn what_is_under_way_is_waited_for() {
        let sessions = Sessions::default();
        sessions.settled("1").await;
        let begun = sessions.begin("1");
        let mut waiting = Box::pin(sessions.settled("1"));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(begun);
        waiting.await;
        sessions.settled("1").await;
        assert!(!sessions.is_under_way("1"));
    }

    #[tokio::test]
    async fn what_is_not_held_here_is_unknown() {
        let sessions = Sessions::default();
        assert!(!sessions.holds("1"));
        assert_eq!(sessions.release("1").await, Released::Unknown);
        assert_eq!(sessions.ended("1").await, "it is not held by this process");
    }
}
