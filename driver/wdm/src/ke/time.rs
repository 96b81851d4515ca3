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

    /// Returns the time that has elapsed since this moment, with a resolution of 100 nanoseconds.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        // At most 64 bits of nanoseconds, which are centuries.
        Duration::from_nanos(self.elapsed_units().saturating_mul(100))
    }

    /// Returns the time that has elapsed since this moment, in the kernel's units of 100 nanoseconds.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn elapsed_units(self) -> u64 {
        let mut frequency = 0;
        // SAFETY: the routine may be called at any IRQL; the output parameter is valid for writes.
        let now = unsafe { nt::KeQueryPerformanceCounter(&raw mut frequency) };
        units(now.wrapping_sub(self.0), frequency)
    }
}

/// Converts ticks of the performance counter to units of 100 nanoseconds. Values that the counter cannot have result in zero.
fn units(ticks: i64, frequency: i64) -> u64 {
    const PER_SECOND: u64 = 10_000_000;
    let ticks = u64::try_from(ticks).unwrap_or(0);
    let frequency = u64::try_from(frequency).unwrap_or(0).max(1);
    // The frequency is at most a few GHz, so the product with the remainder does not overflow.
    let rest = (ticks % frequency).saturating_mul(PER_SECOND) / frequency;
    (ticks / frequency)
        .saturating_mul(PER_SECOND)
        .saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn ticks_of_each_frequency_are_converted() {
        // The frequencies of Windows 10, of ARM64, of the time stamp counter, and of the ACPI timer.
        for frequency in [10_000_000, 24_000_000, 3_000_000_000, 3_579_545] {
            assert_eq!(units(frequency, frequency), 10_000_000);
            assert_eq!(units(frequency * 3_600, frequency), 36_000_000_000);
            assert_eq!(units(frequency / 5, frequency), 2_000_000);
        }
        // A century.
        assert_eq!(
            units(3_155_760_000 * 2_000_000_000, 2_000_000_000),
            31_557_600_000_000_000
        );
        assert_eq!(units(-1, 10_000_000), 0);
    }
}
