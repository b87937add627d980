//! rsync from the outside: what it is told, what it says, and what its end means.

pub mod arguments;
pub mod exit_codes;
pub mod forecast;
pub mod output;
