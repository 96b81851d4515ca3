//! Elapsed time.

use core::{ptr::null_mut, time::Duration};

/// A point in time, to measure elapsed time from (`KeQueryPerformanceCounter`).
///
/// WDK: [KeQueryPerformanceCounter](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryperformancecounter).
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
#[doc(alias = "KeQueryPerformanceCounter")]
#[derive(Clone, Copy)]
pub struct Moment(i64);

impl Moment {
    /// Returns the current time.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn now() -> Self {
        // SAFETY: the routine may be called at any IRQL; its optional output parameter is NULL.
        Self(unsafe { nt::KeQueryPerformanceCounter(null_mut()) })
    }

    /// Returns the time that has elapsed since this moment.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        let mut frequency = 0;
        // SAFETY: the routine may be called at any IRQL; the output parameter is valid for writes.
        let now = unsafe { nt::KeQueryPerformanceCounter(&raw mut frequency) };
        let ticks = u64::try_from(now.wrapping_sub(self.0)).unwrap_or(0);
        let frequency = u64::try_from(frequency).unwrap_or(0).max(1);
        // The frequency is at most a few GHz, so the product does not overflow.
        let nanoseconds = (ticks % frequency).saturating_mul(1_000_000_000) / frequency;
        let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
        Duration::new(ticks / frequency, nanoseconds.min(999_999_999))
    }
}
