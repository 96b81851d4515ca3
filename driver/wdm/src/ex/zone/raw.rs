//! Zones as NT has them: blocks of so many bytes.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, Ordering},
};

use pinned_init::{pin_data, try_pin_init};

use super::Segment;
use crate::{
    EntryId, Error, Shared, SpinLock,
    ke::{irql::NoSpinLockHeld, spin_lock::RawSpinLock},
};

/// A zone of blocks whose size is only known at run time (`ZONE_HEADER`).
///
/// [`Zone`](crate::Zone) is what a driver mostly wants: it knows at compile time that its sizes are right.
///
/// # Examples
///
/// ```
/// use wdm::{Error, PassiveLevel, RawZone, Segment};
///
/// fn frames(length: u32, irql: &mut PassiveLevel) -> Result<RawZone, Error> {
///     let segment = Segment::new(16 + 32 * length, 0, irql)?;
///     RawZone::new(length, segment, irql)
/// }
/// ```
pub struct RawZone {
    core: Shared<Core>,
}

/// What the zone and each of its blocks share.
#[pin_data]
pub(super) struct Core {
    /// The zone. Its routines are called under `lock`, but for those that are called before there is anybody
    /// else to call them.
    #[pin]
    header: UnsafeCell<nt::ZONE_HEADER>,
    #[pin]
    lock: RawSpinLock,
    /// The zone's segments, chained: they go when the zone and all blocks have gone.
    #[pin]
    segments: SpinLock<Option<Segment>>,
    block_size: u32,
    blocks: AtomicU32,
    in_use: AtomicU32,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the header is only reached by the routines, under the lock or before there is anybody else.
unsafe impl Sync for Core {}
// SAFETY: as above; no part belongs to a thread.
unsafe impl Send for Core {}

impl RawZone {
    /// Makes a zone with blocks of so many bytes from a segment (`ExInitializeZone`).
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` if the block size or the segment's address is no multiple of 8, or a block is
    /// longer than the segment; and, since the routine would not ask, if the block size is 0 or the segment
    /// shorter than the 16 bytes that the zone keeps at its start. `STATUS_INSUFFICIENT_RESOURCES` if there is
    /// no memory.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn new<L: NoSpinLockHeld>(
        block_size: u32,
        segment: Segment,
        irql: &mut L,
    ) -> Result<Self, Error> {
        if block_size == 0 || !segment.has_room_for_header() {
            return Err(Error::INVALID_PARAMETER);
        }
        let zone = Self {
            core: Shared::droppable_anywhere(core(block_size))?,
        };
        let header = zone.core.header.get();
        // SAFETY: the header is where it stays, and nobody else knows the zone yet. The segment is long enough
        // for its own header, and is kept as long as the zone. Its blocks are at least 8 bytes, as a link is:
        // the routine refuses what is not a multiple of 8.
        let status =
            unsafe { nt::ExInitializeZone(header, block_size, segment.start(), segment.size()) };
        Error::check(status)?;
        zone.keep(segment, irql);
        Ok(zone)
    }

    /// Adds a segment while nobody else can reach the zone (`ExExtendZone`).
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` if the segment's address or size is no multiple of 8, or it is shorter than a
    /// block or than 16 bytes; `STATUS_INVALID_DEVICE_REQUEST` if blocks are in use, since their owners may give them
    /// back at any moment.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn extend<L: NoSpinLockHeld>(
        &mut self,
        segment: Segment,
        irql: &mut L,
    ) -> Result<(), Error> {
        if !segment.has_room_for_header() {
            return Err(Error::INVALID_PARAMETER);
        }
        if !self.core.is_only_owner() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the zone was initialised, and nobody else can reach it: there is no block, and `&mut self` is
        // the only way to the handle. The segment is kept as long as the zone.
        let status =
            unsafe { nt::ExExtendZone(self.core.header.get(), segment.start(), segment.size()) };
        Error::check(status)?;
        self.keep(segment, irql);
        Ok(())
    }

    /// Adds a segment while others use the zone (`ExInterlockedExtendZone`).
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` as for [`RawZone::extend`].
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn extend_interlocked<L: NoSpinLockHeld>(
        &self,
        segment: Segment,
        irql: &mut L,
    ) -> Result<(), Error> {
        if !segment.has_room_for_header() {
            return Err(Error::INVALID_PARAMETER);
        }
        let (header, lock) = (self.core.header.get(), self.core.lock.raw());
        // SAFETY: the zone was initialised, and all others use it under this lock. The segment is kept as long
        // as the zone.
        let status =
            unsafe { nt::ExInterlockedExtendZone(header, segment.start(), segment.size(), lock) };
        Error::check(status)?;
        self.keep(segment, irql);
        Ok(())
    }

    /// Keeps a segment that the zone has taken. Blocks may be in use already: they keep the zone, and the zone
    /// keeps the segment from here on; until then the caller does.
    fn keep<L: NoSpinLockHeld>(&self, mut segment: Segment, irql: &mut L) {
        let blocks = segment.blocks(self.core.block_size);
        self.core.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.core.segments.with(irql, |segments, _| {
            segment.set_next(segments.take());
            *segments = Some(segment);
        });
    }

    /// Allocates a block; `None` if every one is in use (`ExInterlockedAllocateFromZone`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, as for [`Zone::allocate`](crate::Zone::allocate).
    #[must_use]
    pub fn allocate(&self) -> Option<RawBlock> {
        let free = free_list(&self.core);
        // SAFETY: the zone was initialised, and all others use its free list under this lock. This is
        // ExInterlockedAllocateFromZone, which is a macro.
        let block = unsafe { nt::ExInterlockedPopEntryList(free, self.core.lock.raw()) };
        let block = NonNull::new(block)?.cast();
        self.core.in_use.fetch_add(1, Ordering::Relaxed);
        Some(RawBlock {
            block,
            core: self.core.clone(),
        })
    }

    /// How many blocks the zone has.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.core.blocks.load(Ordering::Relaxed)
    }

    /// How many of its blocks are in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.core.in_use.load(Ordering::Relaxed)
    }
}

/// The initialiser of a zone without segments, whose header is not initialised yet.
fn core(block_size: u32) -> impl pinned_init::PinInit<Core, Error> {
    try_pin_init!(Core {
        header: UnsafeCell::new(nt::ZONE_HEADER {
            FreeList: nt::SINGLE_LIST_ENTRY { Next: null_mut() },
            SegmentList: nt::SINGLE_LIST_ENTRY { Next: null_mut() },
            BlockSize: 0,
            TotalSegmentSize: 0,
        }),
        lock <- RawSpinLock::new(),
        segments <- SpinLock::new(None),
        block_size,
        blocks: AtomicU32::new(0),
        in_use: AtomicU32::new(0),
        _pinned: PhantomPinned,
    }? Error)
}

/// Where a zone's free blocks are chained.
fn free_list(core: &Core) -> *mut nt::SINGLE_LIST_ENTRY {
    // SAFETY: the address alone is computed, inside the header.
    unsafe { &raw mut (*core.header.get()).FreeList }
}

/// A block of a [`RawZone`], which keeps the zone; dropping it gives the block back.
pub struct RawBlock {
    block: NonNull<u8>,
    core: Shared<Core>,
}

// SAFETY: the block is its owner's alone, and goes back under the zone's lock.
unsafe impl Send for RawBlock {}

impl RawBlock {
    /// Which block it is.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId::of_block(self.block)
    }

    /// Gives the block back, and says which was the first free block before; `None` if there was none
    /// (`ExInterlockedFreeToZone`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[expect(
        clippy::must_use_candidate,
        reason = "it frees the block, whatever is made of the answer"
    )]
    pub fn free(self) -> Option<EntryId> {
        let (block, core) = self.into_parts();
        // SAFETY: the owner was given up for the block.
        unsafe { put_back(block, &core) }
    }

    /// Gives the owner up for the block's address and the zone.
    pub(super) fn into_parts(self) -> (NonNull<u8>, Shared<Core>) {
        let block = core::mem::ManuallyDrop::new(self);
        // SAFETY: the owner is given up, so its part is read out once.
        (block.block, unsafe {
            core::ptr::read(&raw const block.core)
        })
    }

    /// Makes the owner again.
    ///
    /// # Safety
    /// The block is of this zone, and nobody else has it.
    pub(super) unsafe fn from_parts(block: NonNull<u8>, core: Shared<Core>) -> Self {
        Self { block, core }
    }
}

impl Drop for RawBlock {
    fn drop(&mut self) {
        // SAFETY: the owner is gone after this.
        unsafe { put_back(self.block, &self.core) };
    }
}

/// Puts a block on its zone's free list (`ExInterlockedFreeToZone`).
///
/// # Safety
/// The block is of this zone, and nobody uses it any more.
unsafe fn put_back(block: NonNull<u8>, core: &Core) -> Option<EntryId> {
    core.in_use.fetch_sub(1, Ordering::Relaxed);
    let (free, block) = (free_list(core), block.as_ptr().cast());
    // SAFETY: passed on to the caller; all others use the free list under this lock. This is
    // ExInterlockedFreeToZone, which is a macro.
    let first = unsafe { nt::ExInterlockedPushEntryList(free, block, core.lock.raw()) };
    EntryId::returned(first)
}
