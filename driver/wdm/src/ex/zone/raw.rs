//! Zones of blocks whose size is a number of bytes, as in NT.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ptr::{NonNull, null_mut},
    sync::atomic::Ordering,
};

use nt::atomic::AtomicU32;
use pinned_init::{pin_data, try_pin_init};

use super::Segment;
use crate::{
    EntryId, Error, Shared, SpinLock,
    ke::{
        irql::{NoSpinLockHeld, Waitable},
        spin_lock::RawSpinLock,
    },
};

/// A zone of blocks whose size is known only at run time (`ZONE_HEADER`).
///
/// Most drivers should use [`Zone`](crate::Zone), which checks its sizes at compile time.
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
#[doc(alias = "ZONE_HEADER")]
pub struct RawZone {
    core: Shared<Core>,
}

/// The part that the zone shares with each of its blocks.
#[pin_data]
pub(super) struct Core {
    /// The zone. Its routines are called under `lock`, or while no other thread can access the zone.
    #[pin]
    header: UnsafeCell<nt::ZONE_HEADER>,
    #[pin]
    lock: RawSpinLock,
    /// The zone's segments, as a chain. They are freed after the zone and all its blocks.
    #[pin]
    segments: SpinLock<Option<Segment>>,
    block_size: u32,
    blocks: AtomicU32,
    in_use: AtomicU32,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the routines access the header, under the lock or while no other thread can access the zone.
unsafe impl Sync for Core {}
// SAFETY: as above; no part is tied to a thread.
unsafe impl Send for Core {}

impl RawZone {
    /// Makes a zone with blocks of `block_size` bytes from a segment (`ExInitializeZone`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, as the Windows NT 4.0 DDK requires it.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` if the block size or the segment's address is not a multiple of 8, or a block is
    /// longer than the segment; also if the block size is 0 or the segment is shorter than the
    /// 16-byte header at its start, which the routine does not check. `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "ExInitializeZone")]
    pub fn new<L: Waitable>(
        block_size: u32,
        segment: Segment,
        irql: &mut L,
    ) -> Result<Self, Error> {
        // Not every kernel checks the block size, on which the memory of the blocks' links depends.
        if block_size == 0 || !block_size.is_multiple_of(8) || !segment.has_room_for_header() {
            return Err(Error::INVALID_PARAMETER);
        }
        let zone = Self {
            core: Shared::droppable_anywhere(core(block_size))?,
        };
        let header = zone.core.header.get();
        // SAFETY: the header is pinned, and no other thread can access the zone yet. The segment has room for its
        // header, and is kept as long as the zone. Its blocks have room for a link of 8 bytes, since their size is a
        // multiple of 8.
        let status =
            unsafe { nt::ExInitializeZone(header, block_size, segment.start(), segment.size()) };
        Error::check(status)?;
        zone.keep(segment, irql);
        Ok(zone)
    }

    /// Adds a segment while no other thread can access the zone (`ExExtendZone`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` if the segment's address or size is not a multiple of 8, or if it is shorter than
    /// a block or than 16 bytes; `STATUS_INVALID_DEVICE_REQUEST` if blocks are in use, since their owners may free
    /// them at any time.
    #[doc(alias = "ExExtendZone")]
    pub fn extend<L: NoSpinLockHeld>(
        &mut self,
        segment: Segment,
        irql: &mut L,
    ) -> Result<(), Error> {
        if !segment.extends(self.core.block_size) {
            return Err(Error::INVALID_PARAMETER);
        }
        if !self.core.is_only_owner() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the zone was initialised, and no other thread can access it: no block is in use, and `&mut self`
        // is exclusive. The segment is kept as long as the zone.
        let status =
            unsafe { nt::ExExtendZone(self.core.header.get(), segment.start(), segment.size()) };
        Error::check(status)?;
        self.keep(segment, irql);
        Ok(())
    }

    /// Adds a segment while others use the zone (`ExInterlockedExtendZone`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` as for [`RawZone::extend`].
    #[doc(alias = "ExInterlockedExtendZone")]
    pub fn extend_interlocked<L: NoSpinLockHeld>(
        &self,
        segment: Segment,
        irql: &mut L,
    ) -> Result<(), Error> {
        if !segment.extends(self.core.block_size) {
            return Err(Error::INVALID_PARAMETER);
        }
        let (header, lock) = (self.core.header.get(), self.core.lock.raw());
        // SAFETY: the zone was initialised, and all other threads use it under this lock. The segment is kept as
        // long as the zone.
        let status =
            unsafe { nt::ExInterlockedExtendZone(header, segment.start(), segment.size(), lock) };
        Error::check(status)?;
        self.keep(segment, irql);
        Ok(())
    }

    /// Adds a segment to the chain, after the zone has cut blocks from it. Blocks of it may already be in use: they
    /// keep the zone, which keeps the segment; the caller keeps the segment until this has returned.
    fn keep<L: NoSpinLockHeld>(&self, mut segment: Segment, irql: &mut L) {
        let blocks = segment.blocks(self.core.block_size);
        self.core.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.core.segments.with(irql, |segments, _| {
            segment.set_next(segments.take());
            *segments = Some(segment);
        });
    }

    /// Allocates a block (`ExInterlockedAllocateFromZone`). Returns `None` if every block is in use.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, as for [`Zone::allocate`](crate::Zone::allocate).
    #[doc(alias = "ExInterlockedAllocateFromZone")]
    #[must_use]
    pub fn allocate(&self) -> Option<RawBlock> {
        let free = free_list(&self.core);
        // SAFETY: the zone was initialised, and all other threads use its free list under this lock. The macro
        // ExInterlockedAllocateFromZone expands to this call.
        let block = unsafe { nt::ExInterlockedPopEntryList(free, self.core.lock.raw()) };
        let block = NonNull::new(block)?.cast();
        self.core.in_use.fetch_add(1, Ordering::Relaxed);
        Some(RawBlock {
            block,
            core: self.core.clone(),
        })
    }

    /// Returns the number of blocks in the zone.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.core.blocks.load(Ordering::Relaxed)
    }

    /// Returns the number of blocks that are in use.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.core.in_use.load(Ordering::Relaxed)
    }
}

/// Initialises a zone without segments, except for its header.
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

/// Returns the head of a zone's free list.
fn free_list(core: &Core) -> *mut nt::SINGLE_LIST_ENTRY {
    // SAFETY: only the address is computed, inside the header.
    unsafe { &raw mut (*core.header.get()).FreeList }
}

/// A block of a [`RawZone`], which keeps the zone alive; dropping it frees the block.
///
/// # Examples
///
/// ```
/// use wdm::RawBlock;
///
/// /// Frees two blocks of a zone, and returns whether no other thread used the zone in between.
/// fn free_both(first: RawBlock, second: RawBlock) -> bool {
///     let id = first.id();
///     first.free();
///     second.free() == Some(id)
/// }
/// ```
pub struct RawBlock {
    block: NonNull<u8>,
    core: Shared<Core>,
}

// SAFETY: only the owner accesses the block, which is freed under the zone's lock.
unsafe impl Send for RawBlock {}

impl RawBlock {
    /// Returns the identifier of the block.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId::of_block(self.block)
    }

    /// Frees the block (`ExInterlockedFreeToZone`). Returns the previous first free block, or `None` if there was
    /// none.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExInterlockedFreeToZone")]
    #[expect(
        clippy::must_use_candidate,
        reason = "it frees the block; the return value is optional"
    )]
    pub fn free(self) -> Option<EntryId> {
        let (block, core) = self.into_parts();
        // SAFETY: `into_parts` gave up the owner for the block.
        unsafe { put_back(block, &core) }
    }

    /// Gives up the owner for the address of the block and the zone.
    pub(super) fn into_parts(self) -> (NonNull<u8>, Shared<Core>) {
        let block = core::mem::ManuallyDrop::new(self);
        // SAFETY: the owner is given up, so its field is read once.
        (block.block, unsafe {
            core::ptr::read(&raw const block.core)
        })
    }

    /// Makes the owner again from its parts.
    ///
    /// # Safety
    /// The block belongs to this zone, and has no other owner.
    pub(super) unsafe fn from_parts(block: NonNull<u8>, core: Shared<Core>) -> Self {
        Self { block, core }
    }
}

impl Drop for RawBlock {
    fn drop(&mut self) {
        // SAFETY: the block belongs to this zone, and this owner does not use it after the drop.
        unsafe { put_back(self.block, &self.core) };
    }
}

/// Puts a block on its zone's free list (`ExInterlockedFreeToZone`).
///
/// # Safety
/// The block belongs to this zone and is no longer used.
unsafe fn put_back(block: NonNull<u8>, core: &Core) -> Option<EntryId> {
    core.in_use.fetch_sub(1, Ordering::Relaxed);
    let (free, block) = (free_list(core), block.as_ptr().cast());
    // SAFETY: guaranteed by the caller; all other threads use the free list under this lock. The macro
    // ExInterlockedFreeToZone expands to this call.
    let first = unsafe { nt::ExInterlockedPushEntryList(free, block, core.lock.raw()) };
    EntryId::returned(first)
}
