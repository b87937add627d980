//! Asks a hook how an attempt is to transfer, once.

use super::validate::ValidSource;
use super::{Pass, hooks};
use crate::hooks::{HookAnswer, HookCall, HookRequest, State, Trouble, id};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{Comparison, CurrentSync, Failure, OnError, TransferRecord};
use scribe_hooks_contract::points::{self, Point, TransferOptions};
use scribe_mover_contract::peer;

/// The most patterns that a hook can add.
const PATTERNS: usize = 64;
/// The longest of them, in bytes.
const PATTERN: usize = 1024;
/// All of them together, in bytes: they travel in the pod's environment, and stand in the status.
const ALL_PATTERNS: usize = 16 << 10;
/// A peer that is gone has to be noticed within this time, in seconds.
const LONGEST_SILENCE: u32 = 120;

/// How an attempt is to transfer.
pub enum Tuned {
    /// As the spec says, with these changes.
    As(Option<TransferRecord>),
    /// It has been asked.
    Waits,
    /// It broke, and there is to be no sync without it.
    Failed(Trouble),
}

/// How the current attempt of a sync is to transfer.
pub fn tune(pass: &mut Pass<'_>, valid: &ValidSource, sync: &CurrentSync) -> Tuned {
    let Some(entry) = pass.roll.at(Point::Transfer) else { return Tuned::As(None) };
    let record = entry.record.transfer.clone();
    if let Some(record) = record.filter(|record| record.sync_id == sync.id && record.attempt == sync.attempt)
    {
        return Tuned::As(Some(record));
    }
    // One that is broken and matters has held the source up before.
    let State::Ready { digest } = entry.state.clone() else { return Tuned::As(None) };
    let settings = entry.settings_json.clone();
    let attempt = format!("{}-{}", sync.id, sync.attempt);
    let (trigger, method) = (hooks::trigger_of(sync), hooks::method_of(sync));
    let context = hooks::told(pass, attempt, sync.attempt, trigger, method, &settings);
    let usual = usual(pass, valid);
    let call = HookCall {
        id: id(&("tune", &sync.id, sync.attempt, entry.judged())),
        module: entry.module().to_owned(),
        digest: digest.clone(),
        request: HookRequest::Tune(Box::new(context), usual.clone()),
    };
    let on_error = entry.on_error;
    let seen = pass.seen;
    let answer = match pass.roll.ask(&seen.hooks, &call) {
        None => return Tuned::Waits,
        Some(Ok(HookAnswer::Options(options))) => check(valid, &usual, &options),
        Some(Ok(_)) => Err(Trouble::misunderstood()),
        Some(Err(failure)) => Err(Trouble::of(&failure)),
    };
    let record = TransferRecord {
        sync_id: sync.id.clone(),
        attempt: sync.attempt,
        digest,
        bandwidth_limit: valid.bandwidth_limit,
        excludes: Vec::new(),
        comparison: None,
        timeout_seconds: None,
        failure: None,
        note: None,
    };
    let mut failed = None;
    let record = match answer {
        Ok(said) => TransferRecord {
            bandwidth_limit: said.bandwidth_limit,
            excludes: said.excludes,
            comparison: said.comparison,
            timeout_seconds: said.timeout_seconds,
            note: said.note,
            ..record
        },
        Err(trouble) => {
            let message =
                format!("HookModule {} could not say how to transfer: {}", call.module, trouble.message);
            let trouble = Trouble::new(trouble.reason, message);
            failed = Some(trouble.clone()).filter(|_| on_error == OnError::Fail);
            TransferRecord { failure: Some(Failure::from(&trouble)), ..record }
        }
    };
    if let Some(entry) = pass.roll.at_mut(Point::Transfer) {
        entry.record.transfer = Some(record.clone());
    }
    failed.map_or(Tuned::As(Some(record)), Tuned::Failed)
}

/// What would be done without the hook.
fn usual(pass: &Pass<'_>, valid: &ValidSource) -> TransferOptions {
    TransferOptions {
        bandwidth_kib: valid.bandwidth_limit.map(|bytes| u32::try_from(bytes / 1024).unwrap_or(u32::MAX)),
        comparison: Some(match valid.comparison {
            peer::Comparison::Content => points::Comparison::Content,
            peer::Comparison::Metadata => points::Comparison::Metadata,
        }),
        excludes: valid.excludes.clone(),
        timeout_seconds: u32::try_from(pass.settings.mover_timeouts.silence).ok(),
    }
}

/// What a hook said, checked.
struct Said {
    bandwidth_limit: Option<u64>,
    excludes: Vec<String>,
    comparison: Option<Comparison>,
    timeout_seconds: Option<u32>,
    note: Option<String>,
}

fn check(valid: &ValidSource, usual: &TransferOptions, options: &TransferOptions) -> Result<Said, Trouble> {
    let TransferOptions { bandwidth_kib, comparison, excludes, timeout_seconds } = options;
    let wrong = |message: String| Err(Trouble::new(Reason::HookOutput, message));
    if *bandwidth_kib == Some(0) {
        return wrong("it answers bandwidth-kib 0: nothing would ever be sent".to_owned());
    }
    if timeout_seconds.is_some_and(|seconds| !(1..=LONGEST_SILENCE).contains(&seconds)) {
        return wrong(format!("it answers timeout-seconds outside of 1 to {LONGEST_SILENCE}"));
    }
    // Those that it was given are not its own: it may well hand them back.
    let own: Vec<String> =
        excludes.iter().filter(|pattern| !valid.excludes.contains(pattern)).cloned().collect();
    if own.len() > PATTERNS || own.iter().map(String::len).sum::<usize>() > ALL_PATTERNS {
        return wrong(format!(
            "it adds {} excludes, and {PATTERNS} are allowed, of {ALL_PATTERNS} bytes together",
            own.len()
        ));
    }
    let is_bad = |pattern: &String| {
        pattern.is_empty() || pattern.len() > PATTERN || pattern.contains(['\n', '\r', '\0'])
    };
    if let Some(number) = own.iter().position(is_bad) {
        return wrong(format!("its exclude {number} is empty, too long, or has a line break"));
    }
    let (comparison, note) = match (comparison, valid.comparison) {
        (Some(points::Comparison::Content), peer::Comparison::Metadata) => (Some(Comparison::Content), None),
        (Some(points::Comparison::Metadata), peer::Comparison::Content) => (
            None,
            Some(
                "comparison metadata is not honoured: spec.rsync.comparison of the source does not allow it"
                    .to_owned(),
            ),
        ),
        (None | Some(points::Comparison::Content), peer::Comparison::Content)
        | (None | Some(points::Comparison::Metadata), peer::Comparison::Metadata) => (None, None),
    };
    Ok(Said {
        // It was told whole KiB.
        bandwidth_limit: match bandwidth_kib {
            Some(kib) if Some(*kib) == usual.bandwidth_kib => valid.bandwidth_limit,
            kib => kib.map(|kib| u64::from(kib) * 1024),
        },
        excludes: own,
        comparison,
        timeout_seconds: *timeout_seconds,
        note,
    })
}
