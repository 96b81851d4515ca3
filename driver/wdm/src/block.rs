//! Values whose contents are in a separate block.

use core::ptr::NonNull;

use pinned_init::{PinInit, pin_init_from_closure};

use crate::{Error, ex::pool};

/// Makes an initialiser of a value whose contents are in a separate block, like those of a [`Box`](alloc::boxed::Box).
pub(crate) fn in_block<T, I>(
    contents: impl PinInit<I, Error>,
    of: fn(NonNull<I>) -> T,
) -> impl PinInit<T, Error> {
    let initialise = move |slot: *mut T| {
        let block = pool::allocate(contents)?;
        // SAFETY: an allocation is not NULL.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the slot is valid for writes.
        unsafe { slot.write(of(block)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot if it succeeds.
    unsafe { pin_init_from_closure(initialise) }
}
