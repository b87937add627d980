//! What version 0.1 may ask for, in the newest words.

use wasmtime::Result;

use super::host::{events, exec, freeze, http, kube, log, state, time, types};
use crate::state::CallState;

impl types::Host for CallState {}

impl log::Host for CallState {
    async fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        self.write_log(level.into(), &message, &fields)
    }
}

impl events::Host for CallState {
    async fn emit(
        &mut self,
        kind: events::Kind,
        reason: String,
        message: String,
    ) -> Result<Result<(), String>> {
        let event = scribe_hooks_contract::effects::Event { kind: kind.into(), reason, message };
        self.emit_event(event).await
    }
}

impl state::Host for CallState {
    async fn get(&mut self, key: String) -> Result<Result<Option<state::Entry>, state::Error>> {
        Ok(self.state_get(key).await?.map(|entry| entry.map(Into::into)).map_err(Into::into))
    }

    async fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
    ) -> Result<Result<u64, state::Error>> {
        Ok(self.state_put(key, value, expect).await?.map_err(Into::into))
    }

    async fn delete(&mut self, key: String, expect: Option<u64>) -> Result<Result<(), state::Error>> {
        Ok(self.state_delete(key, expect).await?.map_err(Into::into))
    }

    async fn keys(&mut self, prefix: String) -> Result<Result<Vec<String>, state::Error>> {
        Ok(self.state_keys(prefix).await?.map_err(Into::into))
    }
}

impl time::Host for CallState {
    async fn now(&mut self) -> Result<u64> {
        self.read_time()
    }

    async fn remaining_millis(&mut self) -> Result<u64> {
        self.read_remaining()
    }

    async fn sleep_millis(&mut self, ms: u32) -> Result<()> {
        self.sleep(ms).await
    }
}

impl kube::Host for CallState {
    async fn get(
        &mut self,
        target: types::ObjectRef,
        field_path: Option<String>,
    ) -> Result<Result<String, kube::Error>> {
        Ok(self.kube_get(target.into(), field_path).await?.map_err(Into::into))
    }

    async fn list(
        &mut self,
        api_version: String,
        kind: String,
        label_selector: String,
        limit: u32,
    ) -> Result<Result<Vec<String>, kube::Error>> {
        let query = scribe_hooks_contract::effects::ListQuery { api_version, kind, label_selector, limit };
        Ok(self.kube_list(query).await?.map_err(Into::into))
    }

    async fn patch(
        &mut self,
        target: types::ObjectRef,
        kind: kube::PatchKind,
        body_json: String,
    ) -> Result<Result<String, kube::Error>> {
        Ok(self.kube_patch(target.into(), kind.into(), body_json).await?.map_err(Into::into))
    }

    async fn annotate(
        &mut self,
        target: types::ObjectRef,
        key: String,
        value: Option<String>,
    ) -> Result<Result<Option<String>, kube::Error>> {
        Ok(self.kube_annotate(target.into(), key, value).await?.map_err(Into::into))
    }

    async fn scale(&mut self, target: types::ObjectRef, replicas: u32) -> Result<Result<u32, kube::Error>> {
        Ok(self.kube_scale(target.into(), replicas).await?.map_err(Into::into))
    }

    async fn wait_for(
        &mut self,
        target: types::ObjectRef,
        json_path: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Result<Result<bool, kube::Error>> {
        let waited = self.kube_wait_for(target.into(), json_path, equals, timeout_seconds).await?;
        Ok(waited.map_err(Into::into))
    }
}

impl exec::Host for CallState {
    async fn run(
        &mut self,
        t: exec::Target,
        c: exec::Command,
    ) -> Result<Result<Vec<exec::Outcome>, exec::Error>> {
        let ran = self.exec(t.into(), c.into()).await?;
        Ok(ran.map(|outcomes| outcomes.into_iter().map(Into::into).collect()).map_err(Into::into))
    }
}

impl freeze::Host for CallState {
    async fn scale_down(
        &mut self,
        workload: types::ObjectRef,
        replicas: u32,
    ) -> Result<Result<(), freeze::Error>> {
        Ok(self.freeze_scale_down(workload.into(), replicas).await?.map_err(Into::into))
    }

    async fn annotate(
        &mut self,
        target: types::ObjectRef,
        key: String,
        value: String,
    ) -> Result<Result<(), freeze::Error>> {
        Ok(self.freeze_annotate(target.into(), key, value).await?.map_err(Into::into))
    }

    async fn suspend_cronjob(&mut self, target: types::ObjectRef) -> Result<Result<(), freeze::Error>> {
        Ok(self.freeze_suspend_cronjob(target.into()).await?.map_err(Into::into))
    }

    async fn exec_with_undo(
        &mut self,
        t: exec::Target,
        apply: exec::Command,
        undo: exec::Command,
    ) -> Result<Result<(), freeze::Error>> {
        Ok(self.freeze_exec_with_undo(t.into(), apply.into(), undo.into()).await?.map_err(Into::into))
    }

    async fn hold_session(
        &mut self,
        t: exec::Target,
        c: exec::Command,
        ready_marker: String,
    ) -> Result<Result<(), freeze::Error>> {
        Ok(self.freeze_hold_session(t.into(), c.into(), ready_marker).await?.map_err(Into::into))
    }
}

impl http::Host for CallState {
    async fn send(&mut self, r: http::Request) -> Result<Result<http::Response, http::Error>> {
        Ok(self.http_send(r.into()).await?.map(Into::into).map_err(Into::into))
    }
}
