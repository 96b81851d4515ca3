//! What a model of the kernel has to see besides the routines that it defines: the inlines of this crate that
//! other processors can see the effect of.
//!
//! In a driver nobody watches. On a host a model may, to let another thread run first, or to find that the operation
//! breaks a rule.

/// An inline that is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// `InterlockedIncrement` and its kin, on the variable.
    Interlocked,
    /// `IoSetCancelRoutine` with a routine, on the IRP.
    SetCancelRoutine,
    /// `IoSetCancelRoutine` with NULL, on the IRP.
    ClearCancelRoutine,
    /// A look at `Irp->Cancel`.
    ReadCancel,
    /// `IoMarkIrpPending`, on the IRP.
    MarkIrpPending,
    /// `YieldProcessor`.
    YieldProcessor,
}

#[cfg(feature = "wdk")]
pub(crate) fn before(_inline: Inline, _object: *const core::ffi::c_void) {}

#[cfg(not(feature = "wdk"))]
pub(crate) use watcher::before;
#[cfg(not(feature = "wdk"))]
pub use watcher::watch;

#[cfg(not(feature = "wdk"))]
mod watcher {
    use core::{
        ffi::c_void,
        ptr::null_mut,
        sync::atomic::{AtomicPtr, Ordering},
    };

    use super::Inline;

    /// What is called before each inline, with what it works on.
    pub type Watcher = fn(Inline, *const c_void);

    /// The [`Watcher`]; NULL if there is none. A pointer, since a number that was one cannot be called.
    static WATCHER: AtomicPtr<()> = AtomicPtr::new(null_mut());

    /// Has a function called before each inline from now on, in the thread that runs it.
    pub fn watch(watcher: Watcher) {
        WATCHER.store(watcher as *mut (), Ordering::Release);
    }

    pub(crate) fn before(inline: Inline, object: *const c_void) {
        let watcher = WATCHER.load(Ordering::Acquire);
        if watcher.is_null() {
            return;
        }
        // SAFETY: what is not NULL was stored by `watch`, and is a watcher.
        let watcher = unsafe { core::mem::transmute::<*mut (), Watcher>(watcher) };
        watcher(inline, object);
    }
}
