//! Tunes the transfer: bandwidth by the hour, comparison by the day.

mod settings;
#[cfg(test)]
mod tests;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use scribe_hook_sdk::transfer::{Comparison, Options};
use scribe_hook_sdk::{Context, Hook, Problem, Transfer, export, log};

use crate::settings::Settings;

struct TuneRsync;

impl Hook for TuneRsync {
    type Settings = Settings;
    const SCHEMA: Option<&'static str> = Some(include_str!("../settings.schema.json"));

    fn validate(settings: &Settings) -> Vec<Problem> {
        settings.problems()
    }
}

impl Transfer for TuneRsync {
    fn tune(ctx: &Context<Settings>, defaults: Options) -> Result<Options, String> {
        let settings = &ctx.settings;
        let now = local(ctx.attempt.now, &settings.time_zone)?;
        Ok(Options {
            bandwidth_kib: bandwidth(ctx, now).or(defaults.bandwidth_kib),
            comparison: Some(comparison(settings, now)),
            // They are added to those of the spec, so what was given need not be repeated; but other defaults must not be lost.
            excludes: defaults.excludes.into_iter().chain(settings.excludes.iter().cloned()).collect(),
            timeout_seconds: settings.timeout_seconds.or(defaults.timeout_seconds),
        })
    }
}

/// The clock on the wall there. All that this hook knows of the time comes from the context.
fn local(now: u64, zone: &str) -> Result<DateTime, String> {
    let millis = i64::try_from(now).map_err(|error| error.to_string())?;
    let now = Timestamp::from_millisecond(millis).map_err(|error| error.to_string())?;
    Ok(Zoned::new(now, time_zone(zone)?).datetime())
}

/// From the rules that are compiled in: a module has no files.
fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|error| error.to_string())
}

/// The lowest limit of the windows that are open, if the last sync was large enough for it to matter.
fn bandwidth(ctx: &Context<Settings>, now: DateTime) -> Option<u32> {
    let sent = ctx.last.succeeded.map(|stats| stats.bytes_sent);
    if sent.is_some_and(|sent| sent < ctx.settings.unlimited_below_bytes) {
        return None;
    }
    let open = ctx.settings.windows.iter().filter(|window| window.contains(now));
    let limit = open.map(|window| window.bandwidth_kib).min();
    if let Some(limit) = limit {
        log::info(&format!("{now} is within a window: {limit} KiB per second"));
    }
    limit
}

/// `metadata` is asked for here and granted by the host: it uses it only where the source's own comparison is Metadata.
fn comparison(settings: &Settings, now: DateTime) -> Comparison {
    let today = settings::Day::from(now.weekday());
    match settings.metadata && !settings.content_on.contains(&today) {
        true => Comparison::Metadata,
        false => Comparison::Content,
    }
}

export!(TuneRsync: Transfer);
