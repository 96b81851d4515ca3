//! Run-down protection.

use core::cell::UnsafeCell;

use crate::ke::irql::Waitable;

/// An `EX_RUNDOWN_REF`: a count of accesses, and whether further ones fail.
#[repr(transparent)]
pub(crate) struct RundownRef(UnsafeCell<nt::EX_RUNDOWN_REF>);

// SAFETY: only the kernel's routines access the variable, and any thread may call them.
unsafe impl Send for RundownRef {}
// SAFETY: as above.
unsafe impl Sync for RundownRef {}

impl RundownRef {
    /// Makes a variable without accesses, to be initialised in place with [`RundownRef::initialise`].
    pub(crate) const fn uninitialised() -> Self {
        Self(UnsafeCell::new(nt::EX_RUNDOWN_REF { Count: 0 }))
    }

    /// Initialises the variable where it is (`ExInitializeRundownProtection`).
    ///
    /// # Safety
    /// No other code uses it yet.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { nt::ExInitializeRundownProtection(self.0.get()) };
    }

    /// Begins an access; returns `false` if the object is being run down (`ExAcquireRundownProtection`).
    pub(crate) fn acquire(&self) -> bool {
        // SAFETY: the variable was initialised. The IRQL must be at most DISPATCH_LEVEL, and no code of this crate runs
        // above it.
        unsafe { nt::ExAcquireRundownProtection(self.0.get()) != 0 }
    }

    /// Ends an access (`ExReleaseRundownProtection`).
    ///
    /// # Safety
    /// [`RundownRef::acquire`] returned `true` for it, and it was not ended since. When this returns, the variable may be
    /// gone.
    pub(crate) unsafe fn release(this: *const Self) {
        // SAFETY: the access keeps the variable until this release. The IRQL is at most DISPATCH_LEVEL, as above.
        unsafe { nt::ExReleaseRundownProtection(this.cast_mut().cast()) };
    }

    /// Makes further accesses fail and waits until the others have ended (`ExWaitForRundownProtectionRelease`).
    ///
    /// # Safety
    /// Called once.
    pub(crate) unsafe fn wait<L: Waitable>(&self, _irql: &mut L) {
        // SAFETY: the variable was initialised, and the token says that the thread may wait.
        unsafe { nt::ExWaitForRundownProtectionRelease(self.0.get()) };
    }
}
