//! References to a device object, and the work that is put off until the IRQL is `PASSIVE_LEVEL`.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    mem::ManuallyDrop,
    ptr::{NonNull, dangling_mut, null_mut},
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence},
};

use alloc::boxed::Box;

use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error, PassiveLevel,
    ex::pool,
    ke::{irql::Waitable, wait},
};

/// A counted reference to one of the driver's device objects (`ObReferenceObject`).
///
/// [`Device::add`](crate::Device::add) gets one, and whoever makes [`Shared`](crate::Shared) values later keeps a clone.
/// As long as there is one, the device object and with it the driver's code stay.
///
/// A `Drop` has no token: it may run at `DISPATCH_LEVEL` and while a spin lock is held. What must not be done there, such
/// as completing an IRP or waiting for a DPC, is put off: it goes on a list of the device object and is done by a work
/// item, at `PASSIVE_LEVEL` (`IoQueueWorkItem`). A device is not torn down before its list is empty.
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
#[doc(alias = "ObReferenceObject")]
#[doc(alias = "IoQueueWorkItem")]
pub struct DeviceObject {
    inner: NonNull<Inner>,
}

/// # Invariants
///
/// * `object` is referenced once, and `item` is a work item of its own, for as long as `references` is not 0.
/// * `list` is NULL if the work item is neither queued nor running; else a chain of [`Deferred`] that ends in NULL or in
///   [`ENDING`], or `ENDING` itself. Whoever replaces NULL has queued the work item, and [`run`] alone stores NULL.
#[pin_data]
struct Inner {
    references: AtomicUsize,
    object: *mut nt::DEVICE_OBJECT,
    item: *mut nt::IO_WORKITEM,
    list: AtomicPtr<Deferred>,
    /// Set each time that the list has become empty.
    #[pin]
    idle: UnsafeCell<nt::KEVENT>,
}

/// What is to be done at `PASSIVE_LEVEL`: a link, as large as a `LIST_ENTRY`, in the memory of what it is done to.
#[repr(C)]
pub(crate) struct Deferred {
    next: *mut Deferred,
    run: unsafe fn(NonNull<Deferred>, &mut PassiveLevel),
}

const _: () = assert!(size_of::<Deferred>() == size_of::<nt::LIST_ENTRY>());

impl Deferred {
    /// A link that is on no list.
    pub(crate) const fn new(run: unsafe fn(NonNull<Self>, &mut PassiveLevel)) -> Self {
        Self {
            next: null_mut(),
            run,
        }
    }
}

/// The end of a chain that the running work item looks at again.
const ENDING: *mut Deferred = dangling_mut();

fn is_end(link: *mut Deferred) -> bool {
    link.is_null() || link == ENDING
}

/// The initialiser of an event that is not set, and releases one waiting thread each time that it is.
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

// SAFETY: device objects and work items belong to no thread; the rest is atomic, or an event, which is the kernel's.
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
        // SAFETY: the caller gives a device object, at PASSIVE_LEVEL.
        let item = unsafe { nt::IoAllocateWorkItem(object) };
        if item.is_null() {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        let inner = pool::allocate(try_pin_init!(Inner {
            references: AtomicUsize::new(1),
            object,
            item,
            list: AtomicPtr::new(null_mut()),
            idle <- event(),
        }? Error));
        let inner = match inner {
            // SAFETY: what was allocated is not NULL.
            Ok(inner) => unsafe { NonNull::new_unchecked(inner) },
            Err(error) => {
                // SAFETY: the work item was allocated above, and never queued.
                unsafe { nt::IoFreeWorkItem(item) };
                return Err(error);
            }
        };
        // SAFETY: the caller gives a device object.
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

    /// Has something done soon at `PASSIVE_LEVEL`. May be called at `DISPATCH_LEVEL`, under any lock.
    ///
    /// # Safety
    /// `link` is initialised, on no list, and its memory stays until its routine is called with it, once.
    pub(crate) unsafe fn defer(&self, link: NonNull<Deferred>) {
        let list = &self.inner().list;
        let mut first = list.load(Ordering::Relaxed);
        loop {
            // SAFETY: the link is the caller's until it is on the list.
            unsafe { (*link.as_ptr()).next = first };
            // Release, so that whoever takes the link off sees what it belongs to.
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
            // The work item's reference, which `run` gives back.
            let context = ManuallyDrop::new(self.clone()).inner.as_ptr();
            // SAFETY: the list was NULL, so the work item is neither queued nor will `run` look at the list again
            // before it is called anew. The IRQL is at most DISPATCH_LEVEL.
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

    /// Waits until everything that was put off has been done.
    pub(crate) fn wait_until_idle<L: Waitable>(&self, irql: &mut L) {
        // Acquire pairs with the Release in `run`.
        while !self.inner().list.load(Ordering::Acquire).is_null() {
            // SAFETY: the event was initialised where it is, and stays there as long as this reference.
            unsafe { wait::for_object(self.inner().idle.get().cast(), irql) };
        }
    }
}

impl Clone for DeviceObject {
    /// Makes another reference.
    fn clone(&self) -> Self {
        // As for `Shared`: there are fewer references than a usize can count.
        self.inner().references.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl Drop for DeviceObject {
    fn drop(&mut self) {
        // Release, so that what this owner did is done before; Acquire, so that the last one sees it.
        if self.inner().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let Inner { object, item, .. } = *self.inner();
        // SAFETY: this was the last reference, and `pool::allocate` made the block.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        // SAFETY: the work item was the block's. It is not queued, since it would have a reference then; it may be running
        // this very drop, which IoFreeWorkItem allows. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::IoFreeWorkItem(item) };
        // SAFETY: the block's reference is given back, once. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::ObfDereferenceObject(object.cast()) };
    }
}

/// The work item's routine: does what is on the list until the list is empty.
///
/// # Safety
/// Called by a system worker thread, once for each time that [`DeviceObject::defer`] queued the work item, with the
/// reference that it gave up. The I/O manager keeps the device object, and so this code, until the routine returns.
unsafe extern "C" fn run(_object: *mut nt::DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: worker threads run at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    // SAFETY: `defer` gives a block's address, which is not NULL.
    let inner = unsafe { NonNull::new_unchecked(context.cast()) };
    // The reference that `defer` gave up.
    let device = DeviceObject { inner };
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
            // SAFETY: the link was taken off the list, so it is this thread's, and stays until its routine is called.
            let Deferred { next, run } = unsafe { first.read() };
            link = next;
            // SAFETY: `defer` was given the link with this routine, which is called once.
            unsafe { run(first, &mut irql) };
        }
    }
    // SAFETY: the event was initialised where it is, and stays there as long as `device`.
    unsafe { nt::KeSetEvent(device.inner().idle.get(), 0, 0) };
}
