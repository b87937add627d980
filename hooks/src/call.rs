//! The calls, one method for each function of a hook.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use scribe_hooks_contract::context::{Context, SyncStats};
use scribe_hooks_contract::grants::Grants;
use scribe_hooks_contract::limits::{Effective, fixed};
use scribe_hooks_contract::points::{
    Candidate, FailureReport, Frozen, Info, Point, Problem, Reaction, ReleaseReason, TransferOptions, Verdict,
};
use scribe_hooks_contract::retention::{self, Keep, ReplicaPoint};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::check;
use crate::fault::Limits;
use crate::host::Host;
use crate::module::{Inner, Module};
use crate::outcome::{Called, Refusal};
use crate::run::{Setup, Work, run};
use crate::state::{CallState, Effects, Start};

/// Calls that have no effect, whatever was granted: the same input brings the same answer.
#[derive(Clone)]
pub struct Pure {
    module: Arc<Inner>,
    limits: Effective,
}

/// Calls that may do what was granted.
#[derive(Clone)]
pub struct Effectful {
    module: Arc<Inner>,
    limits: Effective,
    grants: Arc<Grants>,
    host: Arc<dyn Host>,
}

impl Module {
    /// Pure calls under these limits.
    pub fn pure(&self, limits: Effective) -> Pure {
        Pure { module: self.inner.clone(), limits }
    }

    /// Effectful calls under these limits, with what was granted, done by that host.
    pub fn effectful(&self, limits: Effective, grants: Arc<Grants>, host: Arc<dyn Host>) -> Effectful {
        Effectful { module: self.inner.clone(), limits, grants, host }
    }
}

/// A call of one function on the instance that was made for it.
fn work<T, F>(module: &Arc<Inner>, call: F) -> Work<T>
where
    F: for<'a> FnOnce(
            &'a Inner,
            &'a mut Store<CallState>,
            &'a Instance,
        ) -> BoxFuture<'a, wasmtime::Result<T>>
        + Send
        + 'static,
    T: Send,
{
    let module = module.clone();
    Box::new(move |store, instance| Box::pin(async move { call(&module, store, instance).await }))
}

/// How long a call may take that someone waits for until its deadline; sets the deadline to what follows from that.
fn until_deadline(ctx: &mut Context, most: Duration) -> Duration {
    let attempt = &mut ctx.attempt;
    let time = Duration::from_millis(attempt.deadline.saturating_sub(attempt.now)).min(most);
    attempt.deadline = attempt.now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    time
}

impl Pure {
    async fn run<T: Send>(
        &self,
        function: &'static str,
        now: u64,
        time: Duration,
        work: Work<T>,
    ) -> Called<T> {
        let Effective { memory, fuel, .. } = self.limits;
        let limits = Limits {
            fuel,
            memory,
            time,
            time_name: (time == self.limits.pure_timeout).then_some("pureTimeout"),
            cpu: time,
            is_pure: true,
        };
        let start = Start { memory, time_limit: time, now, effects: None };
        run(&self.module.engine, &self.module.pre, Setup { function, limits, start }, work).await
    }

    async fn at<T: Send, F>(
        &self,
        point: Point,
        function: &'static str,
        mut ctx: Context,
        call: F,
    ) -> Called<T>
    where
        F: for<'a> FnOnce(
                &'a Inner,
                &'a mut Store<CallState>,
                &'a Instance,
                Context,
            ) -> BoxFuture<'a, wasmtime::Result<T>>
            + Send
            + 'static,
    {
        if let Err(error) = self.module.require(point) {
            return Called::not_run(error);
        }
        let now = ctx.attempt.now;
        let time = until_deadline(&mut ctx, self.limits.pure_timeout);
        let work = work(&self.module, move |module, store, instance| call(module, store, instance, ctx));
        self.run(function, now, time, work).await
    }

    /// What the module says about itself.
    pub async fn describe(&self) -> Called<Info> {
        let work =
            work(&self.module, |module, store, instance| Box::pin(module.exports.describe(store, instance)));
        let called = self.run("describe", 0, self.limits.pure_timeout, work).await;
        called.checked("describe", check::info)
    }

    /// What is wrong with these settings. Nothing: they are good.
    pub async fn validate(&self, settings_json: String) -> Called<Vec<Problem>> {
        let work = work(&self.module, |module, store, instance| {
            Box::pin(async move { module.exports.validate(store, instance, &settings_json).await })
        });
        let called = self.run("validate", 0, self.limits.pure_timeout, work).await;
        called.checked("validate", check::problems)
    }

    /// Whether to sync now.
    pub async fn decide(&self, ctx: Context) -> Called<Verdict> {
        let called = self
            .at(Point::Decision, "decide", ctx, |module, store, instance, ctx| {
                Box::pin(module.exports.decide(store, instance, ctx))
            })
            .await;
        called.checked("decide", check::verdict)
    }

    /// How to transfer, given what would be done without the hook.
    pub async fn tune(&self, ctx: Context, defaults: TransferOptions) -> Called<TransferOptions> {
        let called = self
            .at(Point::Transfer, "tune", ctx, |module, store, instance, ctx| {
                Box::pin(module.exports.tune(store, instance, ctx, defaults))
            })
            .await;
        called.settled("tune").checked("tune", check::options)
    }

    /// Which replicas to keep. The answer names replicas that were given, none twice; what follows from it says
    /// [`Plan::new`](retention::Plan::new). With `verify` it is asked twice, and two different answers are an error.
    pub async fn choose(
        &self,
        ctx: Context,
        mut points: Vec<ReplicaPoint>,
        verify: bool,
    ) -> Called<Vec<Keep>> {
        retention::sort(&mut points);
        let again = verify.then(|| (ctx.clone(), points.clone()));
        let first = self.choose_once(ctx, points).await;
        let Some((ctx, points)) = again.filter(|_| first.outcome.is_ok()) else { return first };
        let second = self.choose_once(ctx, points).await;
        first.checked("choose", |answer| match second.outcome {
            Ok(again) if again == answer => Ok(answer),
            Ok(_) => Err("asked twice with the same input, it gave two different answers".to_owned()),
            Err(error) => Err(format!("asked twice with the same input, it answered once; then: {error}")),
        })
    }

    async fn choose_once(&self, ctx: Context, points: Vec<ReplicaPoint>) -> Called<Vec<Keep>> {
        let ids: Vec<String> = points.iter().map(|point| point.id.clone()).collect();
        let called = self
            .at(Point::Retention, "choose", ctx, |module, store, instance, ctx| {
                Box::pin(module.exports.choose(store, instance, ctx, points))
            })
            .await;
        called.settled("choose").checked("choose", |keeps| check::keeps(&ids, keeps))
    }
}

impl Effectful {
    async fn at<T: Send, F>(
        &self,
        point: Point,
        function: &'static str,
        mut ctx: Context,
        call: F,
    ) -> Called<T>
    where
        F: for<'a> FnOnce(
                &'a Inner,
                &'a mut Store<CallState>,
                &'a Instance,
                Context,
            ) -> BoxFuture<'a, wasmtime::Result<Result<T, Refusal>>>
            + Send
            + 'static,
    {
        if let Err(error) = self.module.require(point) {
            return Called::not_run(error);
        }
        let now = ctx.attempt.now;
        let Effective { memory, timeout, cpu, .. } = self.limits;
        let time = until_deadline(&mut ctx, timeout);
        let cpu = cpu.min(time);
        // Fuel is counted but bounds nothing: what may take minutes is bounded by time.
        let limits = Limits {
            fuel: u64::MAX,
            memory,
            time,
            time_name: (time == timeout).then_some("timeout"),
            cpu,
            is_pure: false,
        };
        let effects = Effects {
            host: self.host.clone(),
            grants: self.grants.clone(),
            namespace: ctx.replication.object.namespace.clone(),
            may_freeze: function == "quiesce",
            is_release: function == "release",
            events_left: fixed::EVENTS,
            exec_output_left: fixed::EXEC_OUTPUT_BYTES,
            http_left: fixed::HTTP_BODY_BYTES,
        };
        let start = Start { memory, time_limit: time, now, effects: Some(effects) };
        let work = work(&self.module, move |module, store, instance| call(module, store, instance, ctx));
        let setup = Setup { function, limits, start };
        run(&self.module.engine, &self.module.pre, setup, work).await.settled(function)
    }

    /// Brings the application to rest.
    ///
    /// Whatever this answers, and also if it is dropped before it answers, [`Effectful::release`] is due.
    pub async fn quiesce(&self, ctx: Context) -> Called<Frozen> {
        let called = self
            .at(Point::Quiesce, "quiesce", ctx, |module, store, instance, ctx| {
                Box::pin(module.exports.quiesce(store, instance, ctx))
            })
            .await;
        called.checked("quiesce", check::frozen)
    }

    /// Lets the application go on. To be repeated until it succeeds; `try_number` counts from 1.
    pub async fn release(
        &self,
        ctx: Context,
        token: Option<String>,
        reason: ReleaseReason,
        try_number: u32,
    ) -> Called<()> {
        self.at(Point::Quiesce, "release", ctx, move |module, store, instance, ctx| {
            Box::pin(module.exports.release(store, instance, ctx, (token, reason, try_number)))
        })
        .await
    }

    /// Before a sync.
    pub async fn pre_sync(&self, ctx: Context) -> Called<()> {
        self.at(Point::Lifecycle, "pre-sync", ctx, |module, store, instance, ctx| {
            Box::pin(module.exports.pre_sync(store, instance, ctx))
        })
        .await
    }

    /// After its replica was published.
    pub async fn post_sync(&self, ctx: Context, stats: SyncStats) -> Called<()> {
        self.at(Point::Lifecycle, "post-sync", ctx, move |module, store, instance, ctx| {
            Box::pin(module.exports.post_sync(store, instance, ctx, stats))
        })
        .await
    }

    /// What to do about an attempt that failed.
    pub async fn on_failure(&self, ctx: Context, report: FailureReport) -> Called<Reaction> {
        let called = self
            .at(Point::Failure, "on-failure", ctx, |module, store, instance, ctx| {
                Box::pin(module.exports.on_failure(store, instance, ctx, report))
            })
            .await;
        called.checked("on-failure", check::reaction)
    }

    /// Before a promotion.
    pub async fn before_promotion(&self, ctx: Context, candidate: Candidate) -> Called<()> {
        self.at(Point::Promotion, "before-promotion", ctx, |module, store, instance, ctx| {
            Box::pin(module.exports.before_promotion(store, instance, ctx, candidate))
        })
        .await
    }

    /// After it.
    pub async fn after_promotion(&self, ctx: Context, candidate: Candidate) -> Called<()> {
        self.at(Point::Promotion, "after-promotion", ctx, |module, store, instance, ctx| {
            Box::pin(module.exports.after_promotion(store, instance, ctx, candidate))
        })
        .await
    }
}
