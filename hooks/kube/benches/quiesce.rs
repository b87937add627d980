//! What it costs to bring PostgreSQL to rest and have it go on: by the hook `postgres-quiesce`, as the controller calls it, and by hand.
//!
//! `quiesce MODULE NAMESPACE ROUNDS KUBECTL` prints one JSON object: seconds from the beginning to the end of each round, both ways.
//! `cargo xtask bench hooks` makes the cluster and the database, and runs this.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what cannot be measured is not measured")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use kube::{Client, Config};
use scribe_hooks::{CompileLimits, Compiler, DEFAULT_MODULE_BYTES, Engine, Loader, Module};
use scribe_hooks_contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger,
};
use scribe_hooks_contract::grants::Grants;
use scribe_hooks_contract::limits::Effective;
use scribe_hooks_contract::points::{Consistency, ReleaseReason};
use scribe_hooks_contract::undo::Undo;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{Call, Identities, Journal, JournalError, Platform, Subject};
use serde_json::json;

/// Makes this program the compiler of modules.
const COMPILE: &str = "compile";
const ACCOUNT: &str = "db-hook";
/// Rounds before those that count.
const WARM_UP: usize = 2;
const HOUR: u64 = 3_600_000;

fn main() -> ExitCode {
    // cargo adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [COMPILE] => return scribe_hooks::worker_main(),
        [module, namespace, rounds, kubectl] => {
            measure(module, namespace, rounds.parse().unwrap(), kubectl);
        }
        _ => panic!("usage: quiesce MODULE NAMESPACE ROUNDS KUBECTL"),
    }
    ExitCode::SUCCESS
}

#[tokio::main]
async fn measure(module: &str, namespace: &str, rounds: usize, kubectl: &str) {
    let world = World::new(module, namespace).await;
    let (mut by_hook, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + rounds {
        // Neither is always the first.
        if round % 2 == 0 {
            by_hook.push(world.by_hook().await);
            by_hand.push(by_hand_once(kubectl, namespace));
        } else {
            by_hand.push(by_hand_once(kubectl, namespace));
            by_hook.push(world.by_hook().await);
        }
    }
    let numbers =
        BTreeMap::from([("hook", by_hook.split_off(WARM_UP)), ("kubectl", by_hand.split_off(WARM_UP))]);
    println!("{}", serde_json::to_string(&numbers).unwrap());
}

/// A checkpoint, a freeze and a thaw, as a script would have it.
fn by_hand_once(kubectl: &str, namespace: &str) -> f64 {
    let run = |container: &str, argv: &[&str]| {
        let mut command = Command::new(kubectl);
        command.args(["exec", "--namespace", namespace, "db", "--container", container, "--"]).args(argv);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{argv:?}");
    };
    let began = Instant::now();
    run("postgres", &["psql", "--quiet", "--command=CHECKPOINT"]);
    run("freezer", &["fsfreeze", "--freeze", "/volume"]);
    run("freezer", &["fsfreeze", "--unfreeze", "/volume"]);
    began.elapsed().as_secs_f64()
}

/// The undo log. In the controller each entry is a write to the API server more.
#[derive(Default)]
struct Memory(Mutex<Vec<Undo>>);

#[async_trait]
impl Journal for Memory {
    async fn write(&self, undo: Undo) -> Result<(), JournalError> {
        self.0.lock().unwrap().push(undo);
        Ok(())
    }
}

struct World {
    acting: Client,
    platform: Platform,
    module: Module,
    grants: Arc<Grants>,
    object: ObjectRef,
}

impl World {
    async fn new(module: &str, namespace: &str) -> Self {
        let config = Config::infer().await.unwrap();
        let own = Client::try_from(config.clone()).unwrap();
        let acting = Identities::new(&config, own.clone()).client(namespace, ACCOUNT).unwrap();
        let platform = Platform::new(own, "bench", HttpClient::new(None).unwrap());
        let compiler = Compiler::new("/proc/self/exe", [COMPILE.into()], CompileLimits::default());
        let loader = Loader::new(Engine::new().unwrap(), compiler, None, DEFAULT_MODULE_BYTES).unwrap();
        let module = loader.load(std::fs::read(module).unwrap()).await.unwrap();
        let grants = json!({ "exec": [
            { "podSelector": { "app": "db" }, "containers": ["postgres"], "commands": [["psql", "**"]] },
            {
                "podSelector": { "app": "db" }, "containers": ["freezer"],
                "commands": [["bash", "-c", "**"], ["flock", "-n", "*", "fsfreeze", "**"]]
            },
        ] });
        let object = ObjectRef {
            api_version: "scribe.dev/v1alpha1".into(),
            kind: "ReplicationSource".into(),
            namespace: namespace.into(),
            name: "db".into(),
            uid: None,
        };
        let grants = Arc::new(serde_json::from_value(grants).unwrap());
        Self { acting, platform, module, grants, object }
    }

    /// Quiesce and release, and what is then undone of what the hook has left, as the controller does it.
    async fn by_hook(&self) -> f64 {
        let journal = Arc::<Memory>::default();
        let context = self.context();
        let began = Instant::now();
        let frozen = self.hook(Some(journal.clone())).quiesce(context.clone()).await.outcome.unwrap();
        let release = self.hook(None);
        let released = release.release(context, Some(frozen.token), ReleaseReason::CutTaken, 1).await;
        let entries = std::mem::take(&mut *journal.0.lock().unwrap());
        for entry in entries.iter().rev() {
            self.platform.undo(&self.acting, &self.object.namespace, entry).await.unwrap();
        }
        let took = began.elapsed().as_secs_f64();
        released.outcome.unwrap();
        assert_eq!((frozen.achieved, entries.len()), (Consistency::Filesystem, 1));
        took
    }

    fn hook(&self, journal: Option<Arc<Memory>>) -> scribe_hooks::Effectful {
        let subject = Subject {
            api_version: self.object.api_version.clone(),
            kind: self.object.kind.clone(),
            namespace: self.object.namespace.clone(),
            name: self.object.name.clone(),
            uid: String::new(),
        };
        let journal = journal.map(|journal| journal as Arc<dyn Journal>);
        let call = Call { acting: self.acting.clone(), subject, module: "postgres-quiesce".into(), journal };
        let host = Arc::new(self.platform.host(call));
        self.module.effectful(Effective::default(), self.grants.clone(), host)
    }

    fn context(&self) -> Context {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        let settings = json!({
            "mode": "fsfreeze", "podSelector": "app=db", "freezeContainer": "freezer", "directory": "/volume",
            "maxSeconds": 60
        });
        Context {
            replication: Replication {
                object: self.object.clone(),
                role: Role::Source,
                generation: 1,
                source_pvc: None,
                destination_pvc: None,
                copy_method: CopyMethod::Clone,
                labels: BTreeMap::new(),
            },
            attempt: Attempt {
                attempt_id: "a1".into(),
                number: 1,
                trigger: Trigger::Schedule,
                now,
                deadline: now + HOUR,
            },
            last: LastSync::default(),
            settings_json: settings.to_string(),
        }
    }
}
