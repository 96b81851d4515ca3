//! Lookaside lists.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::{ManuallyDrop, offset_of},
    ops::{Deref, DerefMut},
    pin::Pin,
    ptr::NonNull,
};

use pinned_init::{Init, PinInit, pin_data, pin_init_from_closure, pinned_drop, try_pin_init};

use crate::{Error, Record, Shared, ke::irql::NoSpinLockHeld};

/// A list that keeps freed blocks for the next allocations of values of one type (`LOOKASIDE_LIST_EX`).
///
/// Use it for values that are allocated and freed often. Unlike a [`Zone`](crate::Zone), it grows and shrinks: an allocation
/// that finds the list empty calls the pool, and the system decides how many blocks are kept. The memory is nonpaged.
///
/// The list is deleted after it and all of its blocks were dropped. This must be done before the driver is unloaded, so drop a block in a
/// `static`, for example on an [`SList`](crate::SList), before that.
///
/// WDK: [Using Lookaside Lists](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-lookaside-lists).
///
/// # Examples
///
/// ```
/// use wdm::{Error, Lookaside, LookasideBox, PassiveLevel};
///
/// struct Request {
///     tag: u64,
/// }
///
/// fn first(irql: &mut PassiveLevel) -> Result<LookasideBox<Request>, Error> {
///     let list = Lookaside::new(irql)?;
///     list.allocate(Request { tag: 1 }).ok_or(Error::INSUFFICIENT_RESOURCES)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver frees a block to the pool or to another list, uses a block after it was freed, or deletes the list while blocks are in
/// use; or it is unloaded with a list that was not deleted, which the system still adjusts.
#[doc(alias = "LOOKASIDE_LIST_EX")]
#[doc(alias = "NPAGED_LOOKASIDE_LIST")]
pub struct Lookaside<T> {
    list: Shared<List>,
    _values: PhantomData<fn(T) -> T>,
}

/// The list itself, which its blocks own too.
#[pin_data(PinnedDrop)]
struct List {
    #[pin]
    object: UnsafeCell<nt::LOOKASIDE_LIST_EX>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access the list, and any thread may call them.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

/// The pool tag of the blocks.
const TAG: u32 = u32::from_le_bytes(*b"wdmL");

impl List {
    /// Initialises a list of blocks of a size (`ExInitializeLookasideListEx`).
    fn new(size: usize) -> impl PinInit<Self, Error> {
        let initialise = move |slot: *mut UnsafeCell<nt::LOOKASIDE_LIST_EX>| {
            let list = UnsafeCell::raw_get(slot);
            // SAFETY: the slot is valid for writes, and the list stays there. The system's routines allocate the blocks.
            Error::check(unsafe {
                nt::ExInitializeLookasideListEx(
                    list,
                    None,
                    None,
                    nt::NonPagedPoolNx,
                    0,
                    size,
                    TAG,
                    0,
                )
            })
        };
        // SAFETY: the closure initialises the slot if it succeeds.
        let object = unsafe { pin_init_from_closure(initialise) };
        try_pin_init!(Self { object <- object, _pinned: PhantomPinned }? Error)
    }
}

#[pinned_drop]
impl PinnedDrop for List {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: the list was initialised in place, and has no block in use, since each owns it. The IRQL is at most
        // DISPATCH_LEVEL.
        unsafe { nt::ExDeleteLookasideListEx(self.object.get()) };
    }
}

/// The contents of a block that is in use.
#[repr(C)]
struct Block<T> {
    /// Used while the block is on a list: a lookaside list, or an [`SList`](crate::SList).
    entry: UnsafeCell<nt::SLIST_ENTRY>,
    /// The list that the block is freed to: an owner that was given up.
    list: *mut (),
    value: T,
}

impl<T> Lookaside<T> {
    const BLOCK_SIZE: usize = {
        assert!(
            align_of::<Block<T>>() == nt::MEMORY_ALLOCATION_ALIGNMENT,
            "a lookaside list aligns its blocks to 16 bytes"
        );
        let size = size_of::<Block<T>>();
        assert!(
            size < 1 << 20,
            "a block of a lookaside list must be smaller than 1 MB"
        );
        size
    };

    /// Makes a list without blocks (`ExInitializeLookasideListEx`).
    ///
    /// WDK:
    /// [ExInitializeLookasideListEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializelookasidelistex).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `ExInitializeLookasideListEx`.
    #[doc(alias = "ExInitializeLookasideListEx")]
    #[doc(alias = "ExDeleteLookasideListEx")]
    pub fn new<L: NoSpinLockHeld>(_irql: &mut L) -> Result<Self, Error> {
        Ok(Self {
            list: Shared::droppable_anywhere(List::new(Self::BLOCK_SIZE))?,
            _values: PhantomData,
        })
    }

    /// Allocates a block and initialises it with a value or an in-place initialiser of one
    /// (`ExAllocateFromLookasideListEx`). Returns `None` if there is no memory.
    ///
    /// WDK:
    /// [ExAllocateFromLookasideListEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatefromlookasidelistex).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExAllocateFromLookasideListEx")]
    pub fn allocate(&self, value: impl Init<T>) -> Option<LookasideBox<T>> {
        // SAFETY: the list was initialised in place. The IRQL is at most DISPATCH_LEVEL, as a driver on this crate runs no code
        // above it.
        let block = unsafe { nt::ExAllocateFromLookasideListEx(self.list.object.get()) };
        let block = NonNull::new(block.cast::<Block<T>>())?.as_ptr();
        // SAFETY: only the address is computed; the blocks have the size and the alignment of a `Block`.
        let list_at = unsafe { &raw mut (*block).list };
        // SAFETY: this thread owns the block.
        unsafe { list_at.write(self.list.clone().into_raw()) };
        // SAFETY: only the address is computed, inside the block.
        let value_at = unsafe { &raw mut (*block).value };
        // SAFETY: the memory is valid for writes, and the value stays there until it is dropped. The initialiser cannot
        // fail.
        let Ok(()) = unsafe { value.__init(value_at) };
        // SAFETY: an address inside a block is not NULL.
        let value = unsafe { NonNull::new_unchecked(value_at) };
        Some(LookasideBox { value })
    }
}

/// A value in a block of a [`Lookaside`] list; dropping it frees the block (`ExFreeToLookasideListEx`).
///
/// The value is dropped in place. A `LookasideBox` can be dropped at any IRQL up to `DISPATCH_LEVEL` that its value allows, even if
/// it is the last that owns the list. It can be pushed onto an [`SList`](crate::SList).
///
/// WDK:
/// [ExFreeToLookasideListEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exfreetolookasidelistex).
///
/// # Examples
///
/// ```
/// use wdm::{Irp, LookasideBox};
///
/// struct Progress {
///     written: u32,
/// }
///
/// /// Keeps the progress with the request; its block is freed when the request is completed.
/// fn track<'irp>(irp: Irp<'irp>, mut progress: LookasideBox<Progress>) -> Irp<'irp, LookasideBox<Progress>> {
///     progress.written = 0;
///     irp.with_record(progress)
/// }
/// ```
// # Invariants
//
// `value` points to the value of a `Block` that only this owner has, and may access the whole block.
#[doc(alias = "ExFreeToLookasideListEx")]
pub struct LookasideBox<T> {
    value: NonNull<T>,
}

// SAFETY: only the owner accesses the block, which any thread may free.
unsafe impl<T: Send> Send for LookasideBox<T> {}
// SAFETY: a shared reference gives access to the value only.
unsafe impl<T: Sync> Sync for LookasideBox<T> {}

impl<T> LookasideBox<T> {
    /// Gives up the owner for the block's entry, which starts the block and may access all of it.
    pub(crate) fn into_entry(self) -> NonNull<nt::SLIST_ENTRY> {
        let value = ManuallyDrop::new(self).value;
        // SAFETY: the value is at that offset in its block.
        unsafe { value.byte_sub(offset_of!(Block<T>, value)) }.cast()
    }

    /// Makes the owner again from the block's entry.
    ///
    /// # Safety
    /// `entry` came from [`LookasideBox::into_entry`] and is on no list, and this is called once for it.
    pub(crate) unsafe fn from_entry(entry: NonNull<nt::SLIST_ENTRY>) -> Self {
        // SAFETY: the value is at that offset in the block, which starts with the entry.
        let value = unsafe { entry.byte_add(offset_of!(Block<T>, value)) }.cast();
        Self { value }
    }
}

impl<T> Deref for LookasideBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this owner has the block, which contains a value.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for LookasideBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this owner has the block, which contains a value.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for LookasideBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is at that offset in its block.
        let block = unsafe { self.value.byte_sub(offset_of!(Block<T>, value)) };
        let block = block.cast::<Block<T>>().as_ptr();
        // SAFETY: this owner has the block, and its value is dropped once.
        unsafe { self.value.drop_in_place() };
        // SAFETY: only the address is computed, inside the block.
        let list_at = unsafe { &raw const (*block).list };
        // SAFETY: this owner has the block, and the pointer is read once.
        let list = unsafe { list_at.read() };
        // SAFETY: `allocate` gave up this owner of the list for the pointer.
        let list = unsafe { Shared::<List>::from_raw(list) };
        // SAFETY: the list was initialised, and the block was allocated from it and is no longer used. The IRQL is at most
        // DISPATCH_LEVEL.
        unsafe { nt::ExFreeToLookasideListEx(list.object.get(), block.cast()) };
    }
}

// SAFETY: the pointer is to the value of the block, which only its owner has.
unsafe impl<T: Send + Sync + 'static> Record for LookasideBox<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        ManuallyDrop::new(self).value.as_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller passes a pointer from `into_raw`, which is not NULL.
        let value = unsafe { NonNull::new_unchecked(raw.cast()) };
        Self { value }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller guarantees that the owner outlives the reference.
        unsafe { &*raw.cast::<T>() }
    }
}
