//! `cargo xtask bench sync`: what a sync costs on a development cluster, and where the time goes.
//!
//! A volume of 200 files and 20 MiB is replicated between two namespaces by Scribe as it is shipped. Each run changes it, sets
//! a new manual tag, and measures from the moment that the tag is sent: until the replica is ready to use and published, or, where
//! nothing has changed and no replica is made, until the source says so. Before each run of ours, rsync alone brings the same change over
//! from one folder of this machine to another, over ssh on loopback.

mod baseline;
mod content;
mod observe;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use scribe_crds::names::SYNC;
use scribe_crds::v1alpha1::ReplicationSource;
use scribe_tests::cluster::{Binaries, Cluster, Options as ClusterOptions, ensure_prerequisites};
use scribe_tests::kubectl::Kubectl;
use scribe_tests::site::{Site, Volume, source_status};
use scribe_tests::wait::{PATIENCE, eventually};
use scribe_tests::world;
use serde_json::json;
use tracing::info;

use super::report::{self, Row, Spread};
use crate::cluster::build_csi_driver;
use crate::image;
use baseline::Baseline;
use content::Case;
use observe::{DestinationLog, Observer};
use timeline::{Moment, Seen, Sync};

/// Who owns the data, on both sides.
const APP: u32 = 2000;
/// What is installed: nothing but the image differs from what is shipped.
const INSTALL: &str = "deploy/overlays/bench";
/// Between the end of a run and the next one: what is deleted after a sync, and what the controller saves up for busy times, is
/// settled by then, as it is between two syncs of a schedule.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Options {
    /// How many runs each case has
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Only these cases; may be given more than once
    #[arg(long, value_enum, default_values_t = Case::ALL)]
    case: Vec<Case>,
    /// Write the rows to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// The name of the development cluster
    #[arg(long, default_value = "bench")]
    name: String,
    /// Leave the cluster up at the end, for a next run
    #[arg(long)]
    keep: bool,
    /// Print each step of each run, and not only the medians
    #[arg(long)]
    verbose: bool,
}

/// Runs the benchmark, and takes its cluster down again whatever becomes of it.
pub async fn run(options: &Options) -> Result<()> {
    ensure_prerequisites()?;
    Binaries::ensure()?;
    let archive = image::build_release()?;
    let cluster_options = ClusterOptions { csi_driver: Some(build_csi_driver()?) };
    let cluster = Cluster::up(&options.name, &cluster_options).await?;
    let result = async {
        cluster.import_image(&archive)?;
        world::install(&Kubectl::of(&cluster), INSTALL).await?;
        let rows = bench(&cluster, options).await?;
        options.json.as_deref().map_or(Ok(()), |path| report::write(&rows, path))
    }
    .await;
    if !options.keep {
        Cluster::down(&options.name)?;
    }
    result
}

async fn bench(cluster: &Cluster, options: &Options) -> Result<Vec<Row>> {
    let baseline = Baseline::start()?;
    let mut pair = Pair::prepare(cluster).await?;
    let mut rows = Vec::new();
    for &case in &options.case {
        let mut runs = Vec::new();
        for number in 0..usize::from(options.runs) {
            let baseline = baseline.measure(case, number)?;
            let steps = pair.measure(case, number).await?;
            let run = Run { baseline, steps };
            info!("{} run {number}: {:.3} s, rsync alone {baseline:.3} s", case.name(), run.ours(case)?);
            if options.verbose {
                run.steps.iter().for_each(|(name, at)| println!("  {at:7.3} {name}"));
            }
            runs.push(run);
        }
        rows.push(summarise(case, &runs)?);
    }
    pair.remove().await?;
    Ok(rows)
}

/// One run: rsync alone, and when each step of ours was reached, in seconds.
struct Run {
    baseline: f64,
    steps: Vec<(&'static str, f64)>,
}

impl Run {
    fn at(&self, step: &str) -> Option<f64> {
        self.steps.iter().find(|(name, _)| *name == step).map(|(_, at)| *at)
    }

    fn ours(&self, case: Case) -> Result<f64> {
        let end = timeline::end(case);
        self.at(end).with_context(|| format!("{}: \"{end}\" was not seen", case.name()))
    }
}

/// Prints the table of a case.
fn summarise(case: Case, runs: &[Run]) -> Result<Row> {
    let ours: Vec<f64> = runs.iter().map(|run| run.ours(case)).collect::<Result<_>>()?;
    let baseline: Vec<f64> = runs.iter().map(|run| run.baseline).collect();
    let (ours, baseline) = (Spread::of(&ours).context("no runs")?, Spread::of(&baseline).context("no runs")?);
    println!(
        "\n{}: {} runs, seconds from the trigger (min, median, max; then the median of what it took)",
        case.name(),
        runs.len()
    );
    // In every run, or its median would be that of other runs than its neighbours'.
    let mut steps: Vec<(&str, Spread)> = Vec::new();
    for (name, _) in &runs[0].steps {
        let at: Option<Vec<f64>> = runs.iter().map(|run| run.at(name)).collect();
        steps.extend(at.and_then(|at| Spread::of(&at)).map(|spread| (*name, spread)));
    }
    steps.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let mut before = 0.0;
    for (name, spread) in steps {
        println!("  {name:<28} {spread}   {:+7.3}", spread.median - before);
        before = spread.median;
    }
    println!("  {:<28} {ours}", "= until ".to_owned() + timeline::end(case));
    println!("  {:<28} {baseline}", "= rsync alone");
    Ok(Row::seconds(case.name(), ours.median, baseline.median))
}

/// The two namespaces, and what is replicated.
struct Pair {
    source: Site,
    destination: Site,
    volume: Volume,
    observer: Observer,
    log: DestinationLog,
}

impl Pair {
    /// Makes everything, up to the end of the first sync.
    async fn prepare(cluster: &Cluster) -> Result<Self> {
        let source = world::site(cluster.clone(), "bench-source").await?;
        let destination = world::site(cluster.clone(), "bench-destination").await?;
        source.claim("data", "ext4", "4Gi").await?;
        let volume = source.hold("data").await?;
        content::fill(&volume.path, APP)?;
        volume.flush()?;
        let user = json!({ "runAsUser": APP, "runAsGroup": APP });
        let receives = json!({ "rsync": {
            "capacity": "4Gi", "accessModes": ["ReadWriteOnce"], "storageClassName": "ext4",
            "moverSecurityContext": { "runAsUser": APP, "runAsGroup": APP, "fsGroup": APP }
        }});
        destination.destination("bench", receives).await?;
        destination.carry_secret("bench", &source, "keys").await?;
        let sends = json!({
            "sourcePVC": "data", "trigger": { "manual": "first" },
            // The large file is most of the volume, and each run takes another in its place. They judge all the same, and cost what they cost.
            "guards": { "maxDeletedPercent": 100 },
            "rsync": { "sshKeys": "keys", "moverSecurityContext": user }
        });
        source.source("bench", sends).await?;
        let first = source.await_source("bench", "synced for the first time", |rs| {
            source_status(rs).last_manual_sync.as_deref() == Some("first")
        });
        first.await?;
        let log = DestinationLog::find(&destination)?;
        let observer = Observer::new(&source, &destination);
        Ok(Self { source, destination, volume, observer, log })
    }

    /// Changes the volume and has it synced. When each step was reached, in seconds.
    async fn measure(&mut self, case: Case, number: usize) -> Result<Vec<(&'static str, f64)>> {
        content::change(&self.volume.path, case, number, APP)?;
        self.volume.flush()?;
        tokio::time::sleep(SETTLE).await;
        self.log.new_lines()?;
        self.observer.clear();
        let tag = format!("{} {number}", case.name());
        let triggered = Timestamp::now();
        let change = json!({ "spec": { "trigger": { "manual": tag } } });
        self.source.patch::<ReplicationSource>("bench", change).await?;
        let mut moments = Vec::new();
        let mut id = None;
        let found = |seen: &Seen| {
            id = timeline::sync_id(seen, &tag);
            id.is_some()
        };
        self.observer.until("the sync to begin", &mut moments, found).await?;
        let id = id.context("a sync has an id")?;
        let sync = Sync { tag: &tag, id: &id };
        let is_over = |seen: &Seen| matches!(seen, Seen::Source(rs) if timeline::is_done(rs, sync));
        self.observer.until("the sync to be published", &mut moments, is_over).await?;
        self.await_cleanup(&id).await?;
        moments.extend(self.observer.source_lines()?);
        moments.extend(self.log.new_lines()?);
        self.check(case, &moments)?;
        Ok(timeline::steps(triggered, sync, &moments))
    }

    /// A benchmark of something else than it says would be worse than none.
    fn check(&self, case: Case, moments: &[Moment]) -> Result<()> {
        let sources = moments.iter().rev().filter_map(|moment| match &moment.seen {
            Seen::Source(rs) => rs.status.as_ref()?.latest_mover_status.as_ref()?.transfer.clone(),
            _ => None,
        });
        let moved = sources.into_iter().next().context("the source says what was moved")?;
        let expected = match case {
            Case::Nothing => moved.files_sent == 0 && moved.bytes_literal == 0,
            Case::OneFile => moved.files_sent == 1,
            Case::Large => moved.files_sent == 1 && moved.bytes_literal >= 1 << 30,
        };
        ensure!(expected, "{} moved {moved:?}", case.name());
        Ok(())
    }

    /// The next sync begins when nothing is left of the one before.
    async fn await_cleanup(&self, id: &str) -> Result<()> {
        let ours = ListParams::default().labels(&format!("{SYNC}={id}"));
        eventually(PATIENCE, "the end of what a sync leaves", || async {
            let pods = self.source.api::<Pod>().list(&ours).await?.items.len();
            let claims = self.source.api::<PersistentVolumeClaim>().list(&ours).await?.items.len();
            ensure!(pods + claims == 0, "{pods} pods and {claims} claims");
            Ok(())
        })
        .await
    }

    async fn remove(self) -> Result<()> {
        for site in [&self.source, &self.destination] {
            let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(site.client.clone());
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            namespaces.delete(&site.namespace, &params).await?;
        }
        Ok(())
    }
}
