//! `cargo xtask demo`: the main job on two real clusters, from nothing to a database brought back after a disaster.

mod ledger;
mod side;

use std::collections::HashSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use scribe_crds::v1alpha1::{ReplicationSource, SourceStatus, Transfer};
use scribe_tests::cluster::{Binaries, Options as ClusterOptions, ensure_prerequisites};
use scribe_tests::images::POSTGRES_IMAGE;
use scribe_tests::world;
use serde_json::json;

use crate::cluster::build_csi_driver;
use crate::image::{self, Kind};
use ledger::{Acknowledged, Ledger};
use side::{NAMESPACE, Side};

/// Syncs before the disaster: the first, those by hand, and one on schedule.
const BY_HAND: usize = 2;
/// pgbench's scale: about 16 MB each.
const SCALE: &str = "10";
/// Between two looks at a status.
const LOOK: Duration = Duration::from_millis(300);
/// How long a sync may take; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub struct Options {
    /// Replicate from this context of your kubeconfig, in place of a development cluster
    #[arg(long, requires_all = ["destination_context", "install", "postgres_image"])]
    source_context: Option<String>,
    /// Replicate to this context of your kubeconfig
    #[arg(long, requires = "source_context")]
    destination_context: Option<String>,
    /// The kustomization to install; with your own clusters, one that names an image they can pull
    #[arg(long, default_value = "deploy/overlays/dev")]
    install: String,
    /// The image of PostgreSQL 15 with pgbench and pg_amcheck; with your own clusters, one that they can pull
    #[arg(long, default_value = POSTGRES_IMAGE)]
    postgres_image: String,
    /// Leave everything up at the end, and print the kubeconfigs
    #[arg(long)]
    keep: bool,
}

/// Runs the demo, and takes everything down again whatever becomes of it.
pub async fn run(options: &Options) -> Result<()> {
    let clock = Clock(Instant::now());
    let (west, east) = start(options, &clock).await?;
    let result = play(&west, &east, options, &clock).await;
    if options.keep {
        for side in [&west, &east] {
            let kubeconfig = side.ours.as_ref().map(|cluster| cluster.kubeconfig().display().to_string());
            clock.say(&format!(
                "{} is left up: KUBECONFIG={}",
                side.name,
                kubeconfig.unwrap_or_else(|| "yours".into())
            ));
        }
    } else {
        clock.step("6. Taking everything down");
        [&west, &east].into_iter().try_for_each(Side::remove)?;
    }
    result?;
    clock.say("the demo is over");
    Ok(())
}

/// What is printed bears the seconds since the beginning.
struct Clock(Instant);

impl Clock {
    fn step(&self, text: &str) {
        println!("\n{:6.1} s  == {text}", self.0.elapsed().as_secs_f32());
    }

    fn say(&self, text: &str) {
        println!("{:6.1} s     {text}", self.0.elapsed().as_secs_f32());
    }
}

async fn start(options: &Options, clock: &Clock) -> Result<(Side, Side)> {
    clock.step("1. Two clusters");
    if let (Some(source), Some(destination)) = (&options.source_context, &options.destination_context) {
        return Ok((Side::attach(source).await?, Side::attach(destination).await?));
    }
    ensure_prerequisites()?;
    Binaries::ensure()?;
    let images = [image::build(Kind::Scribe)?, image::build(Kind::Postgres)?];
    let cluster_options = ClusterOptions { csi_driver: Some(build_csi_driver()?) };
    let (west, east) =
        tokio::try_join!(Side::start("west", &cluster_options), Side::start("east", &cluster_options))?;
    let import = |side: &Side| -> Result<()> {
        for archive in &images {
            side.ours.iter().try_for_each(|cluster| cluster.import_image(archive))?;
        }
        clock.say(&format!("{} is ready", side.name));
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| import(&west));
        import(&east)?;
        other.join().map_err(|_| anyhow!("the import into west broke down"))?
    })?;
    Ok((west, east))
}

async fn play(west: &Side, east: &Side, options: &Options, clock: &Clock) -> Result<()> {
    clock.step("2. Installing Scribe on both, from the manifests it is shipped with");
    for side in [west, east] {
        world::install(&side.kubectl, &options.install).await?;
        side.kubectl.apply(include_str!("namespace.yaml"))?;
        clock.say(&format!("{}: the controller is available", side.name));
    }
    clock.step("3. PostgreSQL in west, with pgbench writing to it");
    west.kubectl.apply(include_str!("claim.yaml"))?;
    west.start_postgres(&options.postgres_image).await?;
    west.exec(&["pgbench", "--initialize", "--quiet", "--scale", SCALE])?;
    west.query(
        "CREATE TABLE ledger (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())",
    )?;
    clock.say(&format!("{} of data", west.query("SELECT pg_size_pretty(pg_database_size('postgres'))")?));
    let mut pgbench = pgbench(west)?;
    let ledger = Ledger::start(&west.kubectl, NAMESPACE)?;
    let outcome = replicate(west, east, &ledger, clock).await;
    if outcome.is_ok() {
        clock.step("5. Disaster: west stops");
    }
    let stopped = Timestamp::now();
    let stop = outcome.and_then(|()| west.stop_abruptly());
    // Both end with west; where it was not stopped, after a failure, they are ended.
    let _ = pgbench.kill();
    pgbench.wait().context("wait for pgbench")?;
    let acknowledged = ledger.stop()?;
    stop?;
    recover(east, &options.postgres_image, &acknowledged, stopped, clock).await
}

/// pgbench at a steady rate, until its database is gone.
fn pgbench(west: &Side) -> Result<Child> {
    let words = ["pgbench", "--client=2", "--rate=60", "--time=3600"];
    let mut arguments = vec!["exec", "--namespace", NAMESPACE, "postgres", "--"];
    arguments.extend(words);
    let mut command = west.kubectl.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start pgbench")
}

async fn replicate(west: &Side, east: &Side, ledger: &Ledger, clock: &Clock) -> Result<()> {
    clock.step("4. Replicating: a destination in east, its Secret to west, a source in west");
    east.kubectl.apply(include_str!("destination.yaml"))?;
    let address = east.carry_secret(west, "postgres-keys").await?;
    clock.say(&format!("the destination listens at {address}; its Secret is carried over"));
    west.kubectl.apply(include_str!("source.yaml"))?;
    let mut known = await_sync(west, None, "the first sync", clock).await?;
    for number in 1..=BY_HAND {
        let tag = format!("by hand {number}");
        let change = Patch::Merge(json!({ "spec": { "trigger": { "manual": tag } } }));
        west.sources().patch("postgres", &PatchParams::default(), &change).await?;
        known = await_sync(west, Some(&known), &tag, clock).await?;
    }
    await_sync(west, Some(&known), "on schedule", clock).await?;
    ensure!(ledger.count() > 0, "no write was acknowledged: is the ledger's client at work?");
    Ok(())
}

/// Waits until the recovery point is a later one, shows the progress meanwhile, and says what the sync sent.
async fn await_sync(west: &Side, known: Option<&Timestamp>, what: &str, clock: &Clock) -> Result<Timestamp> {
    let deadline = Instant::now() + PATIENCE;
    let mut shown = String::new();
    loop {
        let rs: ReplicationSource = west.sources().get("postgres").await?;
        let status = rs.status.unwrap_or_default();
        if let Some(point) = status
            .recovery_point
            .as_ref()
            .filter(|point| known.is_none_or(|known| point.data_time.0 > *known))
        {
            clock.say(&format!("{what}: {}", describe(&status)));
            return Ok(point.data_time.0);
        }
        let line = progress(&status);
        if line != shown {
            clock.say(&line);
            shown = line;
        }
        ensure!(
            Instant::now() < deadline,
            "{what} was not published within {} s: {}",
            PATIENCE.as_secs(),
            trouble(&status)
        );
        tokio::time::sleep(LOOK).await;
    }
}

fn progress(status: &SourceStatus) -> String {
    let phase = status.phase.map_or_else(|| "…".to_owned(), |phase| format!("{phase:?}"));
    match &status.progress {
        Some(progress) => format!("  {phase} {}", progress.summary),
        None => format!("  {phase}"),
    }
}

fn trouble(status: &SourceStatus) -> String {
    let words =
        status.conditions.iter().map(|condition| format!("{}: {}", condition.reason, condition.message));
    words.collect::<Vec<_>>().join("; ")
}

fn describe(status: &SourceStatus) -> String {
    let moved: Transfer =
        status.latest_mover_status.as_ref().and_then(|mover| mover.transfer.clone()).unwrap_or_default();
    let share = 100.0 * moved.bytes_sent as f64 / moved.bytes_total.max(1) as f64;
    let seconds =
        status.last_sync_duration.map_or(0.0, |duration| std::time::Duration::from(duration).as_secs_f32());
    let point = status.recovery_point.as_ref().map(|point| point.data_time.0.to_string()).unwrap_or_default();
    format!(
        "sent {:.1} MB of {:.1} MB ({share:.1} %) in {} of {} files, {seconds:.0} s, recovery point {point}",
        moved.bytes_sent as f64 / 1e6,
        moved.bytes_total as f64 / 1e6,
        moved.files_sent,
        moved.files_total,
    )
}

/// Brings the newest replica up in east and judges it.
async fn recover(
    east: &Side,
    postgres_image: &str,
    acknowledged: &Acknowledged,
    stopped: Timestamp,
    clock: &Clock,
) -> Result<()> {
    let rd = east.destinations().get("postgres").await?;
    let status = rd.status.context("the destination has a status")?;
    let image = status.latest_image.context("the destination has published something")?;
    let point = status.recovery_point.context("the destination has a recovery point")?.data_time.0;
    clock.say(&format!("the newest replica in east is {}, its data is of {point}", image.name));
    let claim: serde_json::Value = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data", "namespace": NAMESPACE },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "2Gi" } },
            "dataSource": { "apiGroup": image.api_group, "kind": image.kind, "name": image.name }
        }
    });
    east.kubectl.apply(&claim.to_string())?;
    east.start_postgres(postgres_image).await?;
    let log = east.kubectl.run(&["logs", "--namespace", NAMESPACE, "postgres"])?;
    for line in log.lines().filter(|line| line.contains("redo") || line.contains("ready to accept")) {
        clock.say(&format!("postgres: {line}"));
    }
    east.exec(&["pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--rootdescend"])
        .context("pg_amcheck found something")?;
    clock.say("pg_amcheck: every table and index of every database is sound");
    judge(east, acknowledged, point, stopped, clock)
}

fn judge(
    east: &Side,
    acknowledged: &Acknowledged,
    point: Timestamp,
    stopped: Timestamp,
    clock: &Clock,
) -> Result<()> {
    let ids = east.query("SELECT id FROM ledger")?;
    let kept: HashSet<i64> = ids.lines().filter_map(|line| line.parse().ok()).collect();
    let before: Vec<i64> = acknowledged.iter().filter(|(_, at)| *at <= point).map(|(id, _)| *id).collect();
    let missing: Vec<&i64> = before.iter().filter(|id| !kept.contains(id)).collect();
    ensure!(missing.is_empty(), "acknowledged before the cut and not in the replica: {missing:?}");
    ensure!(!before.is_empty(), "nothing was acknowledged before the cut: this proves nothing");
    clock.say(&format!(
        "all {} transactions acknowledged before the cut are there, of {} acknowledged in all",
        before.len(),
        acknowledged.len()
    ));
    let last_kept =
        acknowledged.iter().filter(|(id, _)| kept.contains(id)).map(|(_, at)| *at).max().unwrap_or(point);
    let lost = stopped.duration_since(last_kept).as_secs_f64();
    let reported = stopped.duration_since(point).as_secs_f64();
    clock.say(&format!(
        "{lost:.1} s of writes are lost; the reported recovery point said at most {reported:.1} s"
    ));
    ensure!(lost <= reported, "the recovery point was reported newer than it is");
    Ok(())
}
