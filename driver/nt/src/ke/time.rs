//! The system time and the number of clock ticks, which the WDK's headers read in memory that the kernel shares with all programs.

use crate::IS_DRIVER;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// Writes the system time, in units of 100 ns since the start of 1601.
    pub fn KeQuerySystemTimePrecise(CurrentTime: *mut i64);
    /// Returns the interrupt time, in units of 100 ns since the system was started, and writes the performance counter.
    pub fn KeQueryInterruptTimePrecise(QpcTimeStamp: *mut u64) -> u64;
    /// Returns the interrupt time, without the time in which the system slept.
    pub fn KeQueryUnbiasedInterruptTime() -> u64;
    /// Returns the units of 100 ns between two clock ticks.
    pub fn KeQueryTimeIncrement() -> u32;
}

/// `KUSER_SHARED_DATA.InterruptTime`, `SystemTime` and `TickCount`, whose addresses are part of the system's interface.
const INTERRUPT_TIME: usize = 0xffff_f780_0000_0008;
const SYSTEM_TIME: usize = 0xffff_f780_0000_0014;
const TICK_COUNT: usize = 0xffff_f780_0000_0320;

/// `KeQuerySystemTime`: writes the system time of the last clock tick, in units of 100 ns since the start of 1601.
///
/// # Safety
/// `time` is valid for writes.
pub unsafe fn KeQuerySystemTime(time: *mut i64) {
    if IS_DRIVER {
        // SAFETY: every process has this memory.
        let now = unsafe { shared(SYSTEM_TIME) };
        // SAFETY: guaranteed by the caller.
        unsafe { time.write(now) };
    } else {
        // SAFETY: as above.
        unsafe { KeQuerySystemTimePrecise(time) };
    }
}

/// `KeQueryInterruptTime`: returns the interrupt time of the last clock tick, in units of 100 ns since the system was started.
#[must_use]
pub fn KeQueryInterruptTime() -> u64 {
    if IS_DRIVER {
        // SAFETY: every process has this memory.
        return unsafe { shared(INTERRUPT_TIME) }.cast_unsigned();
    }
    let mut counter = 0;
    // SAFETY: the counter is valid for writes.
    unsafe { KeQueryInterruptTimePrecise(&raw mut counter) }
}

/// `KeQueryTickCount`: writes the number of clock ticks since the system was started.
///
/// # Safety
/// `count` is valid for writes.
pub unsafe fn KeQueryTickCount(count: *mut i64) {
    if IS_DRIVER {
        // SAFETY: every process has this memory.
        let now = unsafe { shared(TICK_COUNT) };
        // SAFETY: guaranteed by the caller.
        unsafe { count.write(now) };
        return;
    }
    // SAFETY: as above.
    unsafe { KeQuerySystemTimePrecise(count) };
    // SAFETY: the routine has no conditions.
    let tick = unsafe { KeQueryTimeIncrement() };
    // SAFETY: as above. The model kernel starts with the system time.
    unsafe { *count /= i64::from(tick) };
}

/// A number that the kernel changes at each clock tick. That of the system time is not aligned.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct Shared(i64);

/// # Safety
/// The address is that of a 64-bit number in the memory that the kernel shares with all programs.
unsafe fn shared(address: usize) -> i64 {
    let place = core::ptr::with_exposed_provenance::<Shared>(address);
    // SAFETY: guaranteed by the caller. The read is volatile, as in the WDK's headers, since the kernel changes the number.
    unsafe { place.read_volatile() }.0
}
