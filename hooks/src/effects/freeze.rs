//! Changes that are undone at release.

use std::future::Future;
use std::time::Duration;

use scribe_hooks_contract::context::ObjectRef;
use scribe_hooks_contract::effects::{Command, FreezeError, Target};
use scribe_hooks_contract::grants::Verb;

use super::kube::check_annotation;
use super::{Answer, PATIENCE, seconds, within};
use crate::state::CallState;

/// A command's own time is followed by what it takes to see its end.
const GRACE: Duration = Duration::from_secs(5);

impl CallState {
    async fn frozen(
        &mut self,
        limit: Duration,
        work: impl Future<Output = Result<(), FreezeError>>,
    ) -> Answer<(), FreezeError> {
        let done = within(limit, self.patience(), work).await;
        Ok(self.heard(done.unwrap_or_else(|| Err(FreezeError::Failed("it took too long".to_owned())))))
    }

    /// Is this the time for it?
    fn open(&mut self, name: &'static str) -> Answer<(), FreezeError> {
        self.count(name)?;
        Ok(match self.effects(name).map(|effects| effects.may_freeze) {
            Ok(true) => Ok(()),
            Ok(false) => Err(FreezeError::WindowClosed),
            Err(denied) => Err(FreezeError::Denied(self.denied(denied))),
        })
    }

    pub async fn freeze_scale_down(&mut self, workload: ObjectRef, replicas: u32) -> Answer<(), FreezeError> {
        if let Err(error) = self.open("freeze.scale-down")? {
            return Ok(Err(error));
        }
        match self.permit_kube("freeze.scale-down", Verb::Scale, &workload) {
            Ok((host, permit)) => self.frozen(PATIENCE, host.freeze_scale_down(permit, replicas)).await,
            Err(denied) => Ok(Err(FreezeError::Denied(self.denied(denied)))),
        }
    }

    pub async fn freeze_annotate(
        &mut self,
        target: ObjectRef,
        key: String,
        value: String,
    ) -> Answer<(), FreezeError> {
        if let Err(error) = self.open("freeze.annotate")? {
            return Ok(Err(error));
        }
        let permitted = check_annotation(&key)
            .and_then(|()| self.permit_kube("freeze.annotate", Verb::Annotate, &target));
        match permitted {
            Ok((host, permit)) => self.frozen(PATIENCE, host.freeze_annotate(permit, key, value)).await,
            Err(denied) => Ok(Err(FreezeError::Denied(self.denied(denied)))),
        }
    }

    pub async fn freeze_suspend_cronjob(&mut self, target: ObjectRef) -> Answer<(), FreezeError> {
        if let Err(error) = self.open("freeze.suspend-cronjob")? {
            return Ok(Err(error));
        }
        match self.permit_kube("freeze.suspend-cronjob", Verb::Suspend, &target) {
            Ok((host, permit)) => self.frozen(PATIENCE, host.freeze_suspend_cronjob(permit)).await,
            Err(denied) => Ok(Err(FreezeError::Denied(self.denied(denied)))),
        }
    }

    pub async fn freeze_exec_with_undo(
        &mut self,
        target: Target,
        apply: Command,
        undo: Command,
    ) -> Answer<(), FreezeError> {
        if let Err(error) = self.open("freeze.exec-with-undo")? {
            return Ok(Err(error));
        }
        match self.permit_exec("freeze.exec-with-undo", &target, &[&apply, &undo]) {
            Ok((host, permit)) => {
                let limit = seconds(apply.timeout_seconds) + GRACE;
                self.frozen(limit, host.freeze_exec_with_undo(permit, apply, undo)).await
            }
            Err(denied) => Ok(Err(FreezeError::Denied(self.denied(denied)))),
        }
    }

    pub async fn freeze_hold_session(
        &mut self,
        target: Target,
        command: Command,
        ready_marker: String,
    ) -> Answer<(), FreezeError> {
        if let Err(error) = self.open("freeze.hold-session")? {
            return Ok(Err(error));
        }
        if ready_marker.is_empty() || ready_marker.contains('\n') {
            return Ok(Err(FreezeError::Failed(
                "ready-marker must be part of one line, and not empty".to_owned(),
            )));
        }
        match self.permit_exec("freeze.hold-session", &target, &[&command]) {
            Ok((host, permit)) => {
                let limit = seconds(command.timeout_seconds) + GRACE;
                self.frozen(limit, host.freeze_hold_session(permit, command, ready_marker)).await
            }
            Err(denied) => Ok(Err(FreezeError::Denied(self.denied(denied)))),
        }
    }
}
