//! Puts the parts together and runs them until a signal.

use crate::admin::{self, Admin};
use crate::args::{Args, COMPILE_HOOK, HookArgs, MoverImage};
use crate::context::Context;
use crate::control_key::{self, Place};
use crate::hooks::{Budget, Dialer, Effects, Fetcher, Hooks, Https, Oci};
use crate::lease::{Election, Term, Timing};
use crate::metrics::Metrics;
use crate::mover_client::Movers;
use crate::pace::Pace;
use crate::refusals::Refusals;
use crate::report::Reporter;
use crate::router::Router;
use crate::slots::{self, Ledger};
use crate::watches::{self, Synced};
use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use scribe_crds::v1alpha1::{HookModule, ReplicationDestination, ReplicationSource};
use scribe_hooks::{Cache, CompileLimits, Compiler, Engine, Loader};
use scribe_hooks_kube::Identities;
use scribe_hooks_kube::http::HttpClient;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Runs the controller until SIGTERM or SIGINT, and then until the passes that run have ended.
///
/// # Errors
/// Fails if the API server cannot be reached at the start, if the control key is not to be had, or if the address for health and
/// metrics is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?args, "start");
    let shutdown = Shutdown::on_signal()?;
    let mut config = config(&args).await?;
    // A watch is silent for minutes; everything else has to answer soon.
    let watch_client = Client::try_from(config.clone()).context("make a client")?;
    config.read_timeout = Some(args.api_timeout);
    config.write_timeout = Some(args.api_timeout);
    let client = Client::try_from(config.clone()).context("make a client")?;
    let (router, triggers) = Router::new();
    let router = Arc::new(router);
    let ctx = tokio::select! {
        ctx = context(&args, &config, client, router.clone()) => Arc::new(ctx?),
        () = shutdown.wait() => return Ok(()),
    };
    let mut surroundings = JoinSet::new();
    let mut synced = watches::surroundings(&mut surroundings, &watch_client, &router, &args.namespace);
    synced.extend(slots::watch(&mut surroundings, &watch_client, &ctx.slots));
    let (sources, destinations) = (Synced::new("replicationsources"), Synced::new("replicationdestinations"));
    let (modules, lease) = (Synced::new("hookmodules"), Synced::new("the lease"));
    synced.extend([sources.clone(), destinations.clone(), modules.clone(), lease.clone()]);
    let admin = Admin { ctx: ctx.clone(), watches: synced.into() };
    let concurrency = args.concurrency;
    let (first, second, third, fourth) =
        (shutdown.clone(), shutdown.clone(), shutdown.clone(), shutdown.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(args.admin_address, admin, async move { first.wait().await }));
    let (waiting, term) = (shutdown.clone(), ctx.term.clone());
    tokio::spawn(async move {
        waiting.wait().await;
        term.give_up();
    });
    let (work_is_done, done) = oneshot::channel::<()>();
    let mut election = tokio::spawn(election(&args, &ctx, lease).run(async move { drop(done.await) }));
    let (client, context) = (watch_client.clone(), ctx.clone());
    tasks.spawn(async move {
        let stop = async move { second.wait().await };
        watches::control::<ReplicationSource>(client, context, triggers.sources, sources, concurrency, stop)
            .await;
        Ok(())
    });
    let (client, context) = (watch_client.clone(), ctx.clone());
    tasks.spawn(async move {
        let stop = async move { fourth.wait().await };
        watches::control::<HookModule>(client, context, triggers.modules, modules, concurrency, stop).await;
        Ok(())
    });
    tasks.spawn(async move {
        let stop = async move { third.wait().await };
        watches::control::<ReplicationDestination>(
            watch_client,
            ctx,
            triggers.destinations,
            destinations,
            concurrency,
            stop,
        )
        .await;
        Ok(())
    });
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            // It ends by itself only if the Lease is lost.
            lost = &mut election => return lost.context("the election broke down")?,
        };
        let Some(ended) = ended else { break };
        ended.context("a part of the controller broke down")??;
        anyhow::ensure!(shutdown.is_requested(), "a part of the controller ended without being asked to");
    }
    // Nothing is written any more: the next controller may begin.
    drop(work_is_done);
    election.await.context("the election broke down")??;
    tracing::info!("stopped");
    Ok(())
}

fn election(args: &Args, ctx: &Context, looked_at: Synced) -> Election {
    let timing =
        Timing { duration: args.lease_duration, renewal: args.lease_duration / 3, retry: args.lease_retry };
    let leases = Api::namespaced(ctx.client.clone(), &args.namespace);
    let names = (args.lease_name.clone(), args.instance.clone());
    Election::new(leases, names, timing, ctx.term.clone(), looked_at)
}

async fn config(args: &Args) -> anyhow::Result<Config> {
    let Some(path) = &args.kubeconfig else {
        return Config::infer().await.context("find out how to reach the API server: set --kubeconfig");
    };
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.with_context(|| format!("use {}", path.display()))
}

async fn context(
    args: &Args,
    config: &Config,
    client: Client,
    router: Arc<Router>,
) -> anyhow::Result<Context> {
    let place = Place {
        file: &args.control_key_file,
        namespace: &args.namespace,
        secret: &args.control_key_secret,
        patience: args.control_key_timeout,
    };
    let system = Api::<Namespace>::all(client.clone()).get_metadata("kube-system").await;
    let cluster_id =
        system.context("read the namespace kube-system")?.uid().context("kube-system has no uid")?;
    let control_key = control_key::load(&client, &place).await?;
    let settings = args.replication.settings(mover_image(args, &client).await?);
    let metrics = Metrics::new().context("register the metrics")?;
    let identities = Identities::new(config, client.clone());
    let (loader, fetcher) = modules(&args.hooks, &client, identities.clone())?;
    let effects = effects(args, identities, &client)?;
    let budget = Budget { calls: args.hooks.hook_memory, code: args.hooks.hook_code_memory };
    Ok(Context {
        hooks: Hooks::new(loader, fetcher, effects, router.clone(), metrics.hooks.clone(), budget),
        slots: Arc::new(Ledger::new(settings.limits, router.clone())),
        settings,
        namespace: args.namespace.clone(),
        cluster_id,
        control_key,
        movers: Movers::new(args.mover_poll, args.progress_interval, router.clone())
            .context("make an HTTP client")?,
        term: Arc::new(Term::default()),
        router,
        pace: Pace::new(args.api_retry_max),
        refusals: Refusals::default(),
        reporter: Reporter::new(client.clone(), args.instance.clone()),
        metrics,
        pending_interval: args.pending_interval,
        client,
    })
}

/// What loads modules, and what reads them.
fn modules(args: &HookArgs, client: &Client, identities: Identities) -> anyhow::Result<(Loader, Fetcher)> {
    const MIB: u64 = 1 << 20;
    let engine = Engine::new()?;
    let limits = CompileLimits { memory: args.hook_compile_memory * MIB, ..CompileLimits::default() };
    let compiler = Compiler::new("/proc/self/exe", [COMPILE_HOOK.into()], limits);
    let cache = match &args.hook_cache_dir {
        Some(folder) => {
            Some(Cache::open(folder, args.hook_cache_size * MIB, None).context("open the cache of modules")?)
        }
        None => None,
    };
    let most = args.hook_module_size * MIB;
    let loader = Loader::new(engine, compiler, cache, most).context("set up the loading of modules")?;
    let dialer = Dialer::new(args.hook_module_hosts.clone());
    let https = Https::new(args.hook_authorities_file.as_deref(), dialer.clone())?;
    let oci = Oci::new(authorities(args)?, dialer, identities).context("set up the pulling of modules")?;
    Ok((loader, Fetcher::new(client.clone(), https, oci, args.hook_modules_dir.clone(), most)))
}

/// Certificates that are trusted besides those of the system, as PEM.
fn authorities(args: &HookArgs) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = &args.hook_authorities_file else { return Ok(None) };
    std::fs::read(path).map(Some).with_context(|| format!("read {}", path.display()))
}

/// What hooks act with.
fn effects(args: &Args, identities: Identities, client: &Client) -> anyhow::Result<Effects> {
    let authorities = authorities(&args.hooks)?;
    let http = HttpClient::new(authorities.as_deref()).context("set up the HTTP client of hooks")?;
    let http = http.with_private_ranges(args.hooks.hook_private_ranges.clone());
    Effects::new(identities, client.clone(), &args.instance, http).context("set up what hooks act with")
}

/// The image that the flag names, else that of this very pod: one image holds the controller and the movers.
async fn mover_image(args: &Args, client: &Client) -> anyhow::Result<MoverImage> {
    if let Some(name) = &args.replication.mover_image {
        return Ok(MoverImage { name: name.clone(), pull_policy: None });
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &args.namespace);
    let pod = api.get(&args.instance).await;
    let pod = pod.with_context(|| {
        format!(
            "read the controller's own pod {}/{}: set --mover-image outside of a cluster",
            args.namespace, args.instance
        )
    })?;
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    // Whatever a mesh has added to the pod, the first container is ours.
    let own = containers.into_iter().next().context("the controller's own pod has no container")?;
    let name = own.image.context("the controller's own container has no image")?;
    Ok(MoverImage { name, pull_policy: own.image_pull_policy })
}

/// Tells every part to end.
#[derive(Clone)]
struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    fn on_signal() -> anyhow::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            sender.send_replace(true);
            // Kept until the process ends: a closed channel would not say whether it was asked for.
            std::future::pending::<()>().await;
        });
        Ok(Self(receiver))
    }

    fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    async fn wait(&self) {
        // The sender lives as long as the process.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }
}
