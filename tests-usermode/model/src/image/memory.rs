//! The memory of an image, whose sections are protected separately.

use std::{io, ops::Range, ptr::null_mut};

use crate::image::file::PAGE;

/// Memory that is mapped for an image.
pub(super) struct Memory {
    start: *mut u8,
    size: usize,
}

// SAFETY: once the image is loaded, its memory belongs to the driver, which synchronizes its threads itself.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps zeroed, writable memory.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the mapping is new, at an address that the host chooses.
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

    /// Returns the address range of the memory.
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.start.addr();
        start..start + self.size
    }

    /// Returns the bytes, before any of them is protected.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is mapped, and this is its only owner.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.size) }
    }

    /// Protects the pages of a range, which is relative to the start.
    pub(super) fn protect(&self, range: &Range<usize>, access: libc::c_int) -> io::Result<()> {
        let end = range.end.next_multiple_of(PAGE).min(self.size);
        let start = self.start.wrapping_add(range.start);
        let length = end.saturating_sub(range.start);
        // SAFETY: the pages belong to this image.
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
        // SAFETY: the memory was mapped by `new`. An image is dropped after its driver was unloaded.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}
