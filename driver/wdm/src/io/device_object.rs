//! References to a device object, and work that is deferred to `PASSIVE_LEVEL`.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    mem::{ManuallyDrop, MaybeUninit, offset_of},
    ptr::{NonNull, dangling_mut, null_mut},
    sync::atomic::{Ordering, fence},
};

use alloc::boxed::Box;

use nt::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error, PassiveLevel,
    ex::pool,
    io::power_policy::Power,
    ke::{dpc, irql::Waitable, unload, wait},
};

/// A counted reference to one of the driver's device objects (`ObReferenceObject`).
///
/// [`Device::add`](crate::Device::add) receives one; keep a clone to make [`Shared`](crate::Shared) values later. As
/// long as a reference exists, the device object is not freed and the driver is not unloaded.
///
/// A `Drop` has no token: it may run at `DISPATCH_LEVEL` and while a spin lock is held. Work that is not allowed
/// there, such as completing an IRP or waiting for a DPC, is deferred: it is added to a list of the device object,
/// and a work item does it at `PASSIVE_LEVEL` (`IoQueueWorkItem`). The removal of a device waits until the work item has
/// ended.
///
/// WDK: [System Worker Threads](https://learn.microsoft.com/windows-hardware/drivers/kernel/system-worker-threads).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, InterlockedLong, PassiveLevel, Shared};
///
/// fn counter(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Shared<InterlockedLong>, Error> {
///     Shared::new(InterlockedLong::new(0), device, irql)
/// }
/// ```
#[doc(alias = "DEVICE_OBJECT")]
#[doc(alias = "IO_WORKITEM")]
#[doc(alias = "ObReferenceObject")]
#[doc(alias = "IoAllocateWorkItem")]
#[doc(alias = "IoFreeWorkItem")]
#[doc(alias = "ObfReferenceObject")]
#[doc(alias = "ObDereferenceObject")]
#[doc(alias = "ObfDereferenceObject")]
#[doc(alias = "IoQueueWorkItem")]
pub struct DeviceObject {
    inner: NonNull<Inner>,
}

/// # Invariants
///
/// * While `references` is not 0, this holds one reference to `object`, and `item` is its own work item.
/// * `list` is NULL if the work item is neither queued nor running; else it is a chain of [`Deferred`] that ends in
///   NULL or in [`ENDING`], or `ENDING` itself. The thread that replaces NULL queues the work item; only [`run`]
///   stores NULL.
#[pin_data]
struct Inner {
    references: AtomicUsize,
    object: *mut nt::DEVICE_OBJECT,
    item: *mut nt::IO_WORKITEM,
    list: AtomicPtr<Deferred>,
    /// The number of [`Deferred`] that are deferred, or will be, and are not done.
    work: AtomicUsize,
    /// Whether the device is attached to a lower one, and its extension initialised.
    attached: AtomicBool,
    /// Whether the removal (`IRP_MN_REMOVE_DEVICE`) has begun to wait for deferred work, so that work items are no longer queued.
    ending: AtomicBool,
    power: Power,
    /// The link of the deferred part of the power policy.
    power_link: UnsafeCell<MaybeUninit<Deferred>>,
    /// A synchronization event that is set each time the work item ends, and when expected work ends that was not deferred.
    #[pin]
    idle: UnsafeCell<nt::KEVENT>,
}

/// Work to do at `PASSIVE_LEVEL`: a link with the size of a `LIST_ENTRY`, inside the object that the work is done
/// for.
#[repr(C)]
pub(crate) struct Deferred {
    next: *mut Deferred,
    routine: unsafe fn(NonNull<Deferred>, &mut PassiveLevel),
}

const _: () = assert!(size_of::<Deferred>() == size_of::<nt::LIST_ENTRY>());

impl Deferred {
    /// Makes a link that is on no list.
    pub(crate) const fn new(routine: unsafe fn(NonNull<Self>, &mut PassiveLevel)) -> Self {
        Self {
            next: null_mut(),
            routine,
        }
    }

    /// Does the work now.
    ///
    /// # Safety
    /// The link is initialised and on no list, and its routine may be called. The routine is called once.
    pub(crate) unsafe fn run(link: NonNull<Self>, irql: &mut PassiveLevel) {
        // SAFETY: the caller owns the link.
        let routine = unsafe { (*link.as_ptr()).routine };
        // SAFETY: guaranteed by the caller.
        unsafe { routine(link, irql) };
    }
}

/// The end of a chain while the work item runs: it will check the list again.
const ENDING: *mut Deferred = dangling_mut();

fn is_end(link: *mut Deferred) -> bool {
    link.is_null() || link == ENDING
}

/// Initialises an auto-reset event that is not set.
fn event() -> impl PinInit<UnsafeCell<nt::KEVENT>, Error> {
    let initialise = |slot: *mut UnsafeCell<nt::KEVENT>| {
        let event = UnsafeCell::raw_get(slot);
        // SAFETY: the slot is valid for writes, and the event stays there.
        unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::SynchronizationEvent, 0) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

// SAFETY: device objects and work items are not tied to a thread; the other fields are atomic, a link that one thread writes at a
// time, or an event, which only the kernel's routines access.
unsafe impl Send for DeviceObject {}
// SAFETY: as above.
unsafe impl Sync for DeviceObject {}

impl DeviceObject {
    /// References a device object (`ObReferenceObject`, `IoAllocateWorkItem`).
    ///
    /// # Safety
    /// `object` is one of the driver's device objects.
    pub(crate) unsafe fn new<L: Waitable>(
        object: *mut nt::DEVICE_OBJECT,
        _irql: &mut L,
    ) -> Result<Self, Error> {
        // SAFETY: the caller passes a device object, at PASSIVE_LEVEL.
        let item = unsafe { nt::IoAllocateWorkItem(object) };
        if item.is_null() {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        let inner = pool::allocate(try_pin_init!(Inner {
            references: AtomicUsize::new(1),
            object,
            item,
            list: AtomicPtr::new(null_mut()),
            work: AtomicUsize::new(0),
            attached: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            power: Power::new(),
            power_link: UnsafeCell::new(MaybeUninit::uninit()),
            idle <- event(),
        }? Error));
        let inner = match inner {
            // SAFETY: an allocation is not NULL.
            Ok(inner) => unsafe { NonNull::new_unchecked(inner) },
            Err(error) => {
                // SAFETY: the work item was allocated above and never queued.
                unsafe { nt::IoFreeWorkItem(item) };
                return Err(error);
            }
        };
        // SAFETY: the caller passes a device object.
        unsafe { nt::ObfReferenceObject(object.cast()) };
        Ok(Self { inner })
    }

    fn inner(&self) -> &Inner {
        // SAFETY: the block lives as long as this reference.
        unsafe { self.inner.as_ref() }
    }

    /// The device object.
    pub(crate) fn as_ptr(&self) -> *mut nt::DEVICE_OBJECT {
        self.inner().object
    }

    /// The power policy of the device.
    pub(crate) fn power(&self) -> &Power {
        &self.inner().power
    }

    /// Returns the link of the power policy, as a pointer that may access the whole block: [`DeviceObject::of_power_link`] finds the block by it.
    pub(crate) fn power_link(&self) -> NonNull<Deferred> {
        let link = self
            .as_raw()
            .wrapping_byte_add(offset_of!(Inner, power_link));
        // SAFETY: the address is inside a block, so it is not NULL.
        unsafe { NonNull::new_unchecked(link.cast()) }
    }

    /// Returns another reference to the device object that a link belongs to.
    ///
    /// # Safety
    /// [`DeviceObject::power_link`] returned the link, and a reference exists during the call.
    pub(crate) unsafe fn of_power_link(link: NonNull<Deferred>) -> Self {
        let inner = link
            .as_ptr()
            .wrapping_byte_sub(offset_of!(Inner, power_link));
        // SAFETY: the address is that of a block, and the reference that is made of it is not dropped.
        Self::clone(&ManuallyDrop::new(unsafe { Self::from_raw(inner.cast()) }))
    }

    /// Returns the reference as a pointer, from which [`DeviceObject::from_raw`] makes one.
    pub(crate) const fn as_raw(&self) -> *mut () {
        self.inner.as_ptr().cast()
    }

    /// Makes a reference again that was given up.
    ///
    /// # Safety
    /// `raw` came from [`DeviceObject::as_raw`] of a reference that was not dropped, and this is called once for it.
    pub(crate) unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the pointer is that of a block.
        let inner = unsafe { NonNull::new_unchecked(raw.cast()) };
        Self { inner }
    }

    /// Records that the device is attached to a lower one.
    pub(crate) fn set_attached(&self) {
        self.inner().attached.store(true, Ordering::Release);
    }

    /// Returns whether the device is, or was, attached to a lower one. Then its extension is initialised.
    pub(crate) fn is_attached(&self) -> bool {
        self.inner().attached.load(Ordering::Acquire)
    }

    /// Defers work to `PASSIVE_LEVEL`. Can be called at `DISPATCH_LEVEL` and below, under any lock.
    ///
    /// # Safety
    /// `link` is initialised and on no list, and stays valid until its routine is called with it. The routine is
    /// called once.
    pub(crate) unsafe fn defer(&self, link: NonNull<Deferred>) {
        self.expect_work();
        // SAFETY: guaranteed by the caller.
        unsafe { self.defer_expected(link) };
    }

    /// Like [`DeviceObject::defer`], for work that [`DeviceObject::expect_work`] has announced.
    ///
    /// # Safety
    /// As for [`DeviceObject::defer`].
    pub(crate) unsafe fn defer_expected(&self, link: NonNull<Deferred>) {
        let list = &self.inner().list;
        let mut first = list.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller owns the link until it is on the list.
            unsafe { (*link.as_ptr()).next = first };
            // Release, so that the thread that removes the link sees the object that contains it.
            match list.compare_exchange_weak(
                first,
                link.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null() {
            // The reference of the work item, which `run` releases.
            let context = ManuallyDrop::new(self.clone()).inner.as_ptr();
            // SAFETY: the list was NULL, so the work item is not queued, and a call of `run` that has not returned
            // does not read the list again. The IRQL is at most DISPATCH_LEVEL.
            unsafe {
                nt::IoQueueWorkItem(
                    self.inner().item,
                    Some(run),
                    nt::DelayedWorkQueue,
                    context.cast(),
                );
            }
        }
    }

    /// Announces work, so that the removal and the unload wait for it. Before the link is on the list, since the thread whose link was the
    /// first queues the work item for all, and may do that later.
    pub(crate) fn expect_work(&self) {
        unload::begin_work();
        // Relaxed: the removal begins its wait after the caller has given up what it owns, or the caller is itself work that is expected.
        self.inner().work.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends work that [`DeviceObject::expect_work`] has announced, and that is not deferred.
    pub(crate) fn end_expected(&self) {
        // Release, as in `run`.
        self.inner().work.fetch_sub(1, Ordering::Release);
        // SAFETY: the event was initialised in place, and stays there as long as this reference. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::KeSetEvent(self.inner().idle.get(), 0, 0) };
        unload::end_work();
    }

    /// Waits until all deferred work is done, and prevents work items of the device from being queued again. A DPC can defer work too, if
    /// its routine drops the last owner of an object, even that of its own DPC; so the wait includes the DPCs that were queued before. The
    /// unload waits for what these queue.
    ///
    /// It does not wait for the driver's own work items; the Unload routine does.
    pub(crate) fn end_work<L: Waitable>(&self, irql: &mut L) {
        let inner = self.inner();
        inner.ending.store(true, Ordering::Relaxed);
        loop {
            // Acquire pairs with the Release in `run`. Work that ended after the DPCs were waited for can have queued another one.
            let was_done = inner.work.load(Ordering::Acquire) == 0;
            dpc::flush(irql);
            if inner.work.load(Ordering::Acquire) == 0 {
                if was_done {
                    return;
                }
                continue;
            }
            // SAFETY: the event was initialised in place, and stays there as long as this reference.
            unsafe { wait::for_object(inner.idle.get().cast(), irql) };
        }
    }

    /// Returns whether [`DeviceObject::end_work`] was called.
    pub(crate) fn is_ending(&self) -> bool {
        self.inner().ending.load(Ordering::Relaxed)
    }
}

impl Clone for DeviceObject {
    /// Makes another reference.
    fn clone(&self) -> Self {
        // The count cannot overflow, as in `Shared`.
        self.inner().references.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl Drop for DeviceObject {
    fn drop(&mut self) {
        // Release, so that this owner's accesses come before; Acquire below, so that the last owner sees them.
        if self.inner().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let Inner { object, item, .. } = *self.inner();
        // SAFETY: this was the last reference, and `pool::allocate` made the block.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        // SAFETY: the block owned the work item. It is not queued, since a queued work item has a reference. Its
        // routine may be executing this drop, which IoFreeWorkItem allows. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::IoFreeWorkItem(item) };
        // SAFETY: the block's reference is released once. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::ObfDereferenceObject(object.cast()) };
    }
}

/// The work item's routine: does the work on the list until the list is empty.
///
/// # Safety
/// Called by a system worker thread, once each time [`DeviceObject::defer`] queued the work item, with the
/// reference that `defer` gave up. The I/O manager references the device object, and so keeps this code, until the
/// routine returns.
unsafe extern "C" fn run(_object: *mut nt::DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: worker threads run at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    // SAFETY: `defer` passes the address of a block, which is not NULL.
    let inner = unsafe { NonNull::new_unchecked(context.cast()) };
    // The reference that `defer` gave up.
    let device = DeviceObject { inner };
    // The routine itself is work too, after the last piece of work.
    unload::begin_work();
    let list = &device.inner().list;
    loop {
        // Acquire pairs with the Release in `defer`.
        let mut link = list.swap(ENDING, Ordering::Acquire);
        if is_end(link) {
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            if list
                .compare_exchange(ENDING, null_mut(), release, relaxed)
                .is_ok()
            {
                break;
            }
            continue;
        }
        while let Some(first) = NonNull::new(link).filter(|link| !is_end(link.as_ptr())) {
            // SAFETY: the link was removed from the list, so this thread owns it, and it stays valid until its
            // routine is called.
            link = unsafe { (*first.as_ptr()).next };
            // SAFETY: the link was passed to `defer` with its routine, which is called once.
            unsafe { Deferred::run(first, &mut irql) };
            // Release, so that the thread that waits observes the effects of the work.
            device.inner().work.fetch_sub(1, Ordering::Release);
            unload::end_work();
        }
    }
    // For a synchronization event the routine acquires a lock, so that the thread that waits finds the count that was decremented before.
    // SAFETY: the event was initialised in place, and stays there as long as `device`.
    unsafe { nt::KeSetEvent(device.inner().idle.get(), 0, 0) };
    drop(device);
    unload::end_work();
}
