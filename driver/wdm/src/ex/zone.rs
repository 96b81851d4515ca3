//! Zones: blocks of one size that are freed to their zone when they are dropped.

mod raw;
mod segment;

use core::{
    mem::{ManuallyDrop, offset_of},
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use pinned_init::Init;

pub use raw::{RawBlock, RawZone};
pub use segment::Segment;

use crate::{Error, Record, Shared, ex::zone::raw::Core, ke::irql::Waitable};

/// A zone of blocks for values of one type (`ZONE_HEADER`): memory that is allocated in advance, and from which
/// blocks can be allocated at `DISPATCH_LEVEL`.
///
/// The zone's memory lives as long as the zone and each of its blocks. Lookaside lists have replaced zones in NT. A
/// zone has a fixed limit, though, and an allocation from it never calls the pool.
///
/// # Examples
///
/// ```
/// use wdm::{Error, PassiveLevel, Zone, ZoneBox};
///
/// struct Request {
///     tag: u64,
/// }
///
/// fn first(irql: &mut PassiveLevel) -> Result<ZoneBox<Request>, Error> {
///     let zone = Zone::new(64, &[], irql)?;
///     zone.allocate(Request { tag: 1 }).ok_or(Error::INSUFFICIENT_RESOURCES)
/// }
/// ```
///
/// # What goes wrong in C
///
/// The block size, or the address of a segment, is not a multiple of 8, and the driver ignores the status; a block
/// is freed twice, or to another zone, and then allocated twice, since the routines do not check; the zone's memory
/// is freed while blocks are in use; or `ExExtendZone` is called while other threads allocate.
#[doc(alias = "ZONE_HEADER")]
pub struct Zone<T> {
    raw: RawZone,
    _values: core::marker::PhantomData<fn(T) -> T>,
}

/// The contents of a block that is in use.
#[repr(C)]
struct Block<T> {
    /// The zone that the block is freed to: an owner that was given up.
    zone: *mut (),
    value: T,
}

impl<T> Zone<T> {
    const BLOCK_SIZE: u32 = {
        assert!(
            align_of::<Block<T>>() == 8,
            "a zone aligns its blocks to 8 bytes"
        );
        let size = size_of::<Block<T>>();
        assert!(
            size < 1 << 20,
            "a block of a zone must be smaller than 1 MB"
        );
        #[expect(clippy::cast_possible_truncation, reason = "it was just compared")]
        let size = size as u32;
        size
    };

    /// Makes a zone with a segment of `first` blocks (`ExInitializeZone`) and one of `blocks` blocks for each
    /// number in `more` (`ExExtendZone`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, as the Windows NT 4.0 DDK requires it.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "ExInitializeZone")]
    #[doc(alias = "ExExtendZone")]
    pub fn new<L: Waitable>(first: u32, more: &[u32], irql: &mut L) -> Result<Self, Error> {
        Ok(Self {
            raw: raw_zone(Self::BLOCK_SIZE, first, more, irql)?,
            _values: core::marker::PhantomData,
        })
    }

    /// Adds a segment of `blocks` blocks, while others use the zone (`ExInterlockedExtendZone`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`. Code at `DISPATCH_LEVEL` cannot extend the zone; it has to fail if the zone has no free
    /// block.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "ExInterlockedExtendZone")]
    pub fn extend<L: Waitable>(&self, blocks: u32, irql: &mut L) -> Result<(), Error> {
        let segment = Segment::for_blocks(blocks, Self::BLOCK_SIZE, irql)?;
        self.raw.extend_interlocked(segment, irql)
    }

    /// Allocates a block and initialises it with a value or an in-place initialiser of one
    /// (`ExInterlockedAllocateFromZone`). Returns `None` if every block is in use.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`: `ExInterlockedExtendZone` holds the zone's lock at that IRQL, so an interrupt
    /// above it would wait for its own processor.
    #[doc(alias = "ExInterlockedAllocateFromZone")]
    pub fn allocate(&self, value: impl Init<T>) -> Option<ZoneBox<T>> {
        let (address, zone) = self.raw.allocate()?.into_parts();
        let block = address.cast::<Block<T>>().as_ptr();
        // SAFETY: only the address is computed; the zone's blocks have the size `BLOCK_SIZE` and the alignment of a
        // `Block`.
        let zone_at = unsafe { &raw mut (*block).zone };
        // SAFETY: this thread owns the block.
        unsafe { zone_at.write(zone.into_raw()) };
        // SAFETY: only the address is computed, inside the block.
        let value_at = unsafe { &raw mut (*block).value };
        // SAFETY: the memory is valid for writes, and the value stays there until it is dropped. The initialiser
        // cannot fail.
        let Ok(()) = unsafe { value.__init(value_at) };
        // SAFETY: an address inside a block is not NULL.
        let value = unsafe { NonNull::new_unchecked(value_at) };
        Some(ZoneBox { value })
    }

    /// Returns the number of blocks in the zone.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.raw.blocks()
    }

    /// Returns the number of blocks that are in use.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.raw.in_use()
    }
}

/// Makes a zone of blocks with a size, as [`Zone::new`] does.
// Not generic over the values, so that it is compiled once.
#[inline(never)]
fn raw_zone<L: Waitable>(
    block_size: u32,
    first: u32,
    more: &[u32],
    irql: &mut L,
) -> Result<RawZone, Error> {
    let segment = Segment::for_blocks(first, block_size, irql)?;
    let mut zone = RawZone::new(block_size, segment, irql)?;
    for blocks in more {
        zone.extend(Segment::for_blocks(*blocks, block_size, irql)?, irql)?;
    }
    Ok(zone)
}

/// A value in a block of a [`Zone`]; dropping it frees the block (`ExInterlockedFreeToZone`).
///
/// The value is dropped in place. A `ZoneBox` can be dropped at any IRQL up to `DISPATCH_LEVEL` that its value
/// allows, even if the last block frees the zone.
///
/// # Examples
///
/// ```
/// use wdm::ZoneBox;
///
/// struct Transfer {
///     remaining: u32,
/// }
///
/// /// Counts bytes that were transferred, and frees the block after the last one.
/// fn advance(mut transfer: ZoneBox<Transfer>, count: u32) -> Option<ZoneBox<Transfer>> {
///     transfer.remaining = transfer.remaining.saturating_sub(count);
///     (transfer.remaining != 0).then_some(transfer)
/// }
/// ```
// # Invariants
//
// `value` points to the value of a `Block` that only this owner has, and may access the whole block.
#[doc(alias = "ExInterlockedFreeToZone")]
pub struct ZoneBox<T> {
    value: NonNull<T>,
}

// SAFETY: only the owner accesses the block, which is freed under the zone's lock.
unsafe impl<T: Send> Send for ZoneBox<T> {}
// SAFETY: a shared reference gives access to the value only.
unsafe impl<T: Sync> Sync for ZoneBox<T> {}

impl<T> ZoneBox<T> {
    /// Returns the address of the value.
    pub(crate) fn as_non_null(&self) -> NonNull<T> {
        self.value
    }

    /// Gives up the owner for the address of the value.
    pub(crate) fn into_non_null(self) -> NonNull<T> {
        ManuallyDrop::new(self).value
    }

    /// Makes the owner again from the address of the value.
    ///
    /// # Safety
    /// `value` came from [`ZoneBox::into_non_null`], and this is called once for it.
    pub(crate) unsafe fn from_non_null(value: NonNull<T>) -> Self {
        Self { value }
    }
}

impl<T> Deref for ZoneBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this owner has the block, which contains a value.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for ZoneBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this owner has the block, which contains a value.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for ZoneBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is at that offset in its block.
        let block = unsafe { self.value.byte_sub(offset_of!(Block<T>, value)) };
        let block = block.cast::<Block<T>>();
        // SAFETY: this owner has the block, and its value is dropped once.
        unsafe { self.value.drop_in_place() };
        // SAFETY: only the address is computed, inside the block.
        let zone_at = unsafe { &raw const (*block.as_ptr()).zone };
        // SAFETY: this owner has the block, and the pointer is read once.
        let zone = unsafe { zone_at.read() };
        // SAFETY: `allocate` gave up this owner of the zone for the pointer.
        let zone = unsafe { Shared::<Core>::from_raw(zone) };
        // SAFETY: the block belongs to this zone and is no longer used.
        unsafe { RawBlock::from_parts(block.cast(), zone) }.free();
    }
}

// SAFETY: the pointer is to the value of the block, which only its owner has.
unsafe impl<T: Send + Sync + 'static> Record for ZoneBox<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        self.into_non_null().as_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller passes a pointer from `into_raw`, which is not NULL.
        let value = unsafe { NonNull::new_unchecked(raw.cast()) };
        // SAFETY: guaranteed by the caller.
        unsafe { Self::from_non_null(value) }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller guarantees that the owner outlives the reference.
        unsafe { &*raw.cast::<T>() }
    }
}
