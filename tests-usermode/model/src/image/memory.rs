//! The memory of an image: reserved, filled in, and protected section by section.

use std::{io, ops::Range, ptr::null_mut};

use crate::image::file::PAGE;

/// Memory that is mapped for an image.
pub(super) struct Memory {
    start: *mut u8,
    size: usize,
}

// SAFETY: once the image is loaded, its memory is the driver's, which says itself what its threads may do with it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps zeroed memory that can be written.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory is asked for, wherever there is room.
        let start = unsafe { libc::mmap(null_mut(), size, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            size,
        })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// The addresses of the memory.
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.start.addr();
        start..start + self.size
    }

    /// The bytes, before any of them is protected.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is mapped, and this is its only owner.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.size) }
    }

    /// Protects the pages of a range, relative to the start.
    pub(super) fn protect(&self, range: &Range<usize>, access: libc::c_int) -> io::Result<()> {
        let end = range.end.next_multiple_of(PAGE).min(self.size);
        let start = self.start.wrapping_add(range.start);
        let length = end.saturating_sub(range.start);
        // SAFETY: the pages are this image's.
        let result = unsafe { libc::mprotect(start.cast(), length, access) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the memory was mapped by `new`. Whoever drops an image has unloaded its driver.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}
