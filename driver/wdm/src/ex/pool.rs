//! The nonpaged pool: a driver's global allocator, and values that are initialised in place.

use alloc::alloc::{alloc, dealloc};
use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{NonNull, null_mut},
};

use pinned_init::PinInit;

use crate::Error;

/// Allocates a value in the pool and initialises it in place; [`Box::from_raw`](alloc::boxed::Box::from_raw) frees
/// it.
pub(crate) fn allocate<T>(init: impl PinInit<T, Error>) -> Result<*mut T, Error> {
    const {
        assert!(
            align_of::<T>() <= nt::MEMORY_ALLOCATION_ALIGNMENT,
            "the pool aligns to 16 bytes and no further"
        );
    }
    let layout = Layout::new::<T>();
    let has_size = layout.size() != 0;
    let slot = if has_size {
        // SAFETY: the layout's size is not zero. If there is no memory, the result is NULL.
        unsafe { alloc(layout) }.cast::<T>()
    } else {
        // Like a `Box` of a zero-sized type.
        NonNull::dangling().as_ptr()
    };
    if slot.is_null() {
        return Err(Error::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the slot is valid for a `T`, and the value stays there until it is dropped.
    if let Err(error) = unsafe { init.__pinned_init(slot) } {
        if has_size {
            // SAFETY: the slot was allocated above with this layout; a failed initialiser leaves it uninitialised.
            unsafe { dealloc(slot.cast(), layout) };
        }
        return Err(error);
    }
    Ok(slot)
}

/// A driver's global allocator, around one that allocates from the pool and ignores the alignment.
///
/// The pool aligns its allocations to 16 bytes. `wdk_alloc::WdkAllocator` passes only the size to the pool, so a
/// value with a larger alignment would be misaligned. This allocator returns NULL for such a request, as if there
/// were no memory.
///
/// WDK: [ExAllocatePool2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepool2).
///
/// # IRQL
/// That of the inner allocator: at most `DISPATCH_LEVEL` for the nonpaged pool.
///
/// # Examples
///
/// In the crate that is linked as the .sys file:
///
/// ```
/// # mod wdk_alloc { pub use std::alloc::System as WdkAllocator; }
/// use wdk_alloc::WdkAllocator;
/// use wdm::PoolAllocator;
///
/// #[global_allocator]
/// static POOL: PoolAllocator<WdkAllocator> = PoolAllocator(WdkAllocator);
/// # fn main() {}
/// ```
#[doc(alias = "ExFreePool")]
#[doc(alias = "ExAllocatePool2")]
pub struct PoolAllocator<A>(pub A);

fn is_aligned(layout: Layout) -> bool {
    layout.align() <= nt::MEMORY_ALLOCATION_ALIGNMENT
}

// SAFETY: the inner allocator allocates every block, for a layout that it supports, and frees it.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PoolAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_aligned(layout) {
            return null_mut();
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_aligned(layout) {
            return null_mut();
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller; every block came from the inner allocator.
        unsafe { self.0.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: guaranteed by the caller. The alignment does not change, and `alloc` accepted it.
        unsafe { self.0.realloc(block, layout, size) }
    }
}
