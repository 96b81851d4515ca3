//! Segments: the memory that a zone cuts its blocks from.

use alloc::alloc::{alloc, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use crate::{Error, ke::irql::NoSpinLockHeld};

/// Memory of the nonpaged pool for a [`RawZone`](crate::RawZone).
///
/// # Invariants
///
/// `prefix` starts an allocation of `layout(size, offset)`, and the segment lies in it behind the prefix and
/// the offset.
pub struct Segment {
    prefix: NonNull<Prefix>,
    size: u32,
    offset: u32,
}

/// What lies before a segment in its allocation: how to find and free it.
#[repr(C, align(16))]
struct Prefix {
    next: Option<Segment>,
}

// SAFETY: the memory is its owner's.
unsafe impl Send for Segment {}
// SAFETY: a shared reference shows numbers and an address.
unsafe impl Sync for Segment {}

/// What a zone keeps at the start of a segment.
const HEADER: u32 = {
    #[expect(clippy::cast_possible_truncation, reason = "the structure is 16 bytes")]
    let size = size_of::<nt::ZONE_SEGMENT_HEADER>() as u32;
    size
};

impl Segment {
    /// Allocates a segment of `size` bytes that starts `offset` bytes behind a multiple of 16, as when it is
    /// the rest of something larger.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn new<L: NoSpinLockHeld>(size: u32, offset: u32, _irql: &mut L) -> Result<Self, Error> {
        let layout = layout(size, offset).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the layout is aligned as the prefix is"
        )]
        // SAFETY: the layout has room for the prefix, so its size is not zero.
        let prefix = unsafe { alloc(layout) }.cast::<Prefix>();
        let prefix = NonNull::new(prefix).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the allocation starts with room for it.
        unsafe { prefix.write(Prefix { next: None }) };
        Ok(Self {
            prefix,
            size,
            offset,
        })
    }

    /// Allocates a segment from which exactly so many blocks can be cut.
    pub(super) fn for_blocks<L: NoSpinLockHeld>(
        blocks: u32,
        block_size: u32,
        irql: &mut L,
    ) -> Result<Self, Error> {
        let size = blocks
            .checked_mul(block_size)
            .and_then(|size| size.checked_add(HEADER))
            .ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // For no block at all the segment still must not be shorter than one.
        Self::new(size.max(block_size), 0, irql)
    }

    /// Where the segment starts.
    pub(super) fn start(&self) -> *mut core::ffi::c_void {
        self.prefix
            .as_ptr()
            .wrapping_add(1)
            .wrapping_byte_add(self.offset as usize)
            .cast()
    }

    /// How long it is, in bytes.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Whether it has room for what a zone keeps at its start, which the routines do not ask.
    pub(super) fn has_room_for_header(&self) -> bool {
        self.size >= HEADER
    }

    /// How many blocks a zone cuts from it.
    pub(super) fn blocks(&self, block_size: u32) -> u32 {
        self.size
            .saturating_sub(HEADER)
            .checked_div(block_size)
            .unwrap_or(0)
    }

    /// Chains another segment to this one, which has none yet.
    pub(super) fn set_next(&mut self, next: Option<Self>) {
        // SAFETY: the prefix is at the start of the allocation, which is this owner's.
        unsafe { self.prefix.as_mut() }.next = next;
    }

    /// Takes the segment that is chained to this one.
    fn take_next(&mut self) -> Option<Self> {
        // SAFETY: as in `set_next`.
        unsafe { self.prefix.as_mut() }.next.take()
    }
}

fn layout(size: u32, offset: u32) -> Option<Layout> {
    let size = size_of::<Prefix>()
        .checked_add(size as usize)?
        .checked_add(offset as usize)?;
    Layout::from_size_align(size, align_of::<Prefix>()).ok()
}

impl Drop for Segment {
    fn drop(&mut self) {
        // One after the other, since a chain may be longer than a kernel stack is deep.
        let mut next = self.take_next();
        while let Some(mut segment) = next {
            next = segment.take_next();
        }
        if let Some(layout) = layout(self.size, self.offset) {
            // SAFETY: the memory was allocated with this layout.
            unsafe { dealloc(self.prefix.as_ptr().cast(), layout) };
        }
    }
}
