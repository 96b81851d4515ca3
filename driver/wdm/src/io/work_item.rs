//! Work items: routines that a system worker thread calls at `PASSIVE_LEVEL`.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref,
    ptr::{NonNull, null_mut},
    sync::atomic::Ordering,
};

use nt::atomic::{AtomicBool, AtomicPtr};
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    DeviceObject, Error, PassiveLevel, Record, Shared,
    io::device_object::Deferred,
    ke::irql::{AtMostDispatch, Waitable},
};

/// The routine of a [`WorkItem`], implemented by the value that it works on (`IO_WORKITEM_ROUTINE`).
#[doc(alias = "IO_WORKITEM_ROUTINE")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no work item routine",
    note = "implement `wdm::WorkItemRoutine` for the type that the work item works on"
)]
pub trait WorkItemRoutine: Send + Sync + Sized + 'static {
    /// Runs the routine, which may queue its work item again.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel);
}

/// A work item and the value that its routine works on (`IO_WORKITEM`).
///
/// Use it for work that a DPC or a Cancel routine finds and that requires `PASSIVE_LEVEL`. The number of system worker
/// threads is small, so a routine should not wait for long; use a [`Thread`](crate::Thread) for that.
///
/// While it is queued or running, the work item owns itself, and it references the device object. So it can be dropped at any time,
/// and the driver is not unloaded before its routine has returned.
///
/// WDK: [System Worker Threads](https://learn.microsoft.com/windows-hardware/drivers/kernel/system-worker-threads).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, InterlockedLong, PassiveLevel, Shared, WorkItem, WorkItemRoutine};
///
/// /// Counts how often it has run.
/// struct Runs(InterlockedLong);
///
/// impl WorkItemRoutine for Runs {
///     fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
///         item.0.increment();
///     }
/// }
///
/// fn queued(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Shared<WorkItem<Runs>>, Error> {
///     let context = Ok::<_, Error>(Runs(InterlockedLong::new(0)));
///     let item = WorkItem::new(context, device, irql)?;
///     WorkItem::queue(&item, irql);
///     Ok(item)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver queues a work item that is queued already, or frees it before its routine was called, which corrupts the list of
/// work items; or the device is deleted and the driver unloaded before its routine returns, since `ExQueueWorkItem` references neither.
#[doc(alias = "IO_WORKITEM")]
#[doc(alias = "IoAllocateWorkItem")]
#[doc(alias = "IoFreeWorkItem")]
#[doc(alias = "IoQueueWorkItem")]
#[pin_data]
#[repr(C)]
pub struct WorkItem<C: WorkItemRoutine> {
    // The first field, so that a pointer to it is a pointer to the work item. The thread that sets `is_queued` owns it and `owner`, until the
    // routine of the link clears `is_queued`.
    link: UnsafeCell<Deferred>,
    owner: AtomicPtr<()>,
    is_queued: AtomicBool,
    /// The device object with a separate work item, so that the routine delays no other work.
    device: DeviceObject,
    // Invariant: the routine is the one of exactly this type.
    _routine: PhantomData<fn(C) -> C>,
    #[pin]
    context: C,
}

// As for a `Dpc`, the bound is the routine's, not one on the context's fields.
// SAFETY: the link is used by one thread at a time, and the context is `Send`.
unsafe impl<C: WorkItemRoutine> Send for WorkItem<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: WorkItemRoutine> Sync for WorkItem<C> {}

impl<C: WorkItemRoutine> WorkItem<C> {
    /// Makes a work item that is not queued, and the value that its routine works on (`IoAllocateWorkItem`).
    ///
    /// WDK: [IoAllocateWorkItem](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateworkitem).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    #[doc(alias = "IoAllocateWorkItem")]
    pub fn new<L: Waitable>(
        context: impl PinInit<C, Error>,
        device: &DeviceObject,
        irql: &mut L,
    ) -> Result<Shared<Self>, Error> {
        // SAFETY: a reference's device object is one of the driver's.
        let own = unsafe { DeviceObject::new(device.as_ptr(), irql) }?;
        let item = try_pin_init!(Self {
            link: UnsafeCell::new(Deferred::new(run::<C>)),
            owner: AtomicPtr::new(null_mut()),
            is_queued: AtomicBool::new(false),
            device: own,
            _routine: PhantomData,
            context <- context,
        }? Error);
        Shared::new(item, device, irql)
    }

    /// Queues the work item unless it is queued, and returns whether it did (`IoQueueWorkItem`).
    ///
    /// It may be queued again as soon as its routine has been called. Two calls of the routine do not overlap. A work item that is queued
    /// already has not called its routine, which finds what the caller has written before. After its device was removed, it
    /// is no longer queued: a routine that queues its own work item again ends then.
    ///
    /// WDK: [IoQueueWorkItem](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioqueueworkitem).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoQueueWorkItem")]
    pub fn queue<L: AtMostDispatch>(item: &Shared<Self>, _irql: &mut L) -> bool {
        if Shared::device(item).is_some_and(DeviceObject::is_ending) {
            return false;
        }
        // Both exchanges of the flag acquire and release, and they are in one order. If this one is the first, the routine finds what this
        // thread has written, also if it only reads a list without a lock. If the other is the first, it has used the link and the owner.
        if item.is_queued.swap(true, Ordering::AcqRel) {
            return false;
        }
        item.owner.store(item.clone().into_raw(), Ordering::Relaxed);
        // The pointer is that of the whole work item, which starts with the link.
        let link = NonNull::<Self>::from_ref(item).cast::<Deferred>();
        // SAFETY: the link is on no list, since `is_queued` was not set. It stays valid until its routine drops the owner.
        unsafe { item.device.defer(link) };
        true
    }
}

impl<C: WorkItemRoutine> Deref for WorkItem<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.context
    }
}

/// The routine of every link.
///
/// # Safety
/// Called once each time [`WorkItem::queue`] deferred the link, which is the first field of a `WorkItem<C>`.
unsafe fn run<C: WorkItemRoutine>(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    // SAFETY: the link is the first field of a work item, which owns itself.
    let item = unsafe { link.cast::<WorkItem<C>>().as_ref() };
    let owner = item.owner.load(Ordering::Relaxed);
    // SAFETY: `queue` gave up the owner, and it is made again once.
    let owner = unsafe { Shared::<WorkItem<C>>::from_raw(owner) };
    item.is_queued.swap(false, Ordering::AcqRel);
    C::run(&owner, irql);
}
