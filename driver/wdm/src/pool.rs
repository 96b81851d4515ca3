//! Values made in their place in the nonpaged pool.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;

use pinned_init::PinInit;

use crate::NtStatus;

/// Makes a value in the pool; [`Box::from_raw`](alloc::boxed::Box::from_raw) frees it.
pub(crate) fn allocate<T>(init: impl PinInit<T, NtStatus>) -> Result<*mut T, NtStatus> {
    const {
        assert!(size_of::<T>() > 0, "what has no state needs no memory");
        assert!(
            align_of::<T>() <= nt::MEMORY_ALLOCATION_ALIGNMENT,
            "the pool aligns to 16 bytes and no further"
        );
    }
    let layout = Layout::new::<T>();
    // SAFETY: the layout's size is not zero. Running out of memory is answered with NULL.
    let slot = unsafe { alloc(layout) }.cast::<T>();
    if slot.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the slot is valid for a `T`, and stays where it is until it is dropped there.
    if let Err(status) = unsafe { init.__pinned_init(slot) } {
        // SAFETY: the slot was allocated above with this layout; a failed initialiser leaves nothing in it.
        unsafe { dealloc(slot.cast(), layout) };
        return Err(status);
    }
    Ok(slot)
}
