//! What it takes to bring PostgreSQL to rest and have it go on: by the hook `postgres-quiesce`, and by three calls of `kubectl exec`.
//!
//! Both make a checkpoint, freeze the file system and thaw it; neither makes a copy. `hooks/kube/benches/quiesce.rs` measures.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use scribe_tests::cluster::{Binaries, Cluster, Options as ClusterOptions, ensure_prerequisites, repository};
use scribe_tests::kubectl::Kubectl;
use scribe_tests::site::Site;
use scribe_tests::{postgres, world};
use serde_json::json;

use super::report::{Row, Spread};
use crate::cluster::build_csi_driver;
use crate::image::{self, Kind};
use crate::process::cargo;

/// The cluster, which goes when it is over.
const CLUSTER: &str = "bench";
const ROUNDS: usize = 20;

/// Measures on a cluster of its own with the modules of that folder.
pub async fn run(modules: &Path) -> Result<Row> {
    ensure_prerequisites()?;
    Binaries::ensure()?;
    // Built before the cluster is there: nothing else is to be at work then.
    let mut build = cargo(&BENCH);
    ensure!(
        build.arg("--no-run").current_dir(repository()).status()?.success(),
        "the benchmark does not build"
    );
    let images = [image::build(Kind::Postgres)?, image::build(Kind::Workload)?];
    let cluster = Cluster::up(CLUSTER, &ClusterOptions { csi_driver: Some(build_csi_driver()?) }).await?;
    let result = async {
        images.iter().try_for_each(|archive| cluster.import_image(archive))?;
        let site = world::site(cluster.clone(), "bench-quiesce").await?;
        prepare(&site).await?;
        summarise(&measure(&site, modules)?)
    }
    .await;
    Cluster::down(CLUSTER)?;
    result
}

const BENCH: [&str; 5] = ["bench", "--quiet", "--locked", "--package=scribe-hooks-kube", "--bench=quiesce"];

/// A database, and a ServiceAccount that may run commands beside it.
async fn prepare(site: &Site) -> Result<()> {
    site.claim("data", "ext4", "1Gi").await?;
    postgres::start(site, "db", "data").await?;
    let (api, meta) =
        ("rbac.authorization.k8s.io/v1", json!({ "name": "db-hook", "namespace": site.namespace }));
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
        { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] },
    ]);
    let subject = json!({ "kind": "ServiceAccount", "name": "db-hook", "namespace": site.namespace });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "db-hook" });
    let kubectl = Kubectl::of(&site.cluster);
    for object in [
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta }),
        json!({ "apiVersion": api, "kind": "Role", "metadata": meta, "rules": rules }),
        json!({ "apiVersion": api, "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject] }),
    ] {
        kubectl.apply(&object.to_string())?;
    }
    Ok(())
}

fn measure(site: &Site, modules: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut bench = cargo(&BENCH);
    bench.arg("--").arg(modules.join("postgres-quiesce.wasm")).arg(&site.namespace).arg(ROUNDS.to_string());
    bench.arg(Kubectl::of(&site.cluster).command(&[]).get_program());
    bench.env("KUBECONFIG", site.cluster.kubeconfig()).current_dir(repository());
    let output = bench.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "what measures a quiesce ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("read what was measured")
}

fn summarise(numbers: &BTreeMap<String, Vec<f64>>) -> Result<Row> {
    let of = |name: &str| numbers.get(name).and_then(|runs| Spread::of(runs)).context("it was not measured");
    let (hook, kubectl) = (of("hook")?, of("kubectl")?);
    println!("\nPostgreSQL to rest and back, {ROUNDS} rounds, seconds (min, median, max)");
    println!("  {:<28} {hook}", "hook");
    println!("  {:<28} {kubectl}", "= kubectl exec");
    Ok(Row::seconds("hooks/quiesce", hook.median, kubectl.median))
}
