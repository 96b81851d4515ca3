//! The address of a pinned value.

use core::ptr::{NonNull, from_ref};

/// The address at which a value was initialised. For values that contain pointers to themselves, which check it before each use of
/// these pointers.
///
/// A pinned value does not move. A field of a `repr(packed)` structure is moved before it is dropped, though, and `pinned-init` accepts
/// such a field as pinned. Its macro `pin_data` also accepts as pinned, and as movable, a field whose type is written with names of the
/// macro's own (`tests/moved_while_pinned.rs`).
pub(crate) struct Place(usize);

impl Place {
    /// Records the address at which a value is being initialised.
    pub(crate) fn of<T>(value: NonNull<T>) -> Self {
        Self(value.addr().get())
    }

    /// Stops the system if the value has moved, since the kernel would still use its old memory.
    pub(crate) fn check<T>(&self, value: &T) {
        let now = from_ref(value).addr();
        if now != self.0 {
            moved(self.0, now);
        }
    }
}

#[cold]
#[inline(never)]
fn moved(made_at: usize, now: usize) -> ! {
    // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
    unsafe { nt::KeBugCheckEx(nt::DRIVER_VIOLATION, MOVED, made_at as u64, now as u64, 0) }
}

/// The first parameter of the bug check: a pinned value was moved. The next two are its old and new address.
const MOVED: u64 = 2;
