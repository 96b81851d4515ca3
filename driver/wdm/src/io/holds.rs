//! The holds that keep a device while requests are in progress.

use core::ptr::from_ref;

use crate::{ex::rundown::RundownRef, io::remove_lock::RemoveLock};

/// The holds of a device: each IRP that the driver owns has one.
///
/// A PnP device has a remove lock, which is waited for in `IRP_MN_REMOVE_DEVICE` and nowhere else. A control device is
/// never removed, so it has run-down protection, which the Unload routine waits for.
pub(crate) enum Holds {
    RemoveLock(RemoveLock),
    Rundown(RundownRef),
}

impl Holds {
    /// Initialises the lock in place.
    ///
    /// # Safety
    /// `self` does not move, and no other code uses it yet. The IRQL is `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise(&self) {
        match self {
            // SAFETY: guaranteed by the caller.
            Self::RemoveLock(lock) => unsafe { lock.initialise() },
            // SAFETY: guaranteed by the caller.
            Self::Rundown(rundown) => unsafe { rundown.initialise() },
        }
    }

    /// Acquires a hold for an IRP; returns `false` if the device is being removed.
    pub(crate) fn acquire(&self, irp: *mut nt::IRP) -> bool {
        match self {
            Self::RemoveLock(lock) => lock.acquire(irp),
            Self::Rundown(rundown) => rundown.acquire(),
        }
    }

    /// Releases an IRP's hold.
    ///
    /// # Safety
    /// [`Holds::acquire`] returned `true` for this IRP, whose hold has not been released yet. When this returns, the device and
    /// the lock may have been freed.
    pub(crate) unsafe fn release(this: *const Self, irp: *mut nt::IRP) {
        // The reference ends before the release. The kind of lock never changes.
        // SAFETY: the caller has a hold, so the lock exists until this release.
        match unsafe { &*this } {
            Self::RemoveLock(lock) => {
                let lock = from_ref(lock);
                // SAFETY: guaranteed by the caller.
                unsafe { RemoveLock::release(lock, irp) };
            }
            Self::Rundown(rundown) => {
                let rundown = from_ref(rundown);
                // SAFETY: guaranteed by the caller.
                unsafe { RundownRef::release(rundown) };
            }
        }
    }
}
