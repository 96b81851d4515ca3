//! Sequenced singly linked lists.

use core::{cell::UnsafeCell, marker::PhantomData, ptr::NonNull};

use crate::LookasideBox;

/// A last-in, first-out list that owns its items and needs no lock (`SLIST_HEADER`).
///
/// It has the operations of an [`InterlockedStack`](crate::InterlockedStack), but no spin lock, and can be a `static`. Its items are
/// blocks of a [`Lookaside`](crate::Lookaside) list, since an entry must be aligned to 16 bytes. Dropping the list drops the items that
/// are on it.
///
/// WDK: [Singly and Doubly Linked Lists](https://learn.microsoft.com/windows-hardware/drivers/kernel/singly-and-doubly-linked-lists).
///
/// # Examples
///
/// ```
/// use wdm::{Lookaside, SList};
///
/// static EVENTS: SList<u32> = SList::new();
///
/// fn report(memory: &Lookaside<u32>, code: u32) -> bool {
///     match memory.allocate(code) {
///         Some(event) => EVENTS.push(event),
///         None => false,
///     }
/// }
///
/// fn latest() -> Option<u32> {
///     EVENTS.pop().map(|event| *event)
/// }
///
/// /// A `static` is not dropped, so the driver calls this before it is unloaded, for example in `Device::remove`.
/// fn forget() {
///     while latest().is_some() {}
/// }
/// ```
///
/// # What goes wrong in C
///
/// An entry or the head is not aligned to 16 bytes; an entry is pushed twice, or freed while it is on the list; or the list is walked,
/// while others pop its entries.
#[doc(alias = "SLIST_HEADER")]
#[doc(alias = "SLIST_ENTRY")]
#[doc(alias = "ExInterlockedPushEntrySList")]
#[doc(alias = "ExInterlockedPopEntrySList")]
#[doc(alias = "InterlockedPopEntrySList")]
#[doc(alias = "InterlockedPushEntrySList")]
pub struct SList<T> {
    head: UnsafeCell<nt::SLIST_HEADER>,
    // Owns items; invariant, since items are pushed and popped through a shared reference.
    _items: PhantomData<UnsafeCell<LookasideBox<T>>>,
}

// SAFETY: only the kernel's routines access the head and the entries. Items move from thread to thread.
unsafe impl<T: Send> Sync for SList<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SList<T> {}

impl<T> SList<T> {
    /// Makes an empty list, whose head is zero (`InitializeSListHead`).
    ///
    /// WDK: [InitializeSListHead](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-initializeslisthead).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "InitializeSListHead")]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            head: UnsafeCell::new(nt::SLIST_HEADER { Reserved: [0; 2] }),
            _items: PhantomData,
        }
    }

    /// Pushes an item (`InterlockedPushEntrySList`), and returns whether the list was empty.
    ///
    /// WDK:
    /// [ExInterlockedPushEntrySList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpushentryslist).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExInterlockedPushEntrySList")]
    pub fn push(&self, item: LookasideBox<T>) -> bool {
        let entry = item.into_entry().as_ptr();
        // SAFETY: the head is aligned and was initialised, and is used by these routines only. The item is given up, so its
        // entry is on no list and stays until it is popped.
        unsafe { nt::ExpInterlockedPushEntrySList(self.head.get(), entry) }.is_null()
    }

    /// Pops the item that was pushed last (`InterlockedPopEntrySList`). Returns `None` if the list is empty.
    ///
    /// WDK:
    /// [ExInterlockedPopEntrySList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpopentryslist).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExInterlockedPopEntrySList")]
    pub fn pop(&self) -> Option<LookasideBox<T>> {
        // SAFETY: as in `push`. The routine may read an entry that another thread has popped and freed, which the kernel allows
        // for nonpaged pool.
        let entry = unsafe { nt::ExpInterlockedPopEntrySList(self.head.get()) };
        // SAFETY: every entry on the list came from `into_entry`, and only this caller popped this one.
        NonNull::new(entry).map(|entry| unsafe { LookasideBox::from_entry(entry) })
    }

    /// Removes all items in one operation, and passes them to a closure, the last first (`InterlockedFlushSList`).
    ///
    /// WDK: [ExInterlockedFlushSList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedflushslist).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::SList;
    ///
    /// /// Handles the events in the order in which they were pushed.
    /// fn handle_all(events: &SList<u32>, mut handle: impl FnMut(u32)) {
    ///     let in_order = SList::new();
    ///     events.flush(|event| {
    ///         in_order.push(event);
    ///     });
    ///     while let Some(event) = in_order.pop() {
    ///         handle(*event);
    ///     }
    /// }
    /// ```
    #[doc(alias = "InterlockedFlushSList")]
    #[doc(alias = "ExInterlockedFlushSList")]
    pub fn flush(&self, mut f: impl FnMut(LookasideBox<T>)) {
        // SAFETY: as in `push`.
        let mut entry = unsafe { nt::ExpInterlockedFlushSList(self.head.get()) };
        while let Some(first) = NonNull::new(entry) {
            // SAFETY: the entries were removed together, so this thread owns them.
            entry = unsafe { (*first.as_ptr()).Next };
            // SAFETY: as above; each came from `into_entry`, and is on no list now.
            f(unsafe { LookasideBox::from_entry(first) });
        }
    }

    /// Returns the number of items, modulo 65,536 (`ExQueryDepthSList`).
    ///
    /// WDK: [ExQueryDepthSList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exquerydepthslist).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExQueryDepthSList")]
    #[must_use]
    pub fn depth(&self) -> u16 {
        // SAFETY: as in `push`.
        unsafe { nt::ExQueryDepthSList(self.head.get()) }
    }
}

impl<T> Default for SList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for SList<T> {
    fn drop(&mut self) {
        self.flush(drop);
    }
}
