//! Zones: blocks of one size that go back when they are dropped.

mod raw;
mod segment;

use core::{
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

pub use raw::{RawBlock, RawZone};
pub use segment::Segment;

use crate::{
    NtStatus, Record, Shared,
    irql::{NoSpinLockHeld, Waitable},
    zone::raw::Core,
};

/// A zone of blocks for values of one type (`ZONE_HEADER`, `ExInitializeZone`): memory that is there before it
/// is needed, and can be had at any IRQL.
///
/// The zone's memory lives as long as the zone and each of its blocks. Zones are obsolete in NT, where
/// lookaside lists took their place; but a zone has a bound, and never asks the pool.
///
/// # What goes wrong in C
///
/// The block size, or a segment, is no multiple of 8, and nobody looks at the status; a block is freed twice,
/// or to another zone, and then handed out twice, since nothing checks; the zone's memory is freed while
/// blocks are out; `ExExtendZone` is called while others allocate.
///
/// # Examples
///
/// ```
/// use wdm::{NtStatus, PassiveLevel, Zone, ZoneBox};
///
/// struct Request {
///     tag: u64,
/// }
///
/// fn first(irql: &mut PassiveLevel) -> Result<ZoneBox<Request>, NtStatus> {
///     let zone = Zone::new(64, &[], irql)?;
///     zone.allocate(Request { tag: 1 }).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)
/// }
/// ```
pub struct Zone<T> {
    raw: RawZone,
    _values: core::marker::PhantomData<fn(T) -> T>,
}

/// What is in a block that is in use.
#[repr(C)]
struct Block<T> {
    /// The zone that the block goes back to, as an owner given up.
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
        assert!(size < 1 << 20, "a block of a zone is not that large");
        #[expect(clippy::cast_possible_truncation, reason = "it was just compared")]
        let size = size as u32;
        size
    };

    /// Makes a zone with a segment for `first` blocks (`ExInitializeZone`) and one for each number in `more`
    /// (`ExExtendZone`).
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn new<L: NoSpinLockHeld>(
        first: u32,
        more: &[u32],
        irql: &mut L,
    ) -> Result<Self, NtStatus> {
        let segment = Segment::for_blocks(first, Self::BLOCK_SIZE, irql)?;
        let mut raw = RawZone::new(Self::BLOCK_SIZE, segment, irql)?;
        for blocks in more {
            raw.extend(Segment::for_blocks(*blocks, Self::BLOCK_SIZE, irql)?, irql)?;
        }
        Ok(Self {
            raw,
            _values: core::marker::PhantomData,
        })
    }

    /// Adds a segment for more blocks, while others use the zone (`ExInterlockedExtendZone`).
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`; what has run out at `DISPATCH_LEVEL` has to be refused there.
    pub fn extend<L: Waitable>(&self, blocks: u32, irql: &mut L) -> Result<(), NtStatus> {
        let segment = Segment::for_blocks(blocks, Self::BLOCK_SIZE, irql)?;
        self.raw.extend_interlocked(segment, irql)
    }

    /// Puts a value into a block (`ExInterlockedAllocateFromZone`).
    ///
    /// # Errors
    /// The value itself, if every block is in use.
    ///
    /// # IRQL
    /// Any.
    pub fn allocate(&self, value: T) -> Result<ZoneBox<T>, T> {
        let Some((address, zone)) = self.raw.allocate().map(RawBlock::into_parts) else {
            return Err(value);
        };
        let block = address.cast::<Block<T>>();
        let value = Block {
            zone: zone.into_raw(),
            value,
        };
        // SAFETY: the zone's blocks are as large and as aligned as `BLOCK_SIZE` says, and this one is ours.
        unsafe { block.write(value) };
        Ok(ZoneBox { block })
    }

    /// How many blocks the zone has.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.raw.blocks()
    }

    /// How many of its blocks are in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.raw.in_use()
    }
}

/// A value in a block of a [`Zone`]; dropping it gives the block back (`ExInterlockedFreeToZone`).
///
/// It may be dropped at any IRQL that the value may be dropped at, and the zone, if it goes with its last
/// block, at `DISPATCH_LEVEL` or below.
pub struct ZoneBox<T> {
    block: NonNull<Block<T>>,
}

// SAFETY: the block is its owner's alone, and goes back under the zone's lock.
unsafe impl<T: Send> Send for ZoneBox<T> {}
// SAFETY: a shared reference shows the value, and nothing else.
unsafe impl<T: Sync> Sync for ZoneBox<T> {}

impl<T> ZoneBox<T> {
    /// Gives the owner up for the value's address.
    pub(crate) fn into_value_ptr(self) -> *mut T {
        let block = ManuallyDrop::new(self).block.as_ptr();
        // SAFETY: the address alone is computed, inside the block.
        unsafe { &raw mut (*block).value }
    }

    /// Makes the owner again.
    ///
    /// # Safety
    /// `value` came from [`ZoneBox::into_value_ptr`], and this is called for it once.
    pub(crate) unsafe fn from_value_ptr(value: *mut T) -> Self {
        // SAFETY: the value is that far inside its block.
        let block = unsafe { value.byte_sub(core::mem::offset_of!(Block<T>, value)) };
        // SAFETY: a block is not NULL.
        let block = unsafe { NonNull::new_unchecked(block.cast()) };
        Self { block }
    }
}

impl<T> Deref for ZoneBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the block is this owner's, with a value in it.
        unsafe { &self.block.as_ref().value }
    }
}

impl<T> DerefMut for ZoneBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the block is this owner's, with a value in it.
        unsafe { &mut self.block.as_mut().value }
    }
}

impl<T> Drop for ZoneBox<T> {
    fn drop(&mut self) {
        // SAFETY: the block is this owner's, and is read out once: what is left of it is bytes.
        let Block { zone, value } = unsafe { self.block.read() };
        drop(value);
        // SAFETY: `allocate` gave this owner of the zone up for the pointer.
        let zone = unsafe { Shared::<Core>::from_raw(zone) };
        // SAFETY: the block is of this zone, and nobody uses it any more.
        unsafe { RawBlock::from_parts(self.block.cast(), zone) }.free();
    }
}

// SAFETY: the pointer is the block's, which is its owner's alone.
unsafe impl<T: Send + Sync + 'static> Record for ZoneBox<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        self.into_value_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { Self::from_value_ptr(raw.cast()) }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller says that the owner is there as long as the reference.
        unsafe { &*raw.cast::<T>() }
    }
}
