//! The memory of an image, whose sections are protected separately.

use std::{io, ops::Range};

use region::{Allocation, Protection};

use super::file::PAGE;

/// Memory that is mapped for an image.
pub(super) struct Memory(Allocation);

// SAFETY: once the image is loaded, its memory belongs to the driver, which synchronizes its threads itself.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps zeroed, writable memory.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let memory = region::alloc(size, Protection::READ_WRITE);
        memory.map(Self).map_err(io::Error::other)
    }

    pub(super) fn start(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Returns the address range of the memory.
    pub(super) fn range(&self) -> Range<usize> {
        let range = self.0.as_ptr_range::<u8>();
        range.start.addr()..range.end.addr()
    }

    /// Returns the bytes, before any of them is protected.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let (start, size) = (self.0.as_mut_ptr(), self.0.len());
        // SAFETY: the memory is mapped, and this is its only owner.
        unsafe { std::slice::from_raw_parts_mut(start, size) }
    }

    /// Protects the pages of a range, which is relative to the start.
    pub(super) fn protect(&self, range: &Range<usize>, access: Protection) -> io::Result<()> {
        let end = range.end.next_multiple_of(PAGE).min(self.0.len());
        let start = self.0.as_ptr::<u8>().wrapping_add(range.start);
        let length = end.saturating_sub(range.start);
        // SAFETY: the pages belong to this image.
        let protected = unsafe { region::protect(start, length, access) };
        protected.map_err(io::Error::other)
    }
}
