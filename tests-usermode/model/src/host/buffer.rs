//! Buffers, arrays and strings of a driver, whose lengths the driver gives.
//!
//! A routine that gets a pointer to no memory, or a length that is greater than that of the memory, stops the system.

use nt::UNICODE_STRING;

use crate::{
    host::{Call, fault},
    verifier::{BugCheck, Rule},
};

impl Call {
    /// Stops the system if the memory at a pointer is shorter than an array of this length.
    pub(crate) fn require_array<T>(&self, start: *const T, count: usize) {
        if count == 0 {
            return;
        }
        self.require_room(start.cast_mut());
        let (address, size) = (start.addr(), count.saturating_mul(size_of::<T>()));
        let block = (self.kernel.upcalls.pool_block)(&self.kernel, address);
        let beyond = block.map_or(0, |block| size.saturating_sub(block.end - address));
        self.require(beyond == 0, Rule::Pool, || {
            let what = format!(
                "a buffer of {size} bytes ends {beyond} bytes past the end of a block{}",
                self.once(address)
            );
            let end = address.wrapping_add(size - beyond) as u64;
            (BugCheck(0xd6, [end, 0, 0, 0]), what)
        });
        // SAFETY: the pointer is not NULL; the caller of the routine guarantees that the memory is valid.
        unsafe { fault::touch(start.cast(), size) };
    }

    /// Returns the elements of an array.
    ///
    /// # Safety
    /// Memory of this length is valid as long as the elements are used, unless [`Call::require_array`] stops the system.
    pub(crate) unsafe fn elements<'a, T>(&self, start: *const T, count: usize) -> &'a [T] {
        if count == 0 {
            return &[];
        }
        self.require_array(start, count);
        // SAFETY: guaranteed by the caller.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    /// Writes elements to an array.
    ///
    /// # Safety
    /// As for [`Call::elements`]. The elements can be in the same array.
    pub(crate) unsafe fn fill<T: Copy>(&self, start: *mut T, elements: &[T]) {
        self.require_array(start, elements.len());
        // SAFETY: guaranteed by the caller.
        unsafe { start.copy_from(elements.as_ptr(), elements.len()) };
    }

    /// Returns the value at a pointer that can be NULL.
    ///
    /// # Safety
    /// A value at the pointer is valid.
    pub(crate) unsafe fn optional<T: Copy>(&self, pointer: *const T) -> Option<T> {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.elements(pointer, 1) }.first().copied()
    }

    /// Returns the units of a string.
    ///
    /// # Safety
    /// As for [`Call::elements`].
    pub(crate) unsafe fn units<'a>(&self, string: *const UNICODE_STRING) -> &'a [u16] {
        // SAFETY: guaranteed by the caller.
        let string = unsafe { self.view_new::<UNICODE_STRING, _>(string.cast_mut()) };
        // SAFETY: as above.
        unsafe { self.elements(string.Buffer, usize::from(string.Length / 2)) }
    }

    /// Returns the text of a string.
    ///
    /// # Safety
    /// As for [`Call::elements`].
    pub(crate) unsafe fn text(&self, string: *const UNICODE_STRING) -> String {
        // SAFETY: guaranteed by the caller.
        String::from_utf16_lossy(unsafe { self.units(string) })
    }
}
