//! How long to wait before the next try.

/// The pause in seconds before try number `failures + 1`: `base`, doubled for each failure after the first, at most `max`.
///
/// `fraction` (from 0 to 1, see [`crate::chance::Chance::fraction`]) takes up to a quarter off, so that what failed together is
/// not tried again together. The pause is at least one second.
pub fn pause(failures: u32, base: i64, max: i64, fraction: f64) -> i64 {
    let doublings = failures.saturating_sub(1).min(32);
    let full = base.max(1).saturating_mul(1_i64 << doublings).min(max.max(1));
    // Pauses are minutes: far within what an f64 holds exactly.
    let off = (full as f64 * fraction.clamp(0.0, 1.0) / 4.0) as i64;
    (full - off).max(1)
}

#[cfg(test)]
mod tests {
    use super::pause;

    #[test]
    fn a_pause_doubles_up_to_its_limit() {
        let pauses: Vec<i64> = (0..8).map(|failures| pause(failures, 10, 300, 0.0)).collect();
        assert_eq!(pauses, [10, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pause(u32::MAX, i64::MAX, i64::MAX, 0.0), i64::MAX);
    }

    #[test]
    fn chance_takes_off_at_most_a_quarter() {
        assert_eq!(pause(3, 10, 300, 0.999), 31);
        assert_eq!(pause(1, 0, 0, 0.5), 1);
        assert_eq!(pause(1, 10, 300, f64::NAN), 10);
    }
}
