//! The hook's log. Needs no grant.

use super::imports::log as import;

pub use crate::bindings::host::scribe::hooks::log::Level;

/// Logs a message with fields.
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    import::log(level, message, &fields);
}

/// Logs what helps only its author.
pub fn debug(message: &str) {
    log(Level::Debug, message, &[]);
}

/// Logs what was done.
pub fn info(message: &str) {
    log(Level::Info, message, &[]);
}

/// Logs what somebody should look at.
pub fn warn(message: &str) {
    log(Level::Warn, message, &[]);
}

/// Logs what went wrong.
pub fn error(message: &str) {
    log(Level::Error, message, &[]);
}
