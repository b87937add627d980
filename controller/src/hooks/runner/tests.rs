//! In which order a quiesce and its release go on.

use super::*;
use crate::hooks::fetch::{Dialer, Fetcher, Https, Oci};
use crate::router::Router;
use scribe_core::hooks::ReleaseRequest;
use scribe_hooks::contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger,
};
use scribe_hooks::contract::points::ReleaseReason;
use scribe_hooks::contract::undo::{Change, Changed, Place, Undo};
use scribe_hooks::{CompileLimits, Compiler, Engine, Loader};
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{Identities, JournalError};
use tokio::sync::Notify;

const OWNER: &str = "uid";

/// With nothing around it: no module, and no API server.
fn runner() -> Runner {
    // Whoever was first has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = kube::Client::try_from(config.clone()).unwrap();
    let router = Arc::new(Router::new().0);
    let compiler = Compiler::new("/bin/false", [], CompileLimits::default());
    let loader = Loader::new(Engine::new().unwrap(), compiler, None, 1 << 20).unwrap();
    let identities = Identities::new(&config, client.clone());
    let (dialer, https) = (Dialer::new(Vec::new()), Https::new(None, Dialer::new(Vec::new())).unwrap());
    let oci = Oci::new(None, dialer, identities.clone()).unwrap();
    let fetcher = Fetcher::new(client.clone(), https, oci, None, 1 << 20);
    let budget = Budget { calls: 64, code: 64 };
    let store = Store::new(loader, fetcher, router.clone(), budget);
    let effects = Effects::new(identities, client, "test", HttpClient::new(None).unwrap()).unwrap();
    let runs = HookRuns::new(&prometheus::Registry::new()).unwrap();
    Runner::new(store, router, runs, effects, budget)
}

fn journal(runner: &Runner, call: &str) -> Arc<StatusJournal> {
    Arc::new(StatusJournal {
        shared: runner.shared.clone(),
        owner: OWNER.to_owned(),
        call: call.to_owned(),
        sessions: Mutex::default(),
    })
}

/// Enters a quiesce that runs until it is ended, and takes its time for that.
fn quiesce(runner: &Runner) -> Arc<Notify> {
    struct Slow(Arc<Notify>);
    impl Drop for Slow {
        fn drop(&mut self) {
            // Whoever waits for the end of the task hears of this before.
            std::thread::sleep(Duration::from_millis(50));
            self.0.notify_one();
        }
    }
    let ended = Arc::new(Notify::new());
    let slow = Slow(ended.clone());
    let (sender, over) = watch::channel(());
    let task = tokio::spawn(async move {
        let _slow = slow;
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    let call =
        Call { seen: CallSeen::Running, task: task.abort_handle(), is_quiesce: true, over, question: None };
    runner.shared.calls().entry(OWNER.to_owned()).or_default().insert("quiesce".to_owned(), call);
    ended
}

fn release() -> HookCall {
    let object = ObjectRef {
        api_version: "scribe.dev/v1alpha1".to_owned(),
        kind: "ReplicationSource".to_owned(),
        namespace: "shop".to_owned(),
        name: "db".to_owned(),
        uid: None,
    };
    let replication = Replication {
        object,
        role: Role::Source,
        generation: 1,
        source_pvc: None,
        destination_pvc: None,
        copy_method: CopyMethod::Clone,
        labels: BTreeMap::new(),
    };
    let attempt =
        Attempt { attempt_id: "a".to_owned(), number: 1, trigger: Trigger::Schedule, now: 0, deadline: 1000 };
    let context = Context { replication, attempt, last: LastSync::default(), settings_json: "{}".to_owned() };
    let request = ReleaseRequest { context, token: None, reason: ReleaseReason::WindowExpired, number: 1 };
    HookCall {
        id: "release".to_owned(),
        module: "m".to_owned(),
        digest: "d".to_owned(),
        request: HookRequest::Release(Box::new(request), None),
    }
}

async fn done(runner: &Runner, id: &str) -> Result<HookAnswer, HookFailure> {
    loop {
        if let Some(CallSeen::Done(result)) = runner.seen(OWNER).remove(id) {
            return result;
        }
        tokio::task::yield_now().await;
    }
}

/// What comes by itself: whoever waits for it for good has found a fault.
async fn soon<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), awaited).await.expect("nothing came")
}

fn scale(id: &str) -> Undo {
    let workload = Changed {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        resource: "deployments".to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
    };
    Undo { id: id.to_owned(), change: Change::Scale { workload, set: 0, restore: 1 } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_begins_when_nothing_of_the_quiesce_goes_on() {
    let runner = runner();
    let ended = quiesce(&runner);
    runner.ask(OWNER, "shop", &release());
    done(&runner, "release").await.unwrap_err();
    let is_ended = tokio::time::timeout(Duration::ZERO, ended.notified()).await;
    assert!(is_ended.is_ok(), "the release was over before the quiesce");
    let error = done(&runner, "quiesce").await.unwrap_err();
    assert_eq!(error.reason, Reason::HookUnavailable);
}

#[tokio::test]
async fn what_was_ended_freezes_nothing_more() {
    let runner = runner();
    let _ended = quiesce(&runner);
    let (one, two) = (journal(&runner, "quiesce"), journal(&runner, "quiesce"));
    let asks = tokio::spawn(async move { one.write(scale("one")).await });
    while runner.seen(OWNER)["quiesce"] != CallSeen::Asks(scale("one")) {
        tokio::task::yield_now().await;
    }
    runner.ask(OWNER, "shop", &release());
    assert_eq!(soon(asks).await.unwrap(), Err(JournalError::Closed));
    runner.answer(OWNER, "quiesce", "one", Ok(()));
    assert_eq!(soon(two.write(scale("two"))).await, Err(JournalError::Closed));
    assert!(matches!(runner.seen(OWNER)["quiesce"], CallSeen::Done(Err(_))));
}

#[tokio::test]
async fn an_entry_is_there_when_its_own_answer_says_so() {
    let runner = runner();
    let _ended = quiesce(&runner);
    let journal = journal(&runner, "quiesce");
    let place = Place { pod: "db-0".to_owned(), uid: "u".to_owned(), container: "db".to_owned() };
    let session = Undo { id: "one".to_owned(), change: Change::Session { place } };
    let asks = tokio::spawn({
        let (journal, session) = (journal.clone(), session.clone());
        async move { journal.write(session).await }
    });
    while runner.seen(OWNER)["quiesce"] != CallSeen::Asks(session.clone()) {
        tokio::task::yield_now().await;
    }
    // That of another one, or of an earlier pass, is none.
    runner.answer(OWNER, "quiesce", "two", Ok(()));
    assert_eq!(runner.seen(OWNER)["quiesce"], CallSeen::Asks(session));
    assert!(!asks.is_finished() && journal.sessions().is_empty());
    runner.answer(OWNER, "quiesce", "one", Ok(()));
    assert_eq!(soon(asks).await.unwrap(), Ok(()));
    assert_eq!(*journal.sessions(), ["one"]);
    assert_eq!(runner.seen(OWNER)["quiesce"], CallSeen::Running);
}

#[tokio::test]
async fn a_call_with_effects_is_made_once() {
    let runner = runner();
    runner.ask(OWNER, "shop", &release());
    let first = done(&runner, "release").await;
    runner.ask(OWNER, "shop", &release());
    assert_eq!(runner.seen(OWNER)["release"], CallSeen::Done(first));
    runner.keep_only(OWNER, &BTreeSet::new());
    assert!(runner.seen(OWNER).is_empty());
}
