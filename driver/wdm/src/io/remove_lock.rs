//! The remove lock, which keeps a device while requests are in progress.

use core::{cell::UnsafeCell, ffi::c_void, mem::MaybeUninit};

use crate::ke::irql::Waitable;

/// An `IO_REMOVE_LOCK`. Every IRP that the driver owns has a hold of it.
///
/// WDK: [Using Remove Locks](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-remove-locks).
#[repr(transparent)]
pub(crate) struct RemoveLock(UnsafeCell<MaybeUninit<nt::IO_REMOVE_LOCK>>);

#[expect(clippy::cast_possible_truncation, reason = "the structure is 32 bytes")]
const SIZE: u32 = size_of::<nt::IO_REMOVE_LOCK>() as u32;

/// The pool tag of Driver Verifier's allocations for remove locks.
const TAG: u32 = u32::from_le_bytes(*b"wdmR");

impl RemoveLock {
    /// Makes an uninitialised lock, to be initialised in place.
    pub(crate) const fn uninitialised() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Initialises the lock in place (`IoInitializeRemoveLock`).
    ///
    /// # Safety
    /// `self` does not move, and no other code uses it yet. The IRQL is `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: the caller guarantees that the memory does not move. There is no limit on the duration or number
        // of holds, since a request may pend for days.
        unsafe { nt::IoInitializeRemoveLockEx(self.raw(), TAG, 0, 0, SIZE) };
    }

    fn raw(&self) -> *mut nt::IO_REMOVE_LOCK {
        self.0.get().cast()
    }

    /// Acquires a hold for an IRP; returns `false` if the device is being removed (`IoAcquireRemoveLock`).
    pub(crate) fn acquire(&self, irp: *mut nt::IRP) -> bool {
        // SAFETY: the lock was initialised. The IRQL must be at most DISPATCH_LEVEL, and no code of this crate runs
        // above it. Only checked builds use file and line.
        let status =
            unsafe { nt::IoAcquireRemoveLockEx(self.raw(), tag(irp), c"".as_ptr(), 1, SIZE) };
        status >= 0
    }

    /// Releases an IRP's hold (`IoReleaseRemoveLock`).
    ///
    /// # Safety
    /// [`RemoveLock::acquire`] returned `true` for this IRP, whose hold has not been released yet. When this returns,
    /// the device and the lock may have been freed.
    pub(crate) unsafe fn release(this: *const Self, irp: *mut nt::IRP) {
        // SAFETY: the caller has a hold, so the lock exists until this release.
        unsafe { nt::IoReleaseRemoveLockEx(this.cast_mut().cast(), tag(irp), SIZE) };
    }

    /// Releases the hold of the `IRP_MN_REMOVE_DEVICE`, rejects all further holds, and waits until the last one is
    /// released (`IoReleaseRemoveLockAndWait`).
    ///
    /// # Safety
    /// As for [`RemoveLock::release`]; `irp` is the address of the `IRP_MN_REMOVE_DEVICE`, which was passed on.
    pub(crate) unsafe fn release_and_wait<L: Waitable>(&self, irp: *mut nt::IRP, _irql: &mut L) {
        // SAFETY: the caller has a hold, and the token says that the thread may wait.
        unsafe { nt::IoReleaseRemoveLockAndWaitEx(self.raw(), tag(irp), SIZE) };
    }
}

/// Returns an IRP's address as the tag by which Driver Verifier distinguishes holds. The tag is never dereferenced.
fn tag(irp: *mut nt::IRP) -> *mut c_void {
    irp.cast()
}
