//! The system's cancel spin lock.

use core::mem::MaybeUninit;

use crate::ke::{
    irql::{AtMostDispatch, CallerLevel, SpinLockHeld},
    lock_order::{CANCEL_SPIN_LOCK_RANK, LockAfter, LockClass, Unlocked},
};

/// The system-wide lock under which `IoCancelIrp` calls Cancel routines.
///
/// A driver needs it for the queues that the I/O manager keeps (`StartIo`). Avoid it for other queues: every
/// cancellation in the system waits for it. [`IrpQueue`](crate::IrpQueue) does not use it.
///
/// WDK: [Using the System's Cancel Spin Lock](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-the-system-s-cancel-spin-lock).
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
///
/// # What goes wrong in C
///
/// A Cancel routine releases the lock with an IRQL other than `Irp->CancelIrql`, does not release it, or releases
/// it only after it has completed the IRP. Here only the queues have Cancel routines, and the guard stores the
/// IRQL.
#[doc(alias = "IoCancelIrp")]
pub struct CancelSpinLock(());

// SAFETY: a lock of a driver's can have this class too, but the class does not come after itself, so no thread holds two. Its only
// LockAfter is the one below; `lock_order!` compares the ranks of others.
unsafe impl LockClass for CancelSpinLock {
    const RANK: u32 = CANCEL_SPIN_LOCK_RANK;
}

// SAFETY: the rank of `Unlocked` is 0.
unsafe impl LockAfter<Unlocked> for CancelSpinLock {}

impl CancelSpinLock {
    /// Raises the IRQL to `DISPATCH_LEVEL` and acquires the lock (`IoAcquireCancelSpinLock`).
    ///
    /// If the guard is passed to [`core::mem::forget`], the lock stays held forever. Prefer
    /// [`CancelSpinLock::with`], which has no guard to forget.
    ///
    /// WDK: [IoAcquireCancelSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioacquirecancelspinlock).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoAcquireCancelSpinLock")]
    pub fn lock<L: AtMostDispatch>(_irql: &mut L) -> CancelSpinLockGuard<'_>
    where
        Self: LockAfter<L::Held>,
    {
        let mut old_irql = MaybeUninit::uninit();
        // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::IoAcquireCancelSpinLock(old_irql.as_mut_ptr()) };
        CancelSpinLockGuard {
            // SAFETY: the routine has stored the old IRQL.
            old_irql: unsafe { old_irql.assume_init() },
            // SAFETY: the lock is held, at DISPATCH_LEVEL, while the guard lives, and the token can be reached only
            // through the guard.
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

/// The guard of [`CancelSpinLock::lock`]; dropping it releases the lock and restores the IRQL
/// (`IoReleaseCancelSpinLock`).
///
/// WDK: [IoReleaseCancelSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioreleasecancelspinlock).
///
/// # Examples
///
/// ```
/// use wdm::{CancelSpinLock, PassiveLevel, SpinLock, lock_order};
///
/// struct Counter;
/// lock_order!(CancelSpinLock => Counter);
///
/// fn count(cancelled: &SpinLock<u32, Counter>, irql: &mut PassiveLevel) {
///     let mut guard = CancelSpinLock::lock(irql);
///     *cancelled.lock_at_dpc(guard.held()) += 1;
/// }
/// ```
#[doc(alias = "IoReleaseCancelSpinLock")]
#[must_use = "the lock is released when the guard is dropped"]
pub struct CancelSpinLockGuard<'a> {
    old_irql: u8,
    held: SpinLockHeld<CancelSpinLock>,
    _irql: core::marker::PhantomData<&'a mut ()>,
}

impl CancelSpinLockGuard<'_> {
    /// Lends the token of the held lock, with which a second lock can be acquired.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn held(&mut self) -> &mut SpinLockHeld<CancelSpinLock> {
        &mut self.held
    }

    /// Returns the IRQL that the release restores, which `IoAcquireCancelSpinLock` returned.
    ///
    /// WDK: [IoAcquireCancelSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioacquirecancelspinlock).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "IoAcquireCancelSpinLock")]
    #[must_use]
    pub fn old_irql(&self) -> u8 {
        self.old_irql
    }
}

impl Drop for CancelSpinLockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: the guard stands for one acquisition and stores its IRQL; later locks borrowed this one's token
        // and are released, so the IRQL is still DISPATCH_LEVEL.
        unsafe { nt::IoReleaseCancelSpinLock(self.old_irql) };
    }
}

/// Releases the cancel spin lock that a Cancel routine is called with, and returns a token of the IRQL that this
/// restores (`IoReleaseCancelSpinLock`).
///
/// # Safety
/// The caller is the Cancel routine of `irp` and has not released the lock yet.
pub(crate) unsafe fn release_in_cancel_routine(irp: *mut nt::IRP) -> CallerLevel {
    // SAFETY: IoCancelIrp called the routine with the lock held and the IRQL to restore in CancelIrql.
    let irql = unsafe { nt::irp::cancel_irql(irp) };
    // SAFETY: the lock is held, and this is the IRQL at which it was acquired.
    unsafe { nt::IoReleaseCancelSpinLock(irql) };
    // SAFETY: the IRQL is that of IoCancelIrp's caller again, DISPATCH_LEVEL or lower, and the only lock with which
    // the routine was called is released.
    unsafe { CallerLevel::assume() }
}
