//! Tries commands in containers on a real cluster, and fails at the first that is not as it should be:
//!
//! ```text
//! cargo xtask cluster up --name west && cargo xtask image workload --cluster west
//! KUBECONFIG=… cargo run -p scribe-hooks-kube --example containers
//! ```
//!
//! With the argument `hold NAMESPACE` it holds a session until it is killed, which is how it tries what becomes of one then.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a check that cannot go on has failed"
)]

use std::io::BufRead;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Config};
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{Command, ExecError, FreezeError, Outcome, Target};
use scribe_hooks_contract::grants::{ExecPermit, Grants};
use scribe_hooks_contract::undo::Undo;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{
    Call, Identities, Journal, JournalError, KubeHost, Platform, Subject, UndoError, UndoOutcome,
};
use scribe_tests::images::WORKLOAD_IMAGE;
use scribe_tests::wait::{await_condition, eventually};
use serde_json::{Value, json};

const ACCOUNT: &str = "db-hook";
const PATIENCE: Duration = Duration::from_secs(60);

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
    admin: Client,
    acting: Client,
    namespace: String,
    platform: Platform,
    journal: Arc<Memory>,
    host: KubeHost,
}

impl World {
    async fn new(namespace: String) -> Self {
        let config = Config::infer().await.unwrap();
        let admin = Client::try_from(config.clone()).unwrap();
        let acting = Identities::new(&config, admin.clone()).client(&namespace, ACCOUNT).unwrap();
        let platform = Platform::new(admin.clone(), "example", HttpClient::new(None).unwrap());
        let journal = Arc::<Memory>::default();
        let subject = Subject {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            namespace: namespace.clone(),
            name: namespace.clone(),
            uid: "none".into(),
        };
        let call = Call {
            acting: acting.clone(),
            subject,
            module: "example".into(),
            journal: Some(journal.clone()),
        };
        let host = platform.host(call);
        Self { admin, acting, namespace, platform, journal, host }
    }

    async fn make<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.admin.clone(), &self.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn set_up(&self) {
        let all: Api<Namespace> = Api::all(self.admin.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": self.namespace } })).unwrap();
        all.create(&PostParams::default(), &namespace).await.unwrap();
        self.make::<ServiceAccount>(json!({ "metadata": { "name": ACCOUNT } })).await;
        self.allow(json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }])).await;
        for name in ["db-0", "db-1"] {
            self.make::<Pod>(json!({
                "metadata": { "name": name, "labels": { "app": "db", "name": name } },
                "spec": { "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "db", "image": WORKLOAD_IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"] }] },
            }))
            .await;
            let api: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
            await_condition(&api, name, "running", |pod| {
                let statuses = pod
                    .and_then(|pod| pod.status.as_ref())
                    .and_then(|status| status.container_statuses.as_ref());
                statuses.is_some_and(|statuses| statuses.iter().all(|status| status.ready))
            })
            .await
            .unwrap();
        }
    }

    async fn allow(&self, rules: Value) {
        let name = format!("hook-{:08x}", rand::random::<u32>());
        self.make::<Role>(json!({ "metadata": { "name": name }, "rules": rules })).await;
        self.make::<RoleBinding>(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace }],
        }))
        .await;
    }

    async fn run(&self, command: Command) -> Result<Outcome, ExecError> {
        let permit = permit("db-0", &command);
        self.host.exec(permit, command).await.map(|mut outcomes| outcomes.remove(0))
    }

    async fn exists(&self, file: &str) -> bool {
        self.run(command(&["test", "-e", file])).await.unwrap().exit_code == 0
    }

    async fn undo_last(&self) -> Result<UndoOutcome, UndoError> {
        let entry = self.journal.0.lock().unwrap().last().cloned().unwrap();
        self.platform.undo(&self.acting, &self.namespace, &entry).await
    }

    async fn hold(&self, pod: &str, argv: &[&str], seconds: u32) -> Result<String, FreezeError> {
        let command = Command { timeout_seconds: seconds, ..command(argv) };
        self.host.freeze_hold_session(permit(pod, &command), command, "ready".into()).await?;
        Ok(self.journal.0.lock().unwrap().last().unwrap().id.clone())
    }
}

fn command(argv: &[&str]) -> Command {
    let argv = argv.iter().map(ToString::to_string).collect();
    Command { argv, stdin: Vec::new(), timeout_seconds: 30, max_output: 1 << 20 }
}

fn shell(script: &str) -> Command {
    command(&["sh", "-c", script])
}

fn grant(command: &Command) -> Grants {
    let grant = json!({ "exec": [{ "podSelector": { "app": "db" }, "containers": ["db"], "commands": [[command.argv[0], "**"]] }] });
    serde_json::from_value(grant).unwrap()
}

fn permit(pod: &str, command: &Command) -> ExecPermit {
    let target = Target { pod: Some(pod.into()), ..Target::default() };
    grant(command).permit_exec(&target, &[command]).unwrap()
}

const HOLD: &[&str] = &["sh", "-c", "touch /tmp/held; echo ready; cat >/dev/null; rm /tmp/held"];

async fn rights(world: &World) {
    let denied = world.run(shell("true")).await;
    assert!(matches!(denied, Err(ExecError::Denied(_))), "{denied:?}");
    for verb in ["get", "create"] {
        world.allow(json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": [verb] }])).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("after `{verb}` on pods/exec was granted: {:?}", world.run(shell("true")).await);
    }
}

async fn commands(world: &World) {
    let outcome = world.run(shell("echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!(
        (outcome.exit_code, &outcome.stdout[..], &outcome.stderr[..]),
        (3, &b"out\n"[..], &b"err\n"[..])
    );
    println!("exit code, stdout, stderr: as they are");

    let much = || vec![b'x'; 4 << 20];
    let counted = world.run(Command { stdin: much(), ..command(&["wc", "-c"]) }).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), (4 << 20).to_string());
    println!("4 MiB of stdin: all counted, and its end seen");

    let echoed = world.run(Command { stdin: much(), max_output: 1000, ..command(&["cat"]) }).await.unwrap();
    assert_eq!((echoed.exit_code, echoed.stdout.len(), echoed.truncated), (0, 1000, true));
    println!("4 MiB in and out at the same time: cut at 1000 bytes, and no standstill");

    // The API server and the kubelet end no command whose stdin stands still in between; kubectl sees the same.
    let unread = Command { stdin: much(), timeout_seconds: 3, ..command(&["head", "-c", "1"]) };
    println!(
        "a command that does not read its 4 MiB: {:?}",
        world.run(unread).await.map(|one| one.exit_code)
    );
    let unread = Command { stdin: vec![b'x'; 10_000], ..command(&["head", "-c", "1"]) };
    assert_eq!(world.run(unread).await.unwrap().exit_code, 0);
    println!("one that does not read its 10 kB ends all the same");

    let began = Instant::now();
    let endless = world.run(Command { timeout_seconds: 3, max_output: 1000, ..command(&["yes"]) }).await;
    assert_eq!(endless, Err(ExecError::TimedOut));
    println!("`yes` with 3 s: timed out after {:.1} s", began.elapsed().as_secs_f32());
    let alive = world.run(shell("grep -lx yes /proc/[0-9]*/comm | wc -l")).await.unwrap();
    println!("and still there in the container: {}", String::from_utf8_lossy(&alive.stdout).trim());

    let missing = world.run(command(&["no-such-program"])).await;
    assert!(matches!(missing, Err(ExecError::NoSuchTarget(_))), "{missing:?}");
    println!("no such program: {missing:?}");
    let both = Target { label_selector: Some("app=db".into()), all_matching: true, ..Target::default() };
    let hostname = command(&["cat", "/etc/hostname"]);
    let outcomes =
        world.host.exec(grant(&hostname).permit_exec(&both, &[&hostname]).unwrap(), hostname).await;
    let names: Vec<_> =
        outcomes.unwrap().into_iter().map(|one| String::from_utf8(one.stdout).unwrap()).collect();
    assert_eq!(names, ["db-0\n", "db-1\n"]);
    println!("all matching pods: {names:?}");
}

async fn undone(world: &World) {
    let (apply, undo) = (command(&["touch", "/tmp/frozen"]), command(&["rm", "/tmp/frozen"]));
    let frozen = async |apply: &Command| {
        let target = Target { pod: Some("db-0".into()), ..Target::default() };
        let mut grants = grant(apply);
        grants.exec.extend(grant(&undo).exec);
        grants.exec[0].commands.push(undo.argv.clone());
        let permit = grants.permit_exec(&target, &[apply, &undo]).unwrap();
        world.host.freeze_exec_with_undo(permit, apply.clone(), undo.clone()).await
    };
    frozen(&apply).await.unwrap();
    assert!(world.exists("/tmp/frozen").await);
    assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
    assert!(!world.exists("/tmp/frozen").await);
    println!("exec-with-undo: done and undone");
    println!("an undo that fails stays due: {:?}", world.undo_last().await.unwrap_err());
    let failed = frozen(&shell("touch /tmp/frozen; echo too late >&2; exit 1")).await;
    println!("an apply that fails: {failed:?}");
    assert!(failed.is_err() && world.undo_last().await == Ok(UndoOutcome::Undone));
    println!("and what it did is undone all the same");
}

async fn sessions(world: &World) {
    let id = world.hold("db-0", HOLD, 20).await.unwrap();
    assert!(world.platform.sessions().holds(&id) && world.exists("/tmp/held").await);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(world.platform.sessions().holds(&id) && world.exists("/tmp/held").await);
    println!("a session holds for 100 s without a word");
    let began = Instant::now();
    assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
    println!("and is released in {:.2} s", began.elapsed().as_secs_f32());
    assert!(!world.exists("/tmp/held").await && !world.platform.sessions().holds(&id));

    let id =
        world.hold("db-0", &["sh", "-c", "echo ready; sleep 2; echo lost >&2; exit 7"], 20).await.unwrap();
    assert!(world.platform.sessions().holds(&id));
    println!("one that ends by itself is noticed: {}", world.platform.sessions().ended(&id).await);
    assert!(!world.platform.sessions().holds(&id));

    println!(
        "never ready: {:?}",
        world.hold("db-0", &["sh", "-c", "touch /tmp/held; cat; rm /tmp/held"], 2).await
    );
    assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
    assert!(!world.exists("/tmp/held").await);
    println!(
        "ends too early: {:?}",
        world.hold("db-0", &["sh", "-c", "echo no such lock >&2; exit 1"], 5).await
    );
    println!("deaf to the end of its stdin: {:?}", {
        world.hold("db-1", &["sh", "-c", "echo ready; sleep 300"], 20).await.unwrap();
        world.undo_last().await.unwrap_err()
    });
    let api: Api<Pod> = Api::namespaced(world.admin.clone(), &world.namespace);
    api.delete("db-1", &DeleteParams::default()).await.unwrap();
    assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
    println!("until its pod is deleted");
}

/// A process that holds a session is killed without a word.
async fn death(world: &World) {
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["hold", &world.namespace])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(world.exists("/tmp/held").await);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let began = Instant::now();
    eventually(PATIENCE, "the session of a killed process is released", async || {
        anyhow::ensure!(!world.exists("/tmp/held").await, "it still holds");
        Ok(())
    })
    .await
    .unwrap();
    println!("the session of a killed process is released after {:.2} s", began.elapsed().as_secs_f32());
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, namespace] = &arguments[..] {
        assert_eq!(mode, "hold");
        let world = World::new(namespace.clone()).await;
        world.hold("db-0", HOLD, 20).await.unwrap();
        println!("held");
        std::future::pending::<()>().await;
    }
    let world = World::new(format!("containers-{:04x}", rand::random::<u16>())).await;
    world.set_up().await;
    rights(&world).await;
    commands(&world).await;
    undone(&world).await;
    death(&world).await;
    sessions(&world).await;
    let all: Api<Namespace> = Api::all(world.admin.clone());
    all.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    println!("all as it should be");
}
