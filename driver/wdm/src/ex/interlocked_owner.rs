//! An owner that threads exchange.

use core::{marker::PhantomData, ptr::null_mut, sync::atomic::AtomicPtr};

use nt::interlocked::{InterlockedCompareExchangePointer, InterlockedExchangePointer};

use crate::Record;

/// A slot for one owner, which threads exchange without a lock (`InterlockedExchangePointer`).
///
/// The owner is a [`Record`], such as a [`Shared`](crate::Shared) or a [`LookasideBox`](crate::LookasideBox). The thread that takes it is its only owner.
/// The slot can be a `static`.
///
/// WDK:
/// [InterlockedExchangePointer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedexchangepointer).
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedOwner, Shared};
///
/// /// The configuration that the next thread picks up.
/// static NEXT: InterlockedOwner<Shared<[u32; 8]>> = InterlockedOwner::new();
///
/// fn offer(configuration: Shared<[u32; 8]>) {
///     // If no thread has picked up the previous one, it is dropped.
///     drop(NEXT.exchange(Some(configuration)));
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver reads the pointer, uses the object, and then exchanges the pointer, although another thread may have freed the object. Here
/// the value can be used only by the thread that has taken it.
#[doc(alias = "InterlockedExchangePointer")]
#[doc(alias = "InterlockedCompareExchangePointer")]
pub struct InterlockedOwner<R: Record> {
    /// A pointer from `Record::into_raw`, or NULL.
    owner: AtomicPtr<()>,
    // Invariant, since owners are stored and removed through a shared reference. Every `Record` may be sent.
    _owner: PhantomData<fn(R) -> R>,
}

impl<R: Record> InterlockedOwner<R> {
    /// Makes an empty slot.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            owner: AtomicPtr::new(null_mut()),
            _owner: PhantomData,
        }
    }

    /// Stores an owner or `None`, and returns the previous owner (`InterlockedExchangePointer`).
    ///
    /// WDK:
    /// [InterlockedExchangePointer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedexchangepointer).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "InterlockedExchangePointer")]
    pub fn exchange(&self, owner: Option<R>) -> Option<R> {
        let owner = owner.map_or(null_mut(), R::into_raw);
        let old = InterlockedExchangePointer(&self.owner, owner);
        // SAFETY: the pointer came from `into_raw`, and the exchange removed it once.
        (!old.is_null()).then(|| unsafe { R::from_raw(old) })
    }

    /// Removes and returns the owner, if there is one (`InterlockedExchangePointer`).
    ///
    /// WDK: [InterlockedExchangePointer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedexchangepointer).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "InterlockedExchangePointer")]
    pub fn take(&self) -> Option<R> {
        self.exchange(None)
    }

    /// Stores an owner if there is none (`InterlockedCompareExchangePointer`).
    ///
    /// WDK:
    /// [InterlockedCompareExchangePointer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedcompareexchangepointer).
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Errors
    /// The owner that was passed, if there is one already.
    #[doc(alias = "InterlockedCompareExchangePointer")]
    pub fn set_if_empty(&self, owner: R) -> Result<(), R> {
        let owner = owner.into_raw();
        let old = InterlockedCompareExchangePointer(&self.owner, owner, null_mut());
        if old.is_null() {
            return Ok(());
        }
        // SAFETY: the pointer came from `into_raw`, and was not stored.
        Err(unsafe { R::from_raw(owner) })
    }
}

impl<R: Record> Default for InterlockedOwner<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Record> Drop for InterlockedOwner<R> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
