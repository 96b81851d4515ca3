//! Where a pinned value is.

use core::ptr::{NonNull, from_ref};

/// The address at which a value was initialised: for what has pointers to itself that a `Drop` follows.
///
/// A pinned value is dropped where it is. A field of a structure that is `repr(packed)` is not: it is moved first, and
/// `pinned-init` lets it be pinned all the same.
pub(crate) struct Place(usize);

impl Place {
    /// Notes where a value is being initialised.
    pub(crate) fn of<T>(value: NonNull<T>) -> Self {
        Self(value.addr().get())
    }

    /// Stops the system if the value is somewhere else: the kernel would go on to use the memory that it was in.
    pub(crate) fn check<T>(&self, value: &T) {
        let now = from_ref(value).addr();
        if now != self.0 {
            // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
            unsafe { nt::KeBugCheckEx(nt::DRIVER_VIOLATION, MOVED, self.0 as u64, now as u64, 0) }
        }
    }
}

/// The first parameter of the bug check: a value was moved while it was pinned. Next to it, from where and to where.
const MOVED: u64 = 2;
