//! What the cases begin with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use scribe_hooks::contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger,
};
use scribe_hooks::contract::limits::Effective;
use scribe_hooks::contract::retention::ReplicaPoint;
use scribe_hooks::{Cache, CompileLimits, Compiler, DEFAULT_MODULE_BYTES, Engine, Loader, Module};

pub const COMPILER: &str = env!("CARGO_BIN_EXE_scribe-hooks-compiler");
pub const NOW: u64 = 1_700_000_000_000;

/// One for all cases: it reserves much address space.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap()).clone()
}

pub fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::new(COMPILER, [], limits)
}

pub fn loader() -> Loader {
    Loader::new(engine(), compiler(CompileLimits::default()), None, DEFAULT_MODULE_BYTES).unwrap()
}

pub fn caching_loader(directory: &Path) -> Loader {
    let cache = Cache::open(directory.join("cache"), 1 << 30, None).unwrap();
    Loader::new(engine(), compiler(CompileLimits::default()), Some(cache), DEFAULT_MODULE_BYTES).unwrap()
}

pub async fn load(bytes: Vec<u8>) -> Module {
    loader().load(bytes).await.unwrap()
}

pub fn limits() -> Effective {
    Effective::default()
}

/// Limits that a hostile module reaches soon.
pub fn tight() -> Effective {
    Effective { timeout: Duration::from_secs(30), cpu: Duration::from_millis(50), ..Effective::default() }
}

pub fn context() -> Context {
    let object = ObjectRef {
        api_version: "scribe.dev/v1alpha1".into(),
        kind: "ReplicationSource".into(),
        namespace: "shop".into(),
        name: "db".into(),
        uid: None,
    };
    Context {
        replication: Replication {
            object,
            role: Role::Source,
            generation: 1,
            source_pvc: None,
            destination_pvc: None,
            copy_method: CopyMethod::Clone,
            labels: BTreeMap::from([("app".to_owned(), "db".to_owned())]),
        },
        attempt: Attempt {
            attempt_id: "a1".into(),
            number: 1,
            trigger: Trigger::Schedule,
            now: NOW,
            deadline: NOW + 3_600_000,
        },
        last: LastSync::default(),
        settings_json: "{}".into(),
    }
}

pub fn point(id: &str, created: u64) -> ReplicaPoint {
    ReplicaPoint {
        id: id.into(),
        created,
        size_bytes: None,
        labels: BTreeMap::new(),
        pinned: false,
        in_use: false,
        ready: true,
    }
}
