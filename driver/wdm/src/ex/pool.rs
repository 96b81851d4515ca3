//! The nonpaged pool: a driver's global allocator, and values made in their place there.

use alloc::alloc::{alloc, dealloc};
use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{NonNull, null_mut},
};

use pinned_init::PinInit;

use crate::Error;

/// Makes a value in the pool; [`Box::from_raw`](alloc::boxed::Box::from_raw) frees it.
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
        // As a `Box` of such a type does.
        NonNull::dangling().as_ptr()
    };
    if slot.is_null() {
        return Err(Error::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the slot is valid for a `T`, and stays where it is until it is dropped there.
    if let Err(error) = unsafe { init.__pinned_init(slot) } {
        if has_size {
            // SAFETY: the slot was allocated above with this layout; a failed initialiser leaves nothing in it.
            unsafe { dealloc(slot.cast(), layout) };
        }
        return Err(error);
    }
    Ok(slot)
}

/// A driver's global allocator, on top of one that takes its memory from the pool without a look at the alignment.
///
/// The pool aligns what it allocates to 16 bytes. `wdk_alloc::WdkAllocator` asks it for the size alone, so a value of a
/// type that is aligned to more would be misaligned. This allocator answers such a request as one for which there is no
/// memory: with NULL.
///
/// # IRQL
/// That of the allocator inside: at most `DISPATCH_LEVEL` for the nonpaged pool.
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
#[doc(alias = "ExAllocatePool2")]
pub struct PoolAllocator<A>(pub A);

fn is_aligned(layout: Layout) -> bool {
    layout.align() <= nt::MEMORY_ALLOCATION_ALIGNMENT
}

// SAFETY: what is allocated was allocated by the allocator inside, for a layout that it serves, and it frees that too.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PoolAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_aligned(layout) {
            return null_mut();
        }
        // SAFETY: passed on to the caller.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_aligned(layout) {
            return null_mut();
        }
        // SAFETY: passed on to the caller.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller; every block came from the allocator inside.
        unsafe { self.0.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: passed on to the caller. The alignment stays what it was, and was served.
        unsafe { self.0.realloc(block, layout, size) }
    }
}
