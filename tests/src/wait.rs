//! Waiting for the state of an object instead of for time to pass.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a condition may take. Generous: it is paid only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at something that cannot be watched.
const POLL: Duration = Duration::from_millis(100);

/// Watches one object until the condition holds for it (`None`: it does not exist), for at most [`PATIENCE`].
///
/// Returns the object as it was then.
///
/// # Errors
/// The deadline passed: the error says what was awaited, and shows the object as it was last seen.
pub async fn await_condition<K>(
    api: &Api<K>,
    name: &str,
    awaited: &str,
    condition: impl Fn(Option<&K>) -> bool,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    await_condition_within(PATIENCE, api, name, awaited, condition).await
}

/// [`await_condition`] with a deadline of its own.
///
/// # Errors
/// Those of [`await_condition`].
pub async fn await_condition_within<K>(
    patience: Duration,
    api: &Api<K>,
    name: &str,
    awaited: &str,
    condition: impl Fn(Option<&K>) -> bool,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let mut last: Option<K> = None;
    let watch = async {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher::watcher(api.clone(), config).boxed();
        // `Init` starts a list, which may end without the object: only its end tells that there is none.
        let (mut listing, mut listed) = (true, None);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => (listing, listed) = (true, None),
                Ok(Event::InitApply(object)) => listed = Some(object),
                Ok(Event::InitDone) => (listing, last) = (false, listed.take()),
                Ok(Event::Apply(object)) => last = Some(object),
                Ok(Event::Delete(_)) => last = None,
                // The watcher comes back by itself; the deadline decides when that is too late.
                Err(_) => continue,
            }
            if !listing && condition(last.as_ref()) {
                return;
            }
        }
    };
    let met = tokio::time::timeout(patience, watch).await.is_ok();
    if met { Ok(last) } else { Err(too_late(patience, name, awaited, last.as_ref())) }
}

fn too_late<K: Serialize>(patience: Duration, name: &str, awaited: &str, last: Option<&K>) -> anyhow::Error {
    let state = last.map_or_else(
        || "it does not exist".to_owned(),
        |object| serde_saphyr::to_string(object).unwrap_or_default(),
    );
    anyhow!("{name} is not {awaited} after {} s; last seen:\n{state}", patience.as_secs())
}

/// Calls `probe` until it succeeds, for at most `patience`: for what cannot be watched.
///
/// # Errors
/// The deadline passed: the error holds the last failure.
pub async fn eventually<T, F>(patience: Duration, awaited: &str, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = tokio::time::Instant::now() + patience;
    let mut last = None;
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            let error = last.unwrap_or_else(|| anyhow!("no answer at all"));
            return Err(error).context(format!("{awaited}: not within {} s", patience.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    }
}
