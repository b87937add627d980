//! Whether the ServiceAccounts of hooks may do what their modules were granted: asked while nothing hangs on it, so that a missing right is told
//! before the night in which it is needed.

use crate::backoff::exponential;
use crate::router::Router;
use kube::Client;
use scribe_core::hooks::ActsAs;
use scribe_hooks::contract::grants::Grants;
use scribe_hooks_kube::review::{self, Right};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// How soon it is asked again after something was missing, or nothing was answered: somebody may be mending it.
const SOON: Duration = Duration::from_secs(20);
/// The longest pause where something is missing, and stays so.
const LATE: Duration = Duration::from_mins(2);
/// How soon it is asked again when all was there.
const LATER: Duration = Duration::from_mins(15);
/// Hooks whose rights are asked about at a time. The API server has other things of ours to do.
const AT_A_TIME: usize = 2;
/// How many missing rights are told.
const TOLD: usize = 12;

/// What is asked: by HookModule and ServiceAccount, the rights.
type Question = BTreeMap<(String, ActsAs), BTreeSet<Right>>;
/// What is missing, in words.
type Answer = BTreeMap<(String, ActsAs), Vec<String>>;

/// What the hooks of each object may not do. Cheap to clone.
#[derive(Clone)]
pub struct Rights {
    own: Client,
    router: Arc<Router>,
    known: Arc<Mutex<HashMap<String, Known>>>,
    asking: Arc<Semaphore>,
}

struct Known {
    question: Question,
    answer: Answer,
    task: AbortHandle,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rights {
    /// Asks by that client.
    pub fn new(own: Client, router: Arc<Router>) -> Self {
        Self { own, router, known: Arc::default(), asking: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        // Nothing panics while it holds the lock, and every state of the map is a valid one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is missing, as far as is known. It is found out from now on, as long as it is the same that is asked, and the object is woken when it
    /// is another.
    pub fn missing(
        &self,
        owner: &str,
        namespace: &str,
        hooks: impl Iterator<Item = (String, ActsAs, Arc<Grants>)>,
    ) -> Answer {
        let needed = hooks.map(|(name, acts_as, grants)| ((name, acts_as), review::needed(&grants)));
        let question: Question = needed.filter(|(_, rights)| !rights.is_empty()).collect();
        let mut known = self.known();
        if question.is_empty() {
            known.remove(owner);
            return Answer::new();
        }
        if let Some(known) = known.get(owner).filter(|known| known.question == question) {
            return known.answer.clone();
        }
        let (rights, asked) = (self.clone(), question.clone());
        let (uid, namespace) = (owner.to_owned(), namespace.to_owned());
        let task = tokio::spawn(async move { rights.keep(&uid, &namespace, &asked).await }).abort_handle();
        // What holds without asking anybody.
        let answer: Answer =
            question.keys().filter_map(|key| nobody(key).map(|words| (key.clone(), words))).collect();
        known.insert(owner.to_owned(), Known { question, answer: answer.clone(), task });
        answer
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, owner: &str) {
        self.known().remove(owner);
    }

    /// Asks, again and again, until it is aborted.
    async fn keep(&self, owner: &str, namespace: &str, question: &Question) {
        let mut same = 0;
        loop {
            let mut answer = Answer::new();
            let mut is_sure = true;
            for (key, rights) in question {
                let Some(account) = &key.1 else {
                    answer.extend(nobody(key).map(|words| (key.clone(), words)));
                    continue;
                };
                // It is never closed.
                let _turn = self.asking.acquire().await;
                match review::missing(&self.own, namespace, account, rights).await {
                    Ok(missing) if missing.is_empty() => {}
                    Ok(missing) => {
                        answer.insert(key.clone(), words(&missing));
                    }
                    Err(error) => {
                        is_sure = false;
                        tracing::debug!(namespace, account, %error, "ask for the rights of a hook");
                    }
                }
            }
            let is_well = answer.is_empty() && is_sure;
            // Nothing is taken back on an outage.
            if is_sure && self.learn(owner, question, answer) {
                self.router.wake(owner);
                same = 0;
            }
            same += 1;
            let pause = if is_well { LATER } else { exponential(SOON, LATE, same, rand::random()) };
            tokio::time::sleep(pause).await;
        }
    }

    /// `true`: it is another answer.
    fn learn(&self, owner: &str, question: &Question, answer: Answer) -> bool {
        let mut known = self.known();
        let Some(known) = known.get_mut(owner).filter(|known| known.question == *question) else {
            return false;
        };
        let is_news = known.answer != answer;
        known.answer = answer;
        is_news
    }
}

/// What a hook without a ServiceAccount may not do.
fn nobody((module, acts_as): &(String, ActsAs)) -> Option<Vec<String>> {
    let words = || {
        format!(
            "HookModule {module} is granted what needs a ServiceAccount, and the hook names none: set its serviceAccountName"
        )
    };
    acts_as.is_none().then(|| vec![words()])
}

/// All in one sentence, with what to write into a Role: a user binds one.
fn words(missing: &[review::Missing]) -> Vec<String> {
    let Some(review::Missing { service_account, namespace, .. }) = missing.first() else { return Vec::new() };
    let mut rights: Vec<String> =
        missing.iter().take(TOLD).map(|missing| missing.right.to_string()).collect();
    if missing.len() > TOLD {
        rights.push(format!("and {} more", missing.len() - TOLD));
    }
    let rules = review::rules(missing.iter().take(TOLD).map(|missing| &missing.right));
    vec![format!(
        "ServiceAccount {service_account} may not {} in namespace {namespace}: bind a Role to it with rules: {}",
        rights.join(", "),
        rules.join(", ")
    )]
}
