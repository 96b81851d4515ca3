//! The system's cancel spin lock.

use crate::ke::{
    irql::{AtMostDispatch, CallerLevel, SpinLockHeld},
    lock_order::{CANCEL_SPIN_LOCK_RANK, LockAfter, LockClass, Unlocked},
};

/// The one lock, of the whole system, under which `IoCancelIrp` calls Cancel routines.
///
/// A driver needs it for queues that the I/O manager keeps (`StartIo`). For queues of its own it is better
/// avoided: every cancellation in the system waits for it. [`IrpQueue`](crate::IrpQueue) does without.
///
/// # What goes wrong in C
///
/// A Cancel routine releases the lock with an IRQL of its own instead of `Irp->CancelIrql`, not at all, or only
/// after it has completed the IRP. Here Cancel routines are the queues', and the guard has the one IRQL.
///
/// WDK: "Using the System's Cancel Spin Lock".
///
/// # Examples
///
/// ```
/// use wdm::{CancelSpinLock, PassiveLevel, SpinLock, lock_order};
///
/// struct Counter;
/// lock_order!(CancelSpinLock => Counter);
///
/// fn count_under_both(counter: &SpinLock<u32, Counter>, irql: &mut PassiveLevel) {
///     CancelSpinLock::with(irql, |held| *counter.lock_at_dpc(held) += 1);
/// }
/// ```
pub struct CancelSpinLock(());

// SAFETY: the lock is a class of its own, with one lock in it, and comes after `Unlocked` alone.
unsafe impl LockClass for CancelSpinLock {
    const RANK: u32 = CANCEL_SPIN_LOCK_RANK;
}

// SAFETY: the rank of `Unlocked` is 0.
unsafe impl LockAfter<Unlocked> for CancelSpinLock {}

impl CancelSpinLock {
    /// Raises the IRQL to `DISPATCH_LEVEL` and takes the lock (`IoAcquireCancelSpinLock`).
    ///
    /// As with any spin lock, taking it again while it is held deadlocks, and a guard that is forgotten
    /// leaves it held for good; [`CancelSpinLock::with`] has no guard to forget.
    ///
    /// WDK: "`IoAcquireCancelSpinLock` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn lock<L: AtMostDispatch>(_irql: &mut L) -> CancelSpinLockGuard<'_>
    where
        Self: LockAfter<L::Held>,
    {
        let mut old_irql = 0;
        // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::IoAcquireCancelSpinLock(&raw mut old_irql) };
        CancelSpinLockGuard {
            old_irql,
            // SAFETY: the lock is held, at DISPATCH_LEVEL, while the guard lives, and the token cannot
            // be reached but through the guard.
            held: unsafe { SpinLockHeld::assume() },
            _irql: core::marker::PhantomData,
        }
    }

    /// Runs a closure with the lock held.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    pub fn with<L: AtMostDispatch, R>(
        irql: &mut L,
        f: impl FnOnce(&mut SpinLockHeld<Self>) -> R,
    ) -> R
    where
        Self: LockAfter<L::Held>,
    {
        f(Self::lock(irql).held())
    }
}

/// The cancel spin lock, held; dropping it releases the lock and restores the IRQL.
#[must_use = "the lock is released when the guard is dropped"]
pub struct CancelSpinLockGuard<'a> {
    old_irql: u8,
    held: SpinLockHeld<CancelSpinLock>,
    _irql: core::marker::PhantomData<&'a mut ()>,
}

impl CancelSpinLockGuard<'_> {
    /// Lends the token of the held lock, with which a second lock can be taken.
    pub fn held(&mut self) -> &mut SpinLockHeld<CancelSpinLock> {
        &mut self.held
    }

    /// The IRQL that the release restores: what `IoAcquireCancelSpinLock` stored in C.
    #[must_use]
    pub fn old_irql(&self) -> u8 {
        self.old_irql
    }
}

impl Drop for CancelSpinLockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard stands for one acquisition and keeps the IRQL that belongs to it; a later
        // lock borrows this one's token and is gone, so the IRQL is still DISPATCH_LEVEL.
        unsafe { nt::IoReleaseCancelSpinLock(self.old_irql) };
    }
}

/// Releases the cancel spin lock that a Cancel routine is entered with, and says where that leaves it
/// (`IoReleaseCancelSpinLock`).
///
/// # Safety
/// The caller is the Cancel routine of `irp`, and has not released the lock yet.
pub(crate) unsafe fn leave_to_caller(irp: *mut nt::IRP) -> CallerLevel {
    // SAFETY: IoCancelIrp called this routine with the lock held and the IRQL to restore in CancelIrql.
    let irql = unsafe { nt::irp::cancel_irql(irp) };
    // SAFETY: the lock is held, and this IRQL belongs to its acquisition.
    unsafe { nt::IoReleaseCancelSpinLock(irql) };
    // SAFETY: IoCancelIrp is called at DISPATCH_LEVEL or lower, which is what was just restored, and the
    // only lock that the routine was entered with is released.
    unsafe { CallerLevel::assume() }
}
