//! The remove lock: what keeps a device while requests are under way.

use core::{cell::UnsafeCell, ffi::c_void, mem::MaybeUninit};

use crate::ke::irql::Waitable;

/// An `IO_REMOVE_LOCK`, held once by every IRP that the driver has.
///
/// WDK: "Using Remove Locks".
#[repr(transparent)]
pub(crate) struct RemoveLock(UnsafeCell<MaybeUninit<nt::IO_REMOVE_LOCK>>);

#[expect(clippy::cast_possible_truncation, reason = "the structure is 32 bytes")]
const SIZE: u32 = size_of::<nt::IO_REMOVE_LOCK>() as u32;

/// The pool tag of what Driver Verifier keeps on a remove lock.
const TAG: u32 = u32::from_le_bytes(*b"wdmR");

impl RemoveLock {
    /// Room for a lock, to be initialised where it stays.
    pub(crate) const fn uninitialised() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Initialises the lock in its place (`IoInitializeRemoveLock`).
    ///
    /// # Safety
    /// `self` stays where it is, and nobody uses it yet. The IRQL is `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: the caller gives memory that stays in its place. No limits on how long or how often it is
        // held: a request may pend for days.
        unsafe { nt::IoInitializeRemoveLockEx(self.raw(), TAG, 0, 0, SIZE) };
    }

    fn raw(&self) -> *mut nt::IO_REMOVE_LOCK {
        self.0.get().cast()
    }

    /// Takes a hold for an IRP, unless the device is being removed (`IoAcquireRemoveLock`).
    pub(crate) fn acquire(&self, irp: *mut nt::IRP) -> bool {
        // SAFETY: the lock was initialised; any IRQL up to DISPATCH_LEVEL will do, and no code of this
        // crate runs above. File and line serve checked builds only.
        let status =
            unsafe { nt::IoAcquireRemoveLockEx(self.raw(), tag(irp), c"".as_ptr(), 1, SIZE) };
        status >= 0
    }

    /// Gives an IRP's hold back (`IoReleaseRemoveLock`).
    ///
    /// # Safety
    /// [`RemoveLock::acquire`] answered `true` for this IRP, which has not released since. The device may
    /// be gone when this returns, `self` with it.
    pub(crate) unsafe fn release(this: *const Self, irp: *mut nt::IRP) {
        // SAFETY: the caller has a hold, so the lock exists until this very release.
        unsafe { nt::IoReleaseRemoveLockEx(this.cast_mut().cast(), tag(irp), SIZE) };
    }

    /// Gives the removing IRP's hold back, refuses all further ones, and waits until the last is given
    /// back (`IoReleaseRemoveLockAndWait`).
    ///
    /// # Safety
    /// As for [`RemoveLock::release`]; `irp` is the address of the `IRP_MN_REMOVE_DEVICE`, which was passed on.
    pub(crate) unsafe fn release_and_wait<L: Waitable>(&self, irp: *mut nt::IRP, _irql: &mut L) {
        // SAFETY: the caller has a hold, and the token says that the thread may wait.
        unsafe { nt::IoReleaseRemoveLockAndWaitEx(self.raw(), tag(irp), SIZE) };
    }
}

/// An IRP's address as the tag that Driver Verifier tells holds apart by; nobody follows it.
fn tag(irp: *mut nt::IRP) -> *mut c_void {
    irp.cast()
}
