//! Logs, to standard error. What is logged never holds a key or a token: those are not in any type that can be printed.

use crate::args::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging at the level in `RUST_LOG`, by default `info`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}
