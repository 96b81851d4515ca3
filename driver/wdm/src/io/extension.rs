//! The device extension: the state of this crate for each device object.

use alloc::boxed::Box;
use core::{
    cell::UnsafeCell,
    mem::{ManuallyDrop, offset_of},
    ptr::{NonNull, null_mut},
    sync::atomic::{Ordering, fence},
};

use nt::atomic::{AtomicBool, AtomicPtr};

use crate::{
    DeviceObject, Error, NewDevice, PassiveLevel,
    ex::rundown::RundownRef,
    io::{
        device_object::Deferred, file::OpenFiles, holds::Holds, interface::DeviceInterface,
        owned_queue::OwnedQueues,
    },
};

/// The device extension.
///
/// # Invariants
///
/// All fields except `holds`, `lower`, `files` and the flags are written once, before the device object is
/// attached or can be opened. `lower` is written once, directly after. `device` and `interface` are valid while the device
/// is held; the removal or the unload drops them when there are no holds and new ones are rejected.
pub(crate) struct Extension {
    pub(crate) holds: Holds,
    pub(crate) object: ManuallyDrop<DeviceObject>,
    /// The next lower device object in the stack.
    lower: AtomicPtr<nt::DEVICE_OBJECT>,
    /// The interface of a function driver's device.
    interface: ManuallyDrop<Option<DeviceInterface>>,
    queues: ManuallyDrop<OwnedQueues>,
    pub(crate) files: OpenFiles,
    /// The [`Device`](crate::Device), in the pool: the removal frees it, while the device object can live on until the last handle
    /// is closed.
    device: *mut (),
    /// Whether the device is a [`Filter`](crate::Filter)'s, whose files are opened by the lower driver.
    is_filter: bool,
    /// Whether a removal is pending, so that opens fail.
    remove_pending: AtomicBool,
    removed: AtomicBool,
    /// Whether `IRP_MN_REMOVE_DEVICE` was passed to the lower drivers, or is about to be.
    removed_below: AtomicBool,
    /// Whether the lower drivers have removed the device.
    lower_is_removed: AtomicBool,
    methods: Methods,
    /// Accessed from [`Extension::enter`] to [`Extension::leave`], and until the work that the latter defers is done.
    late: RundownRef,
    /// The work that calls `remove`, and whether it is deferred. The thread that sets the flag owns the link, until the work clears
    /// it.
    link: UnsafeCell<Deferred>,
    is_deferred: AtomicBool,
}

/// The methods of a device that are called by code that does not know the type of its state.
///
/// # Safety
/// The pointer is to the state of a device of the type that the functions were made for, which lives during the call.
#[derive(Clone, Copy)]
pub(crate) struct Methods {
    pub(crate) remove: unsafe fn(*mut (), &mut PassiveLevel),
    pub(crate) power_up_failed: unsafe fn(*mut (), Error, &mut PassiveLevel),
}

impl Extension {
    /// Initialises the extension of a new device object.
    ///
    /// # Safety
    /// The device object is the one of `new`, has room for an [`Extension`], and is not attached to a stack yet.
    /// `device` was allocated by [`pool::allocate`](crate::ex::pool::allocate), and `methods` are those of a `D`. The IRQL is
    /// `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise<'a, D>(
        new: NewDevice,
        holds: Holds,
        interface: Option<DeviceInterface>,
        is_filter: bool,
        device: *mut D,
        methods: Methods,
    ) -> &'a Self {
        let NewDevice { object, queues, .. } = new;
        // SAFETY: a reference's device object is valid.
        let this = unsafe { (*object.as_ptr()).DeviceExtension }.cast::<Self>();
        let new = Self {
            holds,
            object: ManuallyDrop::new(object),
            lower: AtomicPtr::new(null_mut()),
            interface: ManuallyDrop::new(interface),
            queues: ManuallyDrop::new(queues),
            files: OpenFiles::uninitialised(),
            device: device.cast(),
            is_filter,
            remove_pending: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            removed_below: AtomicBool::new(false),
            lower_is_removed: AtomicBool::new(false),
            methods,
            late: RundownRef::uninitialised(),
            link: UnsafeCell::new(Deferred::new(end_late)),
            is_deferred: AtomicBool::new(false),
        };
        // SAFETY: the memory has the size of an `Extension` and the pool's alignment, and no other code uses it
        // yet.
        unsafe { this.write(new) };
        // SAFETY: as above.
        let extension = unsafe { &*this };
        // SAFETY: the list does not move, and no other code uses it yet.
        unsafe { extension.files.initialise() };
        // SAFETY: the lock does not move, no other code uses it yet, and AddDevice runs at PASSIVE_LEVEL.
        unsafe { extension.holds.initialise() };
        // SAFETY: as above.
        unsafe { extension.late.initialise() };
        extension
    }

    /// Returns the extension of one of the driver's device objects.
    ///
    /// # Safety
    /// The device object is one that [`Extension::initialise`] was called for, and exists as long as the
    /// reference is used.
    pub(crate) unsafe fn of<'a>(object: *mut nt::DEVICE_OBJECT) -> &'a Self {
        // SAFETY: the caller passes a valid device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: the extension was initialised, and lives until the device object is freed.
        unsafe { &*this }
    }

    /// Releases an IRP's hold of the remove lock.
    ///
    /// # Safety
    /// The device object is one of this crate's, and the IRP has a hold.
    pub(crate) unsafe fn release(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) {
        // SAFETY: the hold keeps the device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: as above; only the address is computed, since the release may free the extension.
        let holds = unsafe { &raw const (*this).holds };
        // SAFETY: the caller guarantees that the IRP has a hold.
        unsafe { Holds::release(holds, irp) };
    }

    /// The next lower device object in the stack.
    pub(crate) fn lower(&self) -> *mut nt::DEVICE_OBJECT {
        self.lower.load(Ordering::Acquire)
    }

    /// Records that `IRP_MN_REMOVE_DEVICE` is about to be passed down, after which the driver sends nothing more to the lower drivers.
    ///
    /// A thread that has called [`Extension::lower_for_request`] before can still send its request, as in every driver that waits for its
    /// remove lock after it has passed the removal down.
    pub(crate) fn set_removed_below(&self) {
        self.removed_below.store(true, Ordering::SeqCst);
    }

    /// Records that the lower drivers have removed the device, and may have deleted their device objects.
    pub(crate) fn set_lower_gone(&self) {
        self.lower_is_removed.store(true, Ordering::SeqCst);
    }

    /// Returns the next lower device object, to which a filter passes a power request while the lower drivers remove the device. The caller
    /// holds the remove lock.
    ///
    /// # Errors
    /// `STATUS_DELETE_PENDING` if they have removed it.
    pub(crate) fn lower_for_power(&self) -> Result<*mut nt::DEVICE_OBJECT, Error> {
        if self.lower_is_removed.load(Ordering::SeqCst) {
            return Err(Error::DELETE_PENDING);
        }
        Ok(self.lower())
    }

    /// Returns the next lower device object, to which the caller sends a request. The caller holds the remove lock.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` if there is none. `STATUS_DELETE_PENDING` if the lower drivers were requested to remove the device:
    /// they may have freed the memory that they would use for the request.
    pub(crate) fn lower_for_request(&self) -> Result<*mut nt::DEVICE_OBJECT, Error> {
        let lower = self.lower();
        if lower.is_null() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        if self.removed_below.load(Ordering::SeqCst) {
            return Err(Error::DELETE_PENDING);
        }
        Ok(lower)
    }

    /// Returns whether the device can serve requests: a PnP device that is attached, or a control device. AddDevice can then
    /// no longer fail.
    pub(crate) fn is_attached(&self) -> bool {
        !self.lower().is_null() || matches!(self.holds, Holds::Rundown(_))
    }

    /// Where the next lower device object is stored, which is NULL before it is known.
    pub(crate) const fn lower_place(&self) -> *mut *mut nt::DEVICE_OBJECT {
        self.lower.as_ptr()
    }

    /// Stores the next lower device object, to which this one has just been attached.
    pub(crate) fn set_lower(&self, lower: *mut nt::DEVICE_OBJECT) {
        self.lower.store(lower, Ordering::Release);
    }

    /// The device's state.
    ///
    /// # Safety
    /// The extension was initialised with a `D`, and the caller holds the remove lock as long as the reference is
    /// used.
    pub(crate) unsafe fn device<D>(&self) -> &D {
        // SAFETY: the removal frees the state only when the remove lock has no holds.
        unsafe { &*self.device.cast::<D>() }
    }

    /// Returns whether the device is a filter's. If it is not, only this driver uses the file objects of the device.
    pub(crate) const fn is_filter(&self) -> bool {
        self.is_filter
    }

    /// Enables or disables the device's interface, if it has one.
    ///
    /// The caller holds the remove lock, as every PnP request does.
    pub(crate) fn set_interface_enabled(
        &self,
        enabled: bool,
        irql: &mut PassiveLevel,
    ) -> Result<(), Error> {
        let interface = self.interface.as_ref();
        interface.map_or(Ok(()), |interface| interface.set_enabled(enabled, irql))
    }

    /// Returns the number of the device's queues.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn queues(&self) -> usize {
        self.queues.count()
    }

    /// Cancels the requests on the device's queues that belong to the file of an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, and holds the remove lock.
    pub(crate) unsafe fn cleanup(&self, irp: *mut nt::IRP, irql: &mut PassiveLevel) {
        for (index, queue) in self.queues.iter().enumerate() {
            // SAFETY: the IRP keeps its file, and `index` is the index of a queue of its device.
            if let Some(file) = unsafe { crate::io::file::queued(irp, index) } {
                queue.cleanup(file, irql);
            }
        }
    }

    /// Cancels the requests on a filter's queues that belong to a file, before the file is cleaned up below.
    ///
    /// The caller holds the remove lock, and an IRP of the file.
    pub(crate) fn cleanup_object(&self, file: *mut nt::FILE_OBJECT, irql: &mut PassiveLevel) {
        for queue in self.queues.iter() {
            queue.cleanup_object(file, irql);
        }
    }

    /// Makes a filter's queues forget a file that is being closed.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn close_object(&self, file: *mut nt::FILE_OBJECT, irql: &mut PassiveLevel) {
        for queue in self.queues.iter() {
            queue.close_object(file, irql);
        }
    }

    /// Makes the device reject further requests, and completes the requests on its queues.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn end_requests(&self, irql: &mut PassiveLevel) {
        for queue in self.queues.iter() {
            queue.end_all(irql);
        }
        // Last, since a thread that reads it calls `remove`, which comes after the requests on the queues were completed.
        self.removed.store(true, Ordering::Relaxed);
        // Pairs with the load in `is_removed`.
        fence(Ordering::SeqCst);
    }

    /// Makes the device complete the requests that it keeps.
    ///
    /// # Safety
    /// The caller has a hold, or has entered a call with [`Extension::enter`].
    pub(crate) unsafe fn end_kept(&self, irql: &mut PassiveLevel) {
        // SAFETY: `initialise` was called with a function for this state, which the caller keeps.
        unsafe { (self.methods.remove)(self.device, irql) };
    }

    /// Notifies the device that it cannot be powered up.
    ///
    /// # Safety
    /// The caller has a hold.
    pub(crate) unsafe fn power_up_failed(&self, error: Error, irql: &mut PassiveLevel) {
        // SAFETY: as in `end_kept`.
        unsafe { (self.methods.power_up_failed)(self.device, error, irql) };
    }

    /// Begins a call of driver code that may keep a request and complete others, so that no hold of the caller's is left when it returns.
    ///
    /// # Safety
    /// The caller has a hold, and calls [`Extension::leave`] once.
    pub(crate) unsafe fn enter(&self) {
        // It does not fail: the tear-down waits only when there are no holds.
        self.late.acquire();
    }

    /// Ends a call that was begun with [`Extension::enter`]. If the device was removed, a work item makes it complete the requests that it
    /// keeps, since the last call of `remove` may have come before the one that has ended. The IRQL is at most `DISPATCH_LEVEL`.
    ///
    /// The call has kept its request before it reads `removed`, and the removal sets `removed` before it calls `remove`. So either `remove`
    /// finds the request, or this reads `true`, as [`Extension::is_removed`] explains. If the work is deferred already and has not begun, it
    /// finds the request: the exchanges of the flag are in one order, and the work clears the flag before it calls `remove`.
    ///
    /// # Safety
    /// The device object is one of this crate's. When this returns, it may have been freed.
    pub(crate) unsafe fn leave(object: *mut nt::DEVICE_OBJECT) {
        // SAFETY: the tear-down waits for this call, so the device object exists.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: as above.
        let extension = unsafe { &*this };
        if extension.is_removed() && !extension.is_deferred.swap(true, Ordering::AcqRel) {
            // SAFETY: the flag was not set, and the call is given up.
            return unsafe { Self::defer_end(this) };
        }
        // SAFETY: as above; only the address is computed, since the release may free the extension.
        let late = unsafe { &raw const (*this).late };
        // SAFETY: `enter` has begun it.
        unsafe { RundownRef::release(late) };
    }

    /// Records that a method of the device, an observer or a callback of a queue has returned, which may have kept a request after the last
    /// call of `remove`. The IRQL is at most `DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The device object is one of this crate's, and the caller has a hold.
    pub(crate) unsafe fn called(object: *mut nt::DEVICE_OBJECT) {
        // SAFETY: guaranteed by the caller.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: as above.
        let extension = unsafe { &*this };
        // `leave` explains why this finds the request.
        if extension.is_removed() && !extension.is_deferred.swap(true, Ordering::AcqRel) {
            // SAFETY: the caller has a hold.
            unsafe { extension.enter() };
            // SAFETY: the flag was not set, and the call was begun above.
            unsafe { Self::defer_end(this) };
        }
    }

    /// Makes a work item complete the requests that the device keeps.
    ///
    /// # Safety
    /// `this` is the extension of a device object. The caller has set `is_deferred`, and gives up a call that was begun with
    /// [`Extension::enter`].
    unsafe fn defer_end(this: *mut Self) {
        // A second reference, since the work may end, and the device may be freed, before `defer` returns.
        // SAFETY: the call keeps the extension.
        let object = DeviceObject::clone(unsafe { &(*this).object });
        let link = this.wrapping_byte_add(offset_of!(Self, link)).cast();
        // SAFETY: the link is in the extension, so it is not NULL.
        let link = unsafe { NonNull::new_unchecked(link) };
        // SAFETY: the flag was not set, so the link is on no list. It stays valid until the work ends what `enter` has begun.
        unsafe { object.defer(link) };
    }

    /// Returns whether the device rejects further requests.
    ///
    /// A request that reads the old value is handled later: a queue rejects or completes it under the queue's lock, or
    /// [`Device::remove`](crate::Device::remove) finds it. That is so also if the driver keeps it without a lock, by an interlocked operation,
    /// and finds that there is none by a mere read, as `SList::pop` may: such an operation is sequentially consistent, as this load and the
    /// fence after the store are.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Makes opens fail, before the device is queried for its removal.
    pub(crate) fn refuse_opens(&self) {
        self.remove_pending.store(true, Ordering::Relaxed);
        // Pairs with the one in `check_open`.
        fence(Ordering::SeqCst);
    }

    /// Allows opens again.
    pub(crate) fn allow_opens(&self) {
        self.remove_pending.store(false, Ordering::Relaxed);
    }

    /// Returns `STATUS_DELETE_PENDING` if the device was removed or a removal is pending.
    ///
    /// An open checks this again after it has called the device. Because of the fences, either this check fails, or
    /// [`Device::query_remove`](crate::Device::query_remove) observes what that call has written.
    #[inline(never)]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        fence(Ordering::SeqCst);
        if self.is_removed() || self.remove_pending.load(Ordering::Relaxed) {
            return Err(Error::DELETE_PENDING);
        }
        Ok(())
    }

    /// Frees the objects that AddDevice made, and waits until all deferred work is done.
    ///
    /// # Safety
    /// As for [`Extension::device`], except that the remove lock has no holds and rejects new ones; and the files' state is
    /// an `F`. This is called once, at `PASSIVE_LEVEL`. After it, only the extension's remove lock and files are used.
    pub(crate) unsafe fn tear_down<D, F: Send + Sync + 'static>(&self, irql: &mut PassiveLevel) {
        // SAFETY: this is called once.
        unsafe { self.late.wait(irql) };
        // SAFETY: the files' state is an `F`, and none of their IRPs has a hold of the remove lock.
        unsafe { self.files.release_all::<F>(irql) };
        // SAFETY: `pool::allocate` made the state, and other code can no longer access it.
        drop(unsafe { Box::from_raw(self.device.cast::<D>()) });
        // SAFETY: no request is in progress, so only their owners can access the queues, and the field is read
        // once.
        drop(unsafe { core::ptr::read(&raw const *self.queues) });
        // SAFETY: other code can no longer access the interface, and the field is read once.
        drop(unsafe { core::ptr::read(&raw const *self.interface) });
        // SAFETY: no IRP of the device is left, so no other code accesses the reference, and the field is read
        // once.
        let object = unsafe { core::ptr::read(&raw const *self.object) };
        object.end_work(irql);
    }
}

/// The work that [`Extension::leave`] defers.
///
/// # Safety
/// Called once each time it is deferred, with the link of an extension.
unsafe fn end_late(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    let this = link
        .as_ptr()
        .wrapping_byte_sub(offset_of!(Extension, link))
        .cast::<Extension>();
    // SAFETY: the link is part of an extension, which exists until the release below.
    let extension = unsafe { &*this };
    extension.is_deferred.swap(false, Ordering::AcqRel);
    // SAFETY: `leave` has given up a call that `enter` has begun.
    unsafe { extension.end_kept(irql) };
    // SAFETY: as above; only the address is computed, since the release may free the extension.
    let late = unsafe { &raw const (*this).late };
    // SAFETY: as above.
    unsafe { RundownRef::release(late) };
}
