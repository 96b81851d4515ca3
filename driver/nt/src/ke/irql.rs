//! Raising and lowering the IRQL. In the WDK's headers `KeRaiseIrqlToDpcLevel` is an inline function that calls
//! `KfRaiseIrql`, and on ARM64 `KeLowerIrql` is a macro for `KfLowerIrql`. No import library exports these names.

#![warn(missing_docs)]

use crate::DISPATCH_LEVEL;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// Returns the IRQL. An export since Windows 8; older headers read it from a register.
    pub fn KeGetCurrentIrql() -> u8;

    /// Raises the IRQL to `NewIrql` and returns the old IRQL.
    pub fn KfRaiseIrql(NewIrql: u8) -> u8;

    /// Lowers the IRQL to `NewIrql`.
    #[cfg(not(target_arch = "aarch64"))]
    pub fn KeLowerIrql(NewIrql: u8);

    /// Lowers the IRQL to `NewIrql`.
    #[cfg(target_arch = "aarch64")]
    pub fn KfLowerIrql(NewIrql: u8);
}

/// Raises the IRQL to `DISPATCH_LEVEL` and returns the old IRQL.
///
/// # Safety
/// The IRQL is at most `DISPATCH_LEVEL`.
#[inline]
#[must_use = "the IRQL must be lowered to this value"]
pub unsafe fn KeRaiseIrqlToDpcLevel() -> u8 {
    // SAFETY: the caller guarantees that the IRQL is at most `DISPATCH_LEVEL`.
    unsafe { KfRaiseIrql(DISPATCH_LEVEL) }
}

/// Raises the IRQL to `NewIrql` and stores the old IRQL in `OldIrql`, as the macro of the WDK does.
///
/// # Safety
/// The IRQL is at most `NewIrql`, and `OldIrql` is valid for writes.
#[inline]
pub unsafe fn KeRaiseIrql(NewIrql: u8, OldIrql: *mut u8) {
    // SAFETY: guaranteed by the caller.
    let old = unsafe { KfRaiseIrql(NewIrql) };
    // SAFETY: guaranteed by the caller.
    unsafe { OldIrql.write(old) };
}

/// Lowers the IRQL to `NewIrql`.
///
/// # Safety
/// `NewIrql` is the value that the IRQL was raised from.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn KeLowerIrql(NewIrql: u8) {
    // SAFETY: the caller guarantees that `NewIrql` is the value that the IRQL was raised from.
    unsafe { KfLowerIrql(NewIrql) };
}
