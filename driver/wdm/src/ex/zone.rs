//! Zones: blocks of one size that go back when they are dropped.

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

use crate::{
    Error, Record, Shared,
    ex::zone::raw::Core,
    ke::irql::{NoSpinLockHeld, Waitable},
};

/// A zone of blocks for values of one type (`ZONE_HEADER`, `ExInitializeZone`): memory that is there before it
/// is needed, and can be had at `DISPATCH_LEVEL`.
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
    pub fn new<L: NoSpinLockHeld>(first: u32, more: &[u32], irql: &mut L) -> Result<Self, Error> {
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
    pub fn extend<L: Waitable>(&self, blocks: u32, irql: &mut L) -> Result<(), Error> {
        let segment = Segment::for_blocks(blocks, Self::BLOCK_SIZE, irql)?;
        self.raw.extend_interlocked(segment, irql)
    }

    /// Puts a value into a block, or what an initialiser makes in its place (`ExInterlockedAllocateFromZone`); `None` if
    /// every block is in use.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`: `ExInterlockedExtendZone` raises the IRQL to that while it holds the zone's lock, so an
    /// interrupt above it would wait for its own processor.
    #[doc(alias = "ExInterlockedAllocateFromZone")]
    pub fn allocate(&self, value: impl Init<T>) -> Option<ZoneBox<T>> {
        let (address, zone) = self.raw.allocate()?.into_parts();
        let block = address.cast::<Block<T>>().as_ptr();
        // SAFETY: the address alone is computed: the zone's blocks are as large and as aligned as `BLOCK_SIZE` says.
        let zone_at = unsafe { &raw mut (*block).zone };
        // SAFETY: the block is this thread's.
        unsafe { zone_at.write(zone.into_raw()) };
        // SAFETY: the address alone is computed, inside the block.
        let value_at = unsafe { &raw mut (*block).value };
        // SAFETY: the place is valid for writes, and stays until the value is dropped there. The initialiser cannot fail.
        let Ok(()) = unsafe { value.__init(value_at) };
        // SAFETY: a place inside a block is not NULL.
        let value = unsafe { NonNull::new_unchecked(value_at) };
        Some(ZoneBox { value })
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
/// The value is dropped where it is. It may be dropped at any IRQL up to `DISPATCH_LEVEL` at which the value may be, and
/// so may the zone, if it goes with its last block.
///
/// # Invariants
///
/// `value` is the one of a `Block` that this owner alone has, and a pointer to the whole block.
pub struct ZoneBox<T> {
    value: NonNull<T>,
}

// SAFETY: the block is its owner's alone, and goes back under the zone's lock.
unsafe impl<T: Send> Send for ZoneBox<T> {}
// SAFETY: a shared reference shows the value, and nothing else.
unsafe impl<T: Sync> Sync for ZoneBox<T> {}

impl<T> ZoneBox<T> {
    /// The value's address.
    pub(crate) fn as_non_null(&self) -> NonNull<T> {
        self.value
    }

    /// Gives the owner up for the value's address.
    pub(crate) fn into_non_null(self) -> NonNull<T> {
        ManuallyDrop::new(self).value
    }

    /// Makes the owner again.
    ///
    /// # Safety
    /// `value` came from [`ZoneBox::into_non_null`], and this is called for it once.
    pub(crate) unsafe fn from_non_null(value: NonNull<T>) -> Self {
        Self { value }
    }
}

impl<T> Deref for ZoneBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the block is this owner's, with a value in it.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for ZoneBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the block is this owner's, with a value in it.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for ZoneBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is that far inside its block.
        let block = unsafe { self.value.byte_sub(offset_of!(Block<T>, value)) };
        let block = block.cast::<Block<T>>();
        // SAFETY: the block is this owner's, and its value is dropped once.
        unsafe { self.value.drop_in_place() };
        // SAFETY: the address alone is computed, inside the block.
        let zone_at = unsafe { &raw const (*block.as_ptr()).zone };
        // SAFETY: the block is this owner's, and the pointer is read out once.
        let zone = unsafe { zone_at.read() };
        // SAFETY: `allocate` gave this owner of the zone up for the pointer.
        let zone = unsafe { Shared::<Core>::from_raw(zone) };
        // SAFETY: the block is of this zone, and nobody uses it any more.
        unsafe { RawBlock::from_parts(block.cast(), zone) }.free();
    }
}

// SAFETY: the pointer is the block's, which is its owner's alone.
unsafe impl<T: Send + Sync + 'static> Record for ZoneBox<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        self.into_non_null().as_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller gives what `into_raw` gave, which is not NULL.
        let value = unsafe { NonNull::new_unchecked(raw.cast()) };
        // SAFETY: passed on to the caller.
        unsafe { Self::from_non_null(value) }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller says that the owner is there as long as the reference.
        unsafe { &*raw.cast::<T>() }
    }
}
