//! The current processor and the number of processors.

use core::ptr::null_mut;

use crate::ke::irql::Dispatch;

/// Returns the number of the current processor, on which the code stays while the token is borrowed
/// (`KeGetCurrentProcessorNumberEx`).
///
/// WDK: [KeGetCurrentProcessorNumberEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetcurrentprocessornumberex).
///
/// # IRQL
/// Exactly `DISPATCH_LEVEL`; [`hint`] is for lower levels.
///
/// # Examples
///
/// ```
/// use wdm::{irql::DispatchLevel, processor};
///
/// fn slot(counters: &[u64], irql: &mut DispatchLevel) -> Option<u64> {
///     counters.get(processor::current(irql) as usize).copied()
/// }
/// ```
///
/// # What goes wrong in C
///
/// The routine can be called at any IRQL, so a driver uses the number after the thread has moved to another processor.
#[doc(alias = "KeGetCurrentProcessorNumber")]
#[doc(alias = "KeGetCurrentProcessorNumberEx")]
#[must_use]
pub fn current<D: Dispatch>(_irql: &D) -> u32 {
    hint()
}

/// Returns the number of a processor on which this code was running (`KeGetCurrentProcessorNumberEx`).
///
/// Below `DISPATCH_LEVEL` the thread may already run on another processor.
///
/// WDK: [KeGetCurrentProcessorNumberEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetcurrentprocessornumberex).
///
/// # IRQL
/// Any.
#[doc(alias = "KeGetCurrentProcessorNumber")]
#[doc(alias = "KeGetCurrentProcessorNumberEx")]
#[must_use]
pub fn hint() -> u32 {
    // SAFETY: the routine may be called at any IRQL; its optional output parameter is NULL.
    unsafe { nt::KeGetCurrentProcessorNumberEx(null_mut()) }
}

/// Returns the largest number of processors that the system can have, in all groups
/// (`KeQueryMaximumProcessorCountEx`).
///
/// The number of every processor is smaller.
///
/// WDK: [KeQueryMaximumProcessorCountEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerymaximumprocessorcountex).
///
/// # IRQL
/// At most `DISPATCH_LEVEL`.
#[doc(alias = "KeQueryMaximumProcessorCountEx")]
#[must_use]
pub fn maximum_count() -> u32 {
    // SAFETY: the routine may be called at any IRQL up to DISPATCH_LEVEL; a driver on this crate runs no code above
    // it.
    unsafe { nt::KeQueryMaximumProcessorCountEx(nt::ALL_PROCESSOR_GROUPS) }
}
