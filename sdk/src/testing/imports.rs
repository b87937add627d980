//! The imports of a module, where there is no module: each is recorded and answered by the thread's scripted host.

use super::{Call, with};

/// What is said where nothing was scripted.
fn unscripted(what: &str) -> String {
    format!("the test has scripted no answer for {what}")
}

pub mod log {
    use super::with;
    use crate::log::Level;
    use crate::testing::Log;

    pub fn log(level: Level, message: &str, fields: &[(String, String)]) {
        let log = Log { level, message: message.to_owned(), fields: fields.to_vec() };
        with(|state| state.logs.push(log));
    }
}

pub mod events {
    use super::{Call, with};
    use crate::events::Kind;

    pub fn emit(kind: Kind, reason: &str, message: &str) -> Result<(), String> {
        let call = Call::Event { kind, reason: reason.to_owned(), message: message.to_owned() };
        with(|state| state.calls.push(call));
        Ok(())
    }
}

pub mod state {
    use super::with;
    use crate::state::{Entry, Error};

    pub fn get(key: &str) -> Result<Option<Entry>, Error> {
        Ok(with(|state| state.store.get(key)))
    }

    pub fn put(key: &str, value: &[u8], expect: Option<u64>) -> Result<u64, Error> {
        with(|state| state.store.put(key, value, expect))
    }

    pub fn delete(key: &str, expect: Option<u64>) -> Result<(), Error> {
        with(|state| state.store.delete(key, expect))
    }

    pub fn keys(prefix: &str) -> Result<Vec<String>, Error> {
        Ok(with(|state| state.store.keys(prefix)))
    }
}

pub mod time {
    use super::with;
    use crate::Timestamp;

    pub fn now() -> Timestamp {
        with(|state| state.now)
    }

    pub fn remaining_millis() -> u64 {
        with(|state| state.deadline.saturating_sub(state.now))
    }

    pub fn sleep_millis(ms: u32) {
        with(|state| state.now = state.deadline.min(state.now + u64::from(ms)).max(state.now));
    }
}

pub mod exec {
    use super::{Call, unscripted, with};
    use crate::exec::{Command, Error, Outcome, Target};

    pub fn run(target: &Target, command: &Command) -> Result<Vec<Outcome>, Error> {
        let call = Call::Exec { target: target.clone(), command: command.clone() };
        let denied = Error::Denied(unscripted(&command.argv.join(" ")));
        with(|state| {
            state.calls.push(call);
            state.answers.exec.pop_front().unwrap_or(Err(denied))
        })
    }
}

pub mod freeze {
    use super::{Call, with};
    use crate::ObjectRef;
    use crate::exec::{Command, Target};
    use crate::freeze::Error;

    fn answer(call: Call) -> Result<(), Error> {
        with(|state| {
            state.calls.push(call);
            state.answers.freeze.pop_front().unwrap_or(Ok(()))
        })
    }

    pub fn scale_down(workload: &ObjectRef, replicas: u32) -> Result<(), Error> {
        answer(Call::FreezeScaleDown { workload: workload.clone(), replicas })
    }

    pub fn annotate(target: &ObjectRef, key: &str, value: &str) -> Result<(), Error> {
        answer(Call::FreezeAnnotate { target: target.clone(), key: key.to_owned(), value: value.to_owned() })
    }

    pub fn suspend_cronjob(target: &ObjectRef) -> Result<(), Error> {
        answer(Call::FreezeSuspendCronjob { target: target.clone() })
    }

    pub fn exec_with_undo(target: &Target, apply: &Command, undo: &Command) -> Result<(), Error> {
        answer(Call::FreezeExecWithUndo { target: target.clone(), apply: apply.clone(), undo: undo.clone() })
    }

    pub fn hold_session(target: &Target, command: &Command, ready_marker: &str) -> Result<(), Error> {
        answer(Call::FreezeHoldSession {
            target: target.clone(),
            command: command.clone(),
            ready_marker: ready_marker.to_owned(),
        })
    }
}

pub mod http {
    use super::{Call, unscripted, with};
    use crate::http::{Error, Request, Response};

    pub fn send(request: &Request) -> Result<Response, Error> {
        let denied = Error::Denied(unscripted(&request.url));
        with(|state| {
            state.calls.push(Call::Http(request.clone()));
            state.answers.http.pop_front().unwrap_or(Err(denied))
        })
    }
}

pub mod kube {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::{Call, unscripted, with};
    use crate::ObjectRef;
    use crate::kube::{Error, PatchKind};

    fn answer(call: Call) -> Result<Value, Error> {
        let denied = Error::Denied(unscripted(&format!("{call:?}")));
        with(|state| {
            state.calls.push(call);
            state.answers.kube.pop_front().unwrap_or(Err(denied))
        })
    }

    /// What a test has scripted must be of the type that the function answers.
    fn typed<T: DeserializeOwned>(call: Call) -> Result<T, Error> {
        let name = format!("{call:?}");
        let value = answer(call)?;
        serde_json::from_value(value)
            .map_err(|error| Error::Invalid(format!("the answer that was scripted for {name}: {error}")))
    }

    pub fn get(target: &ObjectRef, pointer: Option<&str>) -> Result<String, Error> {
        answer(Call::KubeGet { target: target.clone(), pointer: pointer.map(str::to_owned) })
            .map(|value| value.to_string())
    }

    pub fn list(
        api_version: &str,
        kind: &str,
        label_selector: &str,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let call = Call::KubeList {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            label_selector: label_selector.to_owned(),
            limit,
        };
        let objects: Vec<Value> = typed(call)?;
        Ok(objects.iter().map(Value::to_string).collect())
    }

    pub fn patch(target: &ObjectRef, kind: PatchKind, body: &str) -> Result<String, Error> {
        let body = serde_json::from_str(body).map_err(|error| Error::Invalid(error.to_string()))?;
        answer(Call::KubePatch { target: target.clone(), kind, body }).map(|value| value.to_string())
    }

    pub fn annotate(target: &ObjectRef, key: &str, value: Option<&str>) -> Result<Option<String>, Error> {
        typed(Call::KubeAnnotate {
            target: target.clone(),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        })
    }

    pub fn scale(target: &ObjectRef, replicas: u32) -> Result<u32, Error> {
        typed(Call::KubeScale { target: target.clone(), replicas })
    }

    pub fn wait_for(
        target: &ObjectRef,
        pointer: &str,
        equals: &str,
        timeout_seconds: u32,
    ) -> Result<bool, Error> {
        typed(Call::KubeWaitFor {
            target: target.clone(),
            pointer: pointer.to_owned(),
            equals: equals.to_owned(),
            timeout_seconds,
        })
    }
}
