//! A hook for the model kernel: it is called before each inline function of this crate whose effect other
//! processors can observe, and after an interlocked operation.
//!
//! In a driver the hook does nothing. On a host the model kernel uses it to let another thread run first, or to
//! check that the operation breaks no rule.

/// An inline function that is about to run, or an interlocked operation that has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// `InterlockedIncrement` or another Interlocked routine, on the variable.
    Interlocked,
    /// An Interlocked routine or `IoSetCancelRoutine` has run, on the variable or the IRP, which another thread can have freed.
    AfterInterlocked,
    /// `IoSetCancelRoutine` with a routine, on the IRP.
    SetCancelRoutine,
    /// `IoSetCancelRoutine` with NULL, on the IRP.
    ClearCancelRoutine,
    /// A read of `Irp->Cancel`, on the IRP.
    ReadCancel,
    /// `IoMarkIrpPending`, on the IRP.
    MarkIrpPending,
    /// `YieldProcessor`.
    YieldProcessor,
    /// An access to a variable of [`atomic`](crate::atomic).
    Atomic,
    /// `InitializeListHead`, on the head.
    InitializeListHead,
    /// `InsertTailList`, on the head.
    InsertTailList,
    /// `InsertHeadList`, on the head.
    InsertHeadList,
    /// `InsertTailList` or `InsertHeadList`, on the entry.
    InsertEntry,
    /// `RemoveEntryList`, on the entry.
    RemoveEntryList,
    /// `MmGetSystemAddressForMdlSafe`, on the MDL.
    SystemAddressForMdl,
    /// [`access_user_pages`](crate::access_user_pages), on the first byte of the buffer.
    UserPages,
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

    /// A function that is called before each inline function, with the object that it works on.
    pub type Watcher = fn(Inline, *const c_void);

    /// The [`Watcher`]; NULL if there is none. A pointer type, since an integer has no provenance.
    static WATCHER: AtomicPtr<()> = AtomicPtr::new(null_mut());

    /// Sets the function that is called before each inline function, in the thread that runs it.
    pub fn watch(watcher: Watcher) {
        WATCHER.store(watcher as *mut (), Ordering::Release);
    }

    pub(crate) fn before(inline: Inline, object: *const c_void) {
        let watcher = WATCHER.load(Ordering::Acquire);
        if watcher.is_null() {
            return;
        }
        // SAFETY: `watch` stored the pointer, so it is a watcher.
        let watcher = unsafe { core::mem::transmute::<*mut (), Watcher>(watcher) };
        watcher(inline, object);
    }
}
