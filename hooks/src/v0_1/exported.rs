//! What a module of version 0.1 can be asked, in the newest words.

use scribe_hooks_contract::context::{Context, SyncStats};
use scribe_hooks_contract::points::{
    Candidate, FailureReport, Frozen, Info, Point, Problem, Reaction, ReleaseReason, TransferOptions, Verdict,
};
use scribe_hooks_contract::retention::{Keep, ReplicaPoint};
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Result, Store};

use super::exports::{decision, failure, lifecycle, promotion, quiesce, retention, settings, transfer};
use crate::outcome::Refusal;
use crate::state::CallState;

/// What a module exports, found by name.
pub(crate) struct Exports {
    settings: settings::GuestIndices,
    decision: Option<decision::GuestIndices>,
    transfer: Option<transfer::GuestIndices>,
    retention: Option<retention::GuestIndices>,
    quiesce: Option<quiesce::GuestIndices>,
    lifecycle: Option<lifecycle::GuestIndices>,
    failure: Option<failure::GuestIndices>,
    promotion: Option<promotion::GuestIndices>,
}

/// The answer of an effectful function.
pub(crate) type Effected<T> = Result<std::result::Result<T, Refusal>>;

/// A module does not export what it is asked for. The caller has looked before.
fn present<T>(indices: Option<&T>) -> Result<&T> {
    indices.ok_or_else(|| wasmtime::Error::msg("the interface is not exported"))
}

impl Exports {
    /// Looks for the interfaces among the exports.
    ///
    /// # Errors
    ///
    /// An interface lacks a function, or there is no `settings`.
    pub fn find(pre: &InstancePre<CallState>, points: &[Point]) -> Result<Self> {
        fn some<T>(is_there: bool, find: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
            is_there.then(find).transpose()
        }
        let has = |point| points.contains(&point);
        Ok(Self {
            settings: settings::GuestIndices::new(pre)?,
            decision: some(has(Point::Decision), || decision::GuestIndices::new(pre))?,
            transfer: some(has(Point::Transfer), || transfer::GuestIndices::new(pre))?,
            retention: some(has(Point::Retention), || retention::GuestIndices::new(pre))?,
            quiesce: some(has(Point::Quiesce), || quiesce::GuestIndices::new(pre))?,
            lifecycle: some(has(Point::Lifecycle), || lifecycle::GuestIndices::new(pre))?,
            failure: some(has(Point::Failure), || failure::GuestIndices::new(pre))?,
            promotion: some(has(Point::Promotion), || promotion::GuestIndices::new(pre))?,
        })
    }

    /// Compares the types of all functions with those of the interfaces. Answers the first interface that differs, and how.
    pub fn check(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
    ) -> std::result::Result<(), (&'static str, wasmtime::Error)> {
        macro_rules! check {
            ($($name:ident),+) => {
                $(if let Some(Err(error)) = self.$name.as_ref().map(|indices| indices.load(&mut *store, instance).map(drop)) {
                    return Err((stringify!($name), error));
                })+
            };
        }
        self.settings.load(&mut *store, instance).map_err(|error| ("settings", error))?;
        check!(decision, transfer, retention, quiesce, lifecycle, failure, promotion);
        Ok(())
    }

    pub async fn describe(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<Info> {
        let guest = self.settings.load(&mut *store, instance)?;
        Ok(guest.call_describe(store).await?.into())
    }

    pub async fn validate(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        settings_json: &str,
    ) -> Result<Vec<Problem>> {
        let guest = self.settings.load(&mut *store, instance)?;
        let judged = guest.call_validate(store, settings_json).await?;
        let Err(problems) = judged else { return Ok(Vec::new()) };
        // No problem to name, and yet a problem: it must not pass for none.
        if problems.is_empty() {
            return Ok(vec![Problem {
                path: None,
                message: "the module refuses the settings and says no more".into(),
            }]);
        }
        Ok(problems.into_iter().map(Into::into).collect())
    }

    pub async fn decide(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
    ) -> Result<Verdict> {
        let guest = present(self.decision.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_decide(store, &ctx.into()).await?.into())
    }

    pub async fn tune(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        defaults: TransferOptions,
    ) -> Effected<TransferOptions> {
        let guest = present(self.transfer.as_ref())?.load(&mut *store, instance)?;
        let tuned = guest.call_tune(store, &ctx.into(), &defaults.into()).await?;
        Ok(tuned.map(Into::into).map_err(Refusal::Failed))
    }

    pub async fn choose(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        points: Vec<ReplicaPoint>,
    ) -> Effected<Vec<Keep>> {
        let guest = present(self.retention.as_ref())?.load(&mut *store, instance)?;
        let points: Vec<retention::Point> = points.into_iter().map(Into::into).collect();
        let chosen = guest.call_choose(store, &ctx.into(), &points).await?;
        Ok(chosen.map(|keeps| keeps.into_iter().map(Into::into).collect()).map_err(Refusal::Failed))
    }

    pub async fn quiesce(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
    ) -> Effected<Frozen> {
        let guest = present(self.quiesce.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_quiesce(store, &ctx.into()).await?.map(Into::into).map_err(Into::into))
    }

    pub async fn release(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        (token, reason, try_number): (Option<String>, ReleaseReason, u32),
    ) -> Effected<()> {
        let guest = present(self.quiesce.as_ref())?.load(&mut *store, instance)?;
        let released =
            guest.call_release(store, &ctx.into(), token.as_deref(), reason.into(), try_number).await?;
        Ok(released.map_err(Into::into))
    }

    pub async fn pre_sync(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
    ) -> Effected<()> {
        let guest = present(self.lifecycle.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_pre_sync(store, &ctx.into()).await?.map_err(Into::into))
    }

    pub async fn post_sync(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        stats: SyncStats,
    ) -> Effected<()> {
        let guest = present(self.lifecycle.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_post_sync(store, &ctx.into(), stats.into()).await?.map_err(Into::into))
    }

    pub async fn on_failure(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        report: FailureReport,
    ) -> Effected<Reaction> {
        let guest = present(self.failure.as_ref())?.load(&mut *store, instance)?;
        let reaction = guest.call_on_failure(store, &ctx.into(), &report.into()).await?;
        Ok(reaction.map(Into::into).map_err(Into::into))
    }

    pub async fn before_promotion(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        candidate: Candidate,
    ) -> Effected<()> {
        let guest = present(self.promotion.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_before_promotion(store, &ctx.into(), &candidate.into()).await?.map_err(Into::into))
    }

    pub async fn after_promotion(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        ctx: Context,
        candidate: Candidate,
    ) -> Effected<()> {
        let guest = present(self.promotion.as_ref())?.load(&mut *store, instance)?;
        Ok(guest.call_after_promotion(store, &ctx.into(), &candidate.into()).await?.map_err(Into::into))
    }
}
