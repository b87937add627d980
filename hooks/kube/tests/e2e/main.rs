//! Commands in containers, on a real kubelet. `cargo xtask test e2e` sees to the cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::future::Future;
use std::io::BufRead;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::ensure;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{Command, ExecError, FreezeError, Outcome, Target};
use scribe_hooks_contract::grants::{ExecPermit, Grants};
use scribe_hooks_contract::undo::Undo;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{
    Call, Identities, Journal, JournalError, KubeHost, Platform, Subject, UndoError, UndoOutcome,
};
use scribe_tests::cluster::Cluster;
use scribe_tests::images::WORKLOAD_IMAGE;
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{CLUSTERS, site};
use serde_json::{Value, json};

const ACCOUNT: &str = "db-hook";
/// Names a namespace to a process that is to hold a session there.
const HOLDER: &str = "SCRIBE_TEST_HOLDER";

#[derive(Default)]
struct Memory(Mutex<Vec<Undo>>);

#[async_trait]
impl Journal for Memory {
    async fn write(&self, undo: Undo) -> Result<(), JournalError> {
        self.0.lock().unwrap().push(undo);
        Ok(())
    }
}

/// Runs a test in a namespace of its own with two pods, and the right to run commands in them.
async fn with_world<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F) {
    let place = site(Cluster::attach(CLUSTERS[0]).unwrap(), "containers").await.unwrap();
    let world = Arc::new(World::new(place.namespace.clone()).await);
    world.set_up().await;
    test(world.clone()).await;
    // What has failed is left to be looked at.
    let all: Api<Namespace> = Api::all(world.admin.clone());
    all.delete(&world.namespace, &DeleteParams::background()).await.unwrap();
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
        let kubeconfig = Kubeconfig::read_from(Cluster::attach(CLUSTERS[0]).unwrap().kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let admin = Client::try_from(config.clone()).unwrap();
        let acting = Identities::new(&config, admin.clone()).client(&namespace, ACCOUNT).unwrap();
        let platform = Platform::new(admin.clone(), "test", HttpClient::new(None).unwrap());
        let journal = Arc::<Memory>::default();
        let subject = Subject {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            namespace: namespace.clone(),
            name: namespace.clone(),
            uid: "none".into(),
        };
        let call =
            Call { acting: acting.clone(), subject, module: "test".into(), journal: Some(journal.clone()) };
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

    /// Gives the right to run commands.
    async fn may_run(&self) {
        self.allow(json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] }]))
            .await;
        eventually(PATIENCE, "the right is known", async || {
            let ran = self.run(shell("true")).await;
            ensure!(ran.is_ok(), "{ran:?}");
            Ok(())
        })
        .await
        .unwrap();
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

    async fn comes(&self, file: &str) {
        eventually(PATIENCE, file, async || {
            ensure!(self.exists(file).await, "it is not there");
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn delete(&self, pod: &str) {
        let api: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        api.delete(pod, &DeleteParams::default()).await.unwrap();
        await_condition(&api, pod, "gone", |pod| pod.is_none()).await.unwrap();
    }

    async fn freeze(&self, apply: &Command, undo: &Command) -> Result<(), FreezeError> {
        let target = Target { pod: Some("db-0".into()), ..Target::default() };
        let mut grants = grant(apply);
        grants.exec[0].commands.push(undo.argv.clone());
        let permit = grants.permit_exec(&target, &[apply, undo]).unwrap();
        self.host.freeze_exec_with_undo(permit, apply.clone(), undo.clone()).await
    }

    async fn undo(&self, entry: &Undo) -> Result<UndoOutcome, UndoError> {
        self.platform.undo(&self.acting, &self.namespace, entry).await
    }

    async fn lost_last(&self) -> Result<Option<String>, UndoError> {
        let entry = self.journal.0.lock().unwrap().last().cloned().unwrap();
        self.platform.lost(&self.acting, &self.namespace, &entry).await
    }

    async fn undo_last(&self) -> Result<UndoOutcome, UndoError> {
        let entry = self.journal.0.lock().unwrap().last().cloned().unwrap();
        self.undo(&entry).await
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

#[tokio::test]
async fn who_may_not_is_denied() {
    with_world(|world| async move {
        let denied = world.run(shell("true")).await;
        assert!(matches!(denied, Err(ExecError::Denied(_))), "{denied:?}");
        world.may_run().await;
    })
    .await;
}

#[tokio::test]
async fn commands_run_within_their_limits() {
    with_world(|world| async move {
        world.may_run().await;
        let outcome = world.run(shell("echo out; echo err >&2; exit 3")).await.unwrap();
        assert_eq!(
            (outcome.exit_code, &outcome.stdout[..], &outcome.stderr[..]),
            (3, &b"out\n"[..], &b"err\n"[..])
        );
        let much = || vec![b'x'; 4 << 20];
        let counted = world.run(Command { stdin: much(), ..command(&["wc", "-c"]) }).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), (4 << 20).to_string());
        // Much in both directions at once does not stand still.
        let echoed =
            world.run(Command { stdin: much(), max_output: 1000, ..command(&["cat"]) }).await.unwrap();
        assert_eq!((echoed.exit_code, echoed.stdout.len(), echoed.truncated), (0, 1000, true));
        let unread = Command { stdin: vec![b'x'; 10_000], ..command(&["head", "-c", "1"]) };
        assert_eq!(world.run(unread).await.unwrap().exit_code, 0);
        let endless = Command { timeout_seconds: 1, max_output: 1000, ..command(&["yes"]) };
        assert_eq!(world.run(endless).await, Err(ExecError::TimedOut));
        let missing = world.run(command(&["no-such-program"])).await;
        assert!(matches!(missing, Err(ExecError::NoSuchTarget(_))), "{missing:?}");
        let both = Target { label_selector: Some("app=db".into()), all_matching: true, ..Target::default() };
        let hostname = command(&["cat", "/etc/hostname"]);
        let permit = grant(&hostname).permit_exec(&both, &[&hostname]).unwrap();
        let outcomes = world.host.exec(permit, hostname).await.unwrap();
        let names: Vec<_> = outcomes.into_iter().map(|one| String::from_utf8(one.stdout).unwrap()).collect();
        assert_eq!(names, ["db-0\n", "db-1\n"]);
    })
    .await;
}

/// Nobody waits for the command any more, be it that the call was cancelled.
#[tokio::test]
async fn a_command_that_is_not_waited_for_has_no_stdin_any_more() {
    with_world(|world| async move {
        world.may_run().await;
        let waits = command(&["sh", "-c", "touch /tmp/begun; read -r _ || touch /tmp/ended; sleep 60"]);
        let stdin = Command { stdin: Vec::new(), ..waits };
        let call = tokio::spawn({
            let world = world.clone();
            async move { world.hold("db-0", &stdin.argv.iter().map(String::as_str).collect::<Vec<_>>(), 60).await }
        });
        world.comes("/tmp/begun").await;
        call.abort();
        world.comes("/tmp/ended").await;
    })
    .await;
}

#[tokio::test]
async fn what_a_command_did_is_undone() {
    with_world(|world| async move {
        world.may_run().await;
        let (apply, undo) = (command(&["touch", "/tmp/frozen"]), command(&["rm", "/tmp/frozen"]));
        world.freeze(&apply, &undo).await.unwrap();
        assert!(world.exists("/tmp/frozen").await);
        assert_eq!(world.lost_last().await, Ok(None));
        assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
        assert!(!world.exists("/tmp/frozen").await);
        // One that fails stays due.
        world.undo_last().await.unwrap_err();
        let fails = shell("touch /tmp/frozen; echo too late >&2; exit 1");
        world.freeze(&fails, &undo).await.unwrap_err();
        assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
        world.delete("db-0").await;
        let lost = world.lost_last().await.unwrap().unwrap();
        assert!(lost.contains("pod db-0 was deleted"), "{lost}");
        assert!(matches!(world.undo_last().await, Ok(UndoOutcome::Gone(_))));
    })
    .await;
}

/// A command goes on although nobody waits for it, and freezes when it has been undone already. So it is undone once more.
#[tokio::test]
async fn what_a_command_did_too_late_is_undone_too() {
    with_world(|world| async move {
        world.may_run().await;
        let slow = "touch /tmp/begun; while ! test -e /tmp/go; do sleep 0.1; done; touch /tmp/frozen";
        let slow = Command { timeout_seconds: 2, ..shell(slow) };
        let undo = command(&["rm", "-f", "/tmp/frozen"]);
        let late = world.freeze(&slow, &undo).await;
        assert!(matches!(&late, Err(FreezeError::Failed(why)) if why.contains("took too long")), "{late:?}");
        world.comes("/tmp/begun").await;
        let first = world.undo_last().await;
        assert!(matches!(first, Err(UndoError::UnderWay(_))), "{first:?}");
        world.run(command(&["touch", "/tmp/go"])).await.unwrap();
        eventually(PATIENCE, "undone for good", async || {
            let undone = world.undo_last().await;
            ensure!(undone == Ok(UndoOutcome::Undone), "{undone:?}");
            Ok(())
        })
        .await
        .unwrap();
        assert!(!world.exists("/tmp/frozen").await);
    })
    .await;
}

#[tokio::test]
async fn a_session_holds_until_it_is_released() {
    with_world(|world| async move {
        world.may_run().await;
        let id = world.hold("db-0", HOLD, 20).await.unwrap();
        let held = world.journal.0.lock().unwrap().last().cloned().unwrap();

        let early = world.hold("db-1", &["sh", "-c", "echo ready; echo lost >&2; exit 7"], 20).await.unwrap();
        let how = world.platform.sessions().ended(&early).await;
        assert_eq!(how, "exit code 7: lost");
        assert!(!world.platform.sessions().holds(&early));
        assert!(world.lost_last().await.unwrap().is_some());

        let never = world.hold("db-1", &["sh", "-c", "touch /tmp/held; cat; rm /tmp/held"], 2).await;
        assert!(
            matches!(&never, Err(FreezeError::Failed(why)) if why.contains("has not printed")),
            "{never:?}"
        );
        assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
        let fails = world.hold("db-1", &["sh", "-c", "echo no such lock >&2; exit 1"], 5).await;
        assert!(matches!(&fails, Err(FreezeError::Failed(why)) if why.contains("no such lock")), "{fails:?}");

        assert!(world.platform.sessions().holds(&id) && world.exists("/tmp/held").await, "all the time");
        assert_eq!(world.undo(&held).await, Ok(UndoOutcome::Undone));
        assert!(!world.exists("/tmp/held").await && !world.platform.sessions().holds(&id));
    })
    .await;
}

/// A command that does not care for the end of its stdin ends with its pod.
#[tokio::test]
async fn a_session_that_does_not_end_is_told() {
    with_world(|world| async move {
        world.may_run().await;
        world.hold("db-1", &["sh", "-c", "echo ready; sleep 300"], 20).await.unwrap();
        let deaf = world.undo_last().await;
        assert!(matches!(deaf, Err(UndoError::StillRunning(_))), "{deaf:?}");
        world.delete("db-1").await;
        assert_eq!(world.undo_last().await, Ok(UndoOutcome::Undone));
    })
    .await;
}

/// A process that holds a session is killed without a word.
#[tokio::test]
async fn a_session_ends_with_its_process() {
    with_world(|world| async move {
        world.may_run().await;
        let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_holder", "--ignored", "--nocapture"])
            .env(HOLDER, &world.namespace)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("held")), "it ended");
        assert!(world.exists("/tmp/held").await);
        holder.kill().unwrap();
        holder.wait().unwrap();
        eventually(PATIENCE, "the session of a killed process is released", async || {
            ensure!(!world.exists("/tmp/held").await, "it still holds");
            Ok(())
        })
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "another test runs it, and kills it"]
async fn a_holder() {
    let world = World::new(std::env::var(HOLDER).unwrap()).await;
    world.hold("db-0", HOLD, 20).await.unwrap();
    println!("held");
    std::future::pending::<()>().await;
}
