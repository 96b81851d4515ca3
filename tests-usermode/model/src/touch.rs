//! Reads of a driver's memory that report a violation if there is none. See `host::fault` for the handler.

use std::cell::Cell;

thread_local! {
    /// The pointer that the thread reads for the driver; zero if it reads none.
    pub(crate) static TOUCHED: Cell<usize> = const { Cell::new(0) };
}

/// Reads from each page of an object or a buffer that the driver passed a pointer to. If the memory is invalid, the handler
/// reports a violation.
///
/// # Safety
/// `pointer` is not NULL. If the host has no handler, the memory is valid.
pub(crate) unsafe fn touch(pointer: *const u8, size: usize) {
    const PAGE: usize = 0x1000;
    for offset in (0..size).step_by(PAGE).chain(size.checked_sub(1)) {
        let byte = pointer.wrapping_add(offset);
        TOUCHED.set(byte.addr());
        // SAFETY: the memory is valid, or the handler does not return.
        let _ = unsafe { byte.read_volatile() };
    }
    TOUCHED.set(0);
}
