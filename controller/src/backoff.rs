//! Pauses that grow.

use std::time::Duration;

/// The pause before the try after `failures` failures: it doubles from `base` up to `max`, and is spread over its upper half so
/// that many objects that failed together do not come back together. `fraction` is from 0 to 1.
pub fn exponential(base: Duration, max: Duration, failures: u32, fraction: f64) -> Duration {
    let doubled = base.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(31)));
    doubled.min(max).mul_f64(0.5 + 0.5 * fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_limit() {
        let pause = |failures| exponential(Duration::from_secs(1), Duration::from_secs(30), failures, 1.0);
        assert_eq!([1, 2, 3, 6, 60].map(|failures| pause(failures).as_secs()), [1, 2, 4, 30, 30]);
        assert_eq!(pause(0), pause(1));
    }

    #[test]
    fn a_pause_is_spread_over_its_upper_half() {
        let pause = |fraction| exponential(Duration::from_secs(2), Duration::from_secs(30), 1, fraction);
        assert_eq!(pause(0.0), Duration::from_secs(1));
        assert_eq!(pause(1.0), Duration::from_secs(2));
    }
}
