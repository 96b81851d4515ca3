//! Raising and lowering the IRQL.
//!
//! The WDK's headers make `KeRaiseIrqlToDpcLevel` an inline function over `KfRaiseIrql`, and on ARM64
//! `KeLowerIrql` a macro over `KfLowerIrql`: no import library holds these names.

use crate::DISPATCH_LEVEL;

unsafe extern "C" {
    /// Raises the IRQL to `NewIrql` and returns what it was.
    pub fn KfRaiseIrql(NewIrql: u8) -> u8;

    /// Lowers the IRQL to `NewIrql`.
    #[cfg(not(target_arch = "aarch64"))]
    pub fn KeLowerIrql(NewIrql: u8);

    /// Lowers the IRQL to `NewIrql`.
    #[cfg(target_arch = "aarch64")]
    pub fn KfLowerIrql(NewIrql: u8);
}

/// Raises the IRQL to `DISPATCH_LEVEL` and returns what it was.
///
/// # Safety
/// The IRQL is at most `DISPATCH_LEVEL`.
#[inline]
#[must_use = "the IRQL has to be lowered to what it was"]
pub unsafe fn KeRaiseIrqlToDpcLevel() -> u8 {
    // SAFETY: the caller keeps the rule for `DISPATCH_LEVEL`: the IRQL is not above it.
    unsafe { KfRaiseIrql(DISPATCH_LEVEL) }
}

/// Raises the IRQL to `NewIrql` and writes what it was to `OldIrql`, as the WDK's macro does.
///
/// # Safety
/// The IRQL is at most `NewIrql`, and `OldIrql` is valid for writes.
#[inline]
pub unsafe fn KeRaiseIrql(NewIrql: u8, OldIrql: *mut u8) {
    // SAFETY: passed on to the caller.
    let old = unsafe { KfRaiseIrql(NewIrql) };
    // SAFETY: passed on to the caller.
    unsafe { OldIrql.write(old) };
}

/// Lowers the IRQL to `NewIrql`.
///
/// # Safety
/// The IRQL was raised, and `NewIrql` is what it was before.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn KeLowerIrql(NewIrql: u8) {
    // SAFETY: the caller keeps the rule: `NewIrql` is what the IRQL was before it was raised.
    unsafe { KfLowerIrql(NewIrql) };
}
