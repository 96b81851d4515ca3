//! What time has passed.

use core::{ptr::null_mut, time::Duration};

/// A moment, to measure from (`KeQueryPerformanceCounter`).
///
/// WDK: "`KeQueryPerformanceCounter` function".
///
/// # Examples
///
/// ```
/// use wdm::Moment;
///
/// fn latency(submitted: Moment) -> core::time::Duration {
///     submitted.elapsed()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Moment(i64);

impl Moment {
    /// This moment.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn now() -> Self {
        // SAFETY: the routine may be called at any IRQL, and with no room for the frequency.
        Self(unsafe { nt::KeQueryPerformanceCounter(null_mut()) })
    }

    /// The time that has passed since.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        let mut frequency = 0;
        // SAFETY: the routine may be called at any IRQL, and has room for the frequency.
        let now = unsafe { nt::KeQueryPerformanceCounter(&raw mut frequency) };
        let ticks = u128::try_from(now.wrapping_sub(self.0)).unwrap_or(0);
        let frequency = u128::try_from(frequency).unwrap_or(0).max(1);
        // A frequency is at most some GHz, so this is far from overflowing.
        let nanoseconds = ticks.saturating_mul(1_000_000_000) / frequency;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}
