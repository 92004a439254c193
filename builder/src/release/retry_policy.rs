//! The limits of a download: times, tries and sizes. The limits form a single value, so that a test
//! can use short times.

use std::time::Duration;

/// The limits for downloads. `Default` returns the limits that a build uses.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    /// The number of consecutive tries per mirror. A try that receives at least
    /// [`RetryPolicy::PROGRESS`] bytes resets the count.
    pub(crate) tries: u32,
    /// The pause after the first failure. Each later pause is twice as long as the previous pause,
    /// up to `longest_pause`.
    pub(crate) first_pause: Duration,
    /// The longest pause between two tries.
    pub(crate) longest_pause: Duration,
    /// The longest `Retry-After` that the builder obeys. If a mirror requests a longer wait, the
    /// builder tries the next mirror.
    pub(crate) longest_wait: Duration,
    /// The time limit for establishing a TCP (and TLS) connection.
    pub(crate) connect: Duration,
    /// The time limit for the next byte to arrive.
    pub(crate) stall: Duration,
    /// The time limit for the whole file, over all tries on one mirror. The limit protects against
    /// a server that sends very slowly.
    pub(crate) whole: Duration,
    /// The maximum size of a release in bytes. Upstream's releases have a size of about 20 MB.
    pub(crate) release_bytes: u64,
    /// The maximum size, in bytes, of a small file such as a SHA256SUMS. Upstream's SHA256SUMS have
    /// a size of about 1 kB.
    pub(crate) sums_bytes: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // The pauses are at most 0.5, 1 and 2 s, because an operator waits for the build, and
            // other mirrors are available.
            tries: 4,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(8),
            longest_wait: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            whole: Duration::from_secs(3600),
            release_bytes: 200 << 20,
            sums_bytes: 1 << 20,
        }
    }
}

impl RetryPolicy {
    /// The number of bytes after which a try proves that the mirror works. The builder then resets
    /// the count of tries.
    pub(crate) const PROGRESS: u64 = 64 << 10;

    /// Returns the pause after the `failures`th failure in a row (counted from 1). The random
    /// number `dice`, from 0 to 1, shortens the pause by up to half, so that many builders do not
    /// retry at the same time after the same fault.
    pub(crate) fn pause(&self, failures: u32, dice: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let whole = self
            .first_pause
            .saturating_mul(doubled)
            .min(self.longest_pause);
        whole.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
    }
}

/// Returns a random number from 0 to 1, which must not be used for secrets.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        >> 32;
    f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_jitter_only_shortens_them() {
        let patience = RetryPolicy::default();
        let pauses: Vec<_> = (1..8)
            .map(|nth| patience.pause(nth, 1.0).as_millis())
            .collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(patience.pause(1, 0.0).as_millis(), 250);
        assert_eq!(patience.pause(u32::MAX, 0.0).as_millis(), 4000);
    }

    #[test]
    fn the_jitter_differs_between_calls() {
        let first = jitter();
        assert!(
            (0..100)
                .map(|_| jitter())
                .any(|other| (other - first).abs() > f64::EPSILON)
        );
    }
}
