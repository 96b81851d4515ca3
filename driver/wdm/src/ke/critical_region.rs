//! A section of code in which user mode cannot suspend the thread.

use core::marker::PhantomData;

use crate::{PassiveLevel, irql::AtMostDispatch};

/// A critical region of the current thread, which gets no normal kernel APC until the value is dropped
/// (`KeEnterCriticalRegion`, `KeLeaveCriticalRegion`).
///
/// A user-mode thread handles requests and can be suspended, since a suspension is a normal kernel APC. Other threads, also those of
/// other processes, then wait for what it holds: an access to a [`Rundown`](crate::Rundown) value, or an IRP that it has removed from a
/// queue.
///
/// WDK: [Disabling APCs](https://learn.microsoft.com/windows-hardware/drivers/kernel/disabling-apcs),
/// [Run-Down Protection](https://learn.microsoft.com/windows-hardware/drivers/kernel/run-down-protection).
#[must_use = "the region ends when the value is dropped"]
pub(crate) struct CriticalRegion {
    /// The region is one of the thread that entered it.
    _not_send: PhantomData<*mut ()>,
}

impl CriticalRegion {
    /// Enters a region.
    pub(crate) fn enter(_irql: &PassiveLevel) -> Self {
        // SAFETY: the token says that the IRQL is PASSIVE_LEVEL.
        unsafe { Self::enter_unchecked() }
    }

    /// Enters a region, unless APCs are already disabled for the thread (`KeAreAllApcsDisabled`): the thread is at `APC_LEVEL` or
    /// `DISPATCH_LEVEL`, or in a guarded region, and stays there until the routine that calls this returns.
    ///
    /// WDK: [KeAreAllApcsDisabled](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-keareallapcsdisabled).
    pub(crate) fn enter_if_needed<L: AtMostDispatch>(_irql: &L) -> Option<Self> {
        // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
        let are_disabled = unsafe { nt::KeAreAllApcsDisabled() } != 0;
        // SAFETY: the IRQL is PASSIVE_LEVEL.
        (!are_disabled).then(|| unsafe { Self::enter_unchecked() })
    }

    /// # Safety
    /// The IRQL is at most `APC_LEVEL`. The value is dropped in the routine that calls this, at the same IRQL.
    unsafe fn enter_unchecked() -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { nt::KeEnterCriticalRegion() };
        Self {
            _not_send: PhantomData,
        }
    }
}

impl Drop for CriticalRegion {
    fn drop(&mut self) {
        // SAFETY: this thread has entered the region. The IRQL is as it was then, at most APC_LEVEL: the value is a variable of the
        // routine that entered the region, so everything that raised the IRQL later has ended.
        unsafe { nt::KeLeaveCriticalRegion() };
    }
}
