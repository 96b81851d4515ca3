//! Segments: the memory that zones divide into blocks.

use alloc::alloc::{alloc, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use crate::{Error, ke::irql::NoSpinLockHeld};

/// Memory from the nonpaged pool for a [`RawZone`](crate::RawZone).
///
/// # Examples
///
/// ```
/// use wdm::{Error, RawZone, Segment, irql::NoSpinLockHeld};
///
/// fn extend(zone: &RawZone, irql: &mut impl NoSpinLockHeld) -> Result<(), Error> {
///     let segment = Segment::new(4_096, 0, irql)?;
///     zone.extend_interlocked(segment, irql)
/// }
/// ```
// # Invariants
//
// `prefix` starts an allocation of `layout(size, offset)`. The segment starts in it after the prefix and `offset`
// bytes.
#[doc(alias = "ZONE_SEGMENT_HEADER")]
pub struct Segment {
    prefix: NonNull<Prefix>,
    size: u32,
    offset: u32,
}

/// The start of a segment's allocation: the link to the next segment of the zone.
#[repr(C, align(16))]
struct Prefix {
    next: Option<Segment>,
}

// SAFETY: only the owner accesses the memory.
unsafe impl Send for Segment {}
// SAFETY: a shared reference gives access to numbers and an address only.
unsafe impl Sync for Segment {}

/// The size of the header that a zone keeps at the start of a segment.
const HEADER: u32 = {
    #[expect(clippy::cast_possible_truncation, reason = "the structure is 16 bytes")]
    let size = size_of::<nt::ZONE_SEGMENT_HEADER>() as u32;
    size
};

impl Segment {
    /// Allocates a segment of `size` bytes whose address is `offset` bytes above a multiple of 16, like the
    /// remainder of a larger buffer.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    pub fn new<L: NoSpinLockHeld>(size: u32, offset: u32, _irql: &mut L) -> Result<Self, Error> {
        let layout = layout(size, offset).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the layout is aligned as the prefix is"
        )]
        // SAFETY: the layout has room for the prefix, so its size is not zero.
        let prefix = unsafe { alloc(layout) }.cast::<Prefix>();
        let prefix = NonNull::new(prefix).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the allocation starts with room for the prefix.
        unsafe { prefix.write(Prefix { next: None }) };
        Ok(Self {
            prefix,
            size,
            offset,
        })
    }

    /// Allocates a segment with room for exactly `blocks` blocks.
    pub(super) fn for_blocks<L: NoSpinLockHeld>(
        blocks: u32,
        block_size: u32,
        irql: &mut L,
    ) -> Result<Self, Error> {
        let size = blocks
            .checked_mul(block_size)
            .and_then(|size| size.checked_add(HEADER))
            .ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // Even without blocks the segment must not be shorter than one block.
        Self::new(size.max(block_size), 0, irql)
    }

    /// Returns the start of the segment.
    pub(super) fn start(&self) -> *mut core::ffi::c_void {
        self.prefix
            .as_ptr()
            .wrapping_add(1)
            .wrapping_byte_add(self.offset as usize)
            .cast()
    }

    /// Returns the size of the segment in bytes.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Returns whether the segment has room for the zone's header, which the routines do not check.
    pub(super) fn has_room_for_header(&self) -> bool {
        self.size >= HEADER
    }

    /// Returns whether a zone with blocks of this size can be extended by the segment. The routines that extend a zone check most of
    /// this, and not every kernel fails them with the same status.
    pub(super) fn extends(&self, block_size: u32) -> bool {
        let is_aligned = self.size.is_multiple_of(8) && self.offset.is_multiple_of(8);
        is_aligned && self.size >= block_size && self.has_room_for_header()
    }

    /// Returns the number of blocks that a zone makes from the segment.
    pub(super) fn blocks(&self, block_size: u32) -> u32 {
        self.size
            .saturating_sub(HEADER)
            .checked_div(block_size)
            .unwrap_or(0)
    }

    /// Links the next segment of the chain to this one, which has none yet.
    pub(super) fn set_next(&mut self, next: Option<Self>) {
        // SAFETY: the prefix is at the start of the allocation, which this owner has.
        unsafe { self.prefix.as_mut() }.next = next;
    }

    /// Takes the next segment of the chain.
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
        // In a loop: recursion along a long chain would exhaust the kernel stack.
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
