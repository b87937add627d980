//! When a schedule ticks.
