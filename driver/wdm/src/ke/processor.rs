//! Which processor the code runs on.

use core::ptr::null_mut;

use crate::ke::irql::Dispatch;

/// The number of the processor that this code runs on, and stays on while the token is borrowed
/// (`KeGetCurrentProcessorNumberEx`).
///
/// In C the number may be asked for at any IRQL, and is then used when the thread has long moved.
///
/// WDK: "`KeGetCurrentProcessorNumberEx` function".
///
/// # IRQL
/// Exactly `DISPATCH_LEVEL`; [`hint`] is for lower levels.
///
/// ```
/// use wdm::{irql::DispatchLevel, processor};
///
/// fn slot(counters: &[u64], irql: &mut DispatchLevel) -> Option<u64> {
///     counters.get(processor::current(irql) as usize).copied()
/// }
/// ```
#[must_use]
pub fn current<D: Dispatch>(_irql: &D) -> u32 {
    hint()
}

/// The number of the processor that this code was just running on (`KeGetCurrentProcessorNumberEx`): below
/// `DISPATCH_LEVEL` it may run on another by now.
///
/// # IRQL
/// Any.
#[must_use]
pub fn hint() -> u32 {
    // SAFETY: the routine may be called at any IRQL, and with no room for more of an answer.
    unsafe { nt::KeGetCurrentProcessorNumberEx(null_mut()) }
}

/// How many processors the system can have, in all groups (`KeQueryMaximumProcessorCountEx`): every
/// processor's number is smaller.
///
/// WDK: "`KeQueryMaximumProcessorCountEx` function".
///
/// # IRQL
/// At most `DISPATCH_LEVEL`.
#[must_use]
pub fn maximum_count() -> u32 {
    // SAFETY: the routine may be called at any IRQL up to DISPATCH_LEVEL, above which no code runs here.
    unsafe { nt::KeQueryMaximumProcessorCountEx(nt::ALL_PROCESSOR_GROUPS) }
}
