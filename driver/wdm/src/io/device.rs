//! Devices: what a driver implements, and what the kernel keeps for it in the device extension.

use alloc::{boxed::Box, vec::Vec};
use core::{
    mem::ManuallyDrop,
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicBool, AtomicPtr, Ordering},
};

use pinned_init::PinInit;

use crate::{
    DeviceObject, Error, FileState, Guid, Handled, Irp, PassiveLevel, Record, RegistryKey, Shared,
    io::{
        file::{OpenFiles, Queued},
        interface::DeviceInterface,
        remove_lock::RemoveLock,
    },
};

/// A function driver's device: its state, and what it does with the requests that come to it.
///
/// The value is made when the PnP manager finds a device (AddDevice) and dropped when it is removed; it
/// lives in nonpaged pool and does not move. Every request that is under way holds the device's remove
/// lock, so the value outlives them all. [`driver_entry!`](crate::driver_entry) makes a driver of it.
///
/// What every function driver does alike is done for it: it owns the device's [queues](crate::IrpQueue), cancels what an
/// open file has on them when that is closed, ends what waits when the device is removed, and fails to open a
/// device that may be about to be removed.
///
/// WDK: [Writing WDM Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-wdm-drivers).
pub trait Device: Send + Sync + Sized + 'static {
    /// The interface class by which user mode finds the device.
    const INTERFACE: Guid;

    /// What the driver keeps for each open of the device; `()` if nothing.
    type File: FileState<Self>;

    /// Prepares the driver when it is loaded (`DriverEntry`).
    ///
    /// # Errors
    /// What makes the driver unable to work; it is then unloaded.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn driver_entry(_registry: &RegistryKey<'_>, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Gives the initialiser of a new device's state, and makes the device's queues (AddDevice).
    ///
    /// # Errors
    /// What makes the device unable to work; it is then not added.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "AddDevice")]
    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error>;

    /// Handles an `IRP_MJ_DEVICE_CONTROL` that came through an open file: completes it or queues it.
    ///
    /// A request that was sent through no file, as another driver can with `IoBuildDeviceIoControlRequest`, fails with
    /// `STATUS_INVALID_DEVICE_REQUEST` before. So do all requests of a device that does not have this method, and of the
    /// methods below.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_DEVICE_CONTROL")]
    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Handles an `IRP_MJ_READ` that came through an open file: completes it with a [reply](Irp::reply), or queues it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_READ")]
    fn read<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Handles an `IRP_MJ_WRITE` that came through an open file: takes [the bytes](crate::IrpView::input_bytes) and
    /// [completes](Irp::complete_write) it, or queues it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_WRITE")]
    fn write<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Handles an `IRP_MJ_FLUSH_BUFFERS` that came through an open file: what was written before reaches the hardware before
    /// the request is completed.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_FLUSH_BUFFERS")]
    fn flush<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Called when the last handle of an open file is closed, after what the file had on the device's queues was cancelled
    /// (`IRP_MJ_CLEANUP`). It lets go of every request of the file that the device keeps elsewhere.
    ///
    /// Called again after each call of [`Device::device_control`] through the file that was still under way, since that may
    /// have kept another one. So it may be called several times, also by several threads at once.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn cleanup(&self, _file: &Self::File, _irql: &mut PassiveLevel) {}

    /// Asks whether the device can be removed (`IRP_MN_QUERY_REMOVE_DEVICE`).
    ///
    /// After a yes further opens fail, until the device is removed or stays after all; everything else goes on as before.
    ///
    /// # Errors
    /// Why it cannot be removed now.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn query_remove(&self, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Called when the device is gone, after what waited on its queues was ended with `STATUS_DELETE_PENDING`
    /// (`IRP_MN_SURPRISE_REMOVAL`, `IRP_MN_REMOVE_DEVICE`). It lets go of every request that it keeps elsewhere: the removal
    /// waits until the last has ended.
    ///
    /// Called again after each call of [`Device::device_control`] that was still under way, since that may have kept another
    /// one. So it may be called several times, also by several threads at once.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn remove(&self, _irql: &mut PassiveLevel) {}
}

/// What a device's queue does for the device.
pub(crate) trait DeviceQueues: Sync {
    /// Cancels what an open file has on the queue, and sees to it that nothing of it is queued any more.
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel);

    /// Ends everything on the queue of a device that is gone, and refuses what comes later, for good.
    fn end_all(&self, irql: &mut PassiveLevel);
}

/// A queue of a device, and the device's share in it.
struct OwnedQueue {
    queue: NonNull<dyn DeviceQueues>,
    /// An owner of the queue, given up; and what makes it again and drops it.
    owner: *mut (),
    release: unsafe fn(*mut ()),
}

// SAFETY: a queue may be shared between threads, and its owners be dropped in any: `NewDevice::add_queue` asks for both.
unsafe impl Send for OwnedQueue {}
// SAFETY: as above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    fn queue(&self) -> &dyn DeviceQueues {
        // SAFETY: the owner keeps the queue.
        unsafe { self.queue.as_ref() }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: the owner was given up by `add_queue`, and is made again once.
        unsafe { (self.release)(self.owner) };
    }
}

/// A device that is being added: its device object, and the queues that it gets.
///
/// It derefs to its [`DeviceObject`].
pub struct NewDevice {
    object: DeviceObject,
    queues: Vec<OwnedQueue>,
}

impl core::ops::Deref for NewDevice {
    type Target = DeviceObject;

    fn deref(&self) -> &DeviceObject {
        &self.object
    }
}

impl NewDevice {
    pub(crate) fn new(object: DeviceObject) -> Self {
        Self {
            object,
            queues: Vec::new(),
        }
    }

    /// Makes a queue of the device, which is given the device object's address and the queue's place among the device's.
    pub(crate) fn add_queue<Q, I>(
        &mut self,
        irql: &mut PassiveLevel,
        init: impl FnOnce(*mut nt::DEVICE_OBJECT, usize) -> I,
    ) -> Result<Shared<Q>, Error>
    where
        Q: DeviceQueues + Send + 'static,
        I: PinInit<Q, Error>,
    {
        self.queues
            .try_reserve(1)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        let init = init(self.object.as_ptr(), self.queues.len());
        let shared = Shared::new(init, &self.object, irql)?;
        let queue: &dyn DeviceQueues = &*shared;
        let queue = NonNull::from(queue);
        let owner = shared.clone().into_raw();
        let release = |owner: *mut ()| {
            // SAFETY: `OwnedQueue` calls this with the owner that was given up here, once.
            drop(unsafe { Shared::<Q>::from_raw(owner) });
        };
        self.queues.push(OwnedQueue {
            queue,
            owner,
            release,
        });
        Ok(shared)
    }
}

/// The device extension.
///
/// # Invariants
///
/// All but `remove_lock`, `lower`, `files` and the flags is written once, before the device object is attached. `lower` is written
/// once, right after. `device` and `interface` are valid for whoever holds the remove lock; the removal takes them out once
/// nobody can.
pub(crate) struct Extension {
    pub(crate) remove_lock: RemoveLock,
    pub(crate) object: ManuallyDrop<DeviceObject>,
    /// The next lower device object in the stack.
    lower: AtomicPtr<nt::DEVICE_OBJECT>,
    interface: ManuallyDrop<DeviceInterface>,
    queues: ManuallyDrop<Vec<OwnedQueue>>,
    pub(crate) files: OpenFiles,
    /// The [`Device`], in the pool: its memory goes with the removal, while the device object itself may
    /// stay on for as long as a handle is open.
    device: *mut (),
    /// Whether the device may be about to be removed: it is not opened then.
    remove_pending: AtomicBool,
    gone: AtomicBool,
}

impl Extension {
    /// Fills a new device object's extension in.
    ///
    /// # Safety
    /// The device object was made for an [`Extension`], is the one of `new`, and is not attached to a stack yet. `device`
    /// was made by [`pool::allocate`](crate::ex::pool::allocate). The IRQL is `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise<'a, D: Device>(
        new: NewDevice,
        interface: DeviceInterface,
        device: *mut D,
    ) -> &'a Self {
        let NewDevice { object, queues } = new;
        // SAFETY: a reference's device object is valid.
        let this = unsafe { (*object.as_ptr()).DeviceExtension }.cast::<Self>();
        let new = Self {
            remove_lock: RemoveLock::uninitialised(),
            object: ManuallyDrop::new(object),
            lower: AtomicPtr::new(null_mut()),
            interface: ManuallyDrop::new(interface),
            queues: ManuallyDrop::new(queues),
            files: OpenFiles::uninitialised(),
            device: device.cast(),
            remove_pending: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        // SAFETY: the extension has the size of an `Extension` and the pool's alignment, and nobody uses
        // it yet.
        unsafe { this.write(new) };
        // SAFETY: as above.
        let extension = unsafe { &*this };
        // SAFETY: the list is where it stays, and nobody uses it yet.
        unsafe { extension.files.initialise() };
        // SAFETY: the lock is where it stays, nobody uses it yet, and AddDevice runs at PASSIVE_LEVEL.
        unsafe { extension.remove_lock.initialise() };
        extension
    }

    /// The extension of one of the driver's device objects.
    ///
    /// # Safety
    /// The device object is one that [`Extension::initialise`] was called for, and exists as long as the
    /// reference is used.
    pub(crate) unsafe fn of<'a>(object: *mut nt::DEVICE_OBJECT) -> &'a Self {
        // SAFETY: the caller gives a valid device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: the extension was initialised and is the device object's until that is freed.
        unsafe { &*this }
    }

    /// Gives an IRP's hold of the remove lock back.
    ///
    /// # Safety
    /// The device object is one of this crate's, and the IRP has a hold.
    pub(crate) unsafe fn release(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) {
        // SAFETY: the hold keeps the device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: as above; the address alone is computed, since the extension may go in the release.
        let lock = unsafe { &raw const (*this).remove_lock };
        // SAFETY: the caller says that the IRP has a hold.
        unsafe { RemoveLock::release(lock, irp) };
    }

    /// The next lower device object in the stack.
    pub(crate) fn lower(&self) -> *mut nt::DEVICE_OBJECT {
        self.lower.load(Ordering::Acquire)
    }

    /// Says which is the next lower device object, to which this one has just been attached.
    pub(crate) fn set_lower(&self, lower: *mut nt::DEVICE_OBJECT) {
        self.lower.store(lower, Ordering::Release);
    }

    /// The device's state.
    ///
    /// # Safety
    /// `D` is the type that the extension was initialised with, and the caller holds the remove lock as
    /// long as the reference is used.
    pub(crate) unsafe fn device<D: Device>(&self) -> &D {
        // SAFETY: the removal frees the state only when nobody holds the remove lock.
        unsafe { &*self.device.cast::<D>() }
    }

    /// The device's interface.
    ///
    /// The caller holds the remove lock, as every PnP request does.
    pub(crate) fn interface(&self) -> &DeviceInterface {
        &self.interface
    }

    /// How many queues the device has.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Cancels what the file of an IRP has on the device's queues.
    ///
    /// # Safety
    /// The caller owns the IRP, and holds the remove lock.
    pub(crate) unsafe fn cleanup(&self, irp: *mut nt::IRP, irql: &mut PassiveLevel) {
        for (index, owned) in self.queues.iter().enumerate() {
            // SAFETY: the IRP keeps its file, and `index` is that of a queue of its device.
            if let Some(file) = unsafe { crate::io::file::queued(irp, index) } {
                owned.queue().cleanup(file, irql);
            }
        }
    }

    /// Says that the device takes no requests any more, and ends what waits on its queues.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn end_requests(&self, irql: &mut PassiveLevel) {
        self.gone.store(true, Ordering::Relaxed);
        for owned in self.queues.iter() {
            owned.queue().end_all(irql);
        }
    }

    /// Whether the device takes no requests any more. Who just misses it comes under a lock later: a queue's, which
    /// refuses it or ends it, or one of the driver's own, under which [`Device::remove`] finds what was kept. So no order is needed here.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Says whether the device may be about to be removed.
    pub(crate) fn set_remove_pending(&self, pending: bool) {
        self.remove_pending.store(pending, Ordering::Relaxed);
    }

    /// Whether the device cannot be opened: it is gone, or may be about to be removed.
    pub(crate) fn refuses_opens(&self) -> bool {
        self.is_gone() || self.remove_pending.load(Ordering::Relaxed)
    }

    /// Frees what AddDevice made, and waits until what was put off has been done.
    ///
    /// # Safety
    /// As for [`Extension::device`]; nobody holds the remove lock or ever will again, and this is called
    /// once, at `PASSIVE_LEVEL`. Nobody uses the extension but for its remove lock and its files after that.
    pub(crate) unsafe fn tear_down<D: Device>(&self, irql: &mut PassiveLevel) {
        // SAFETY: the files' state is a `D::File`, and nobody holds the remove lock for an IRP of theirs.
        unsafe { self.files.release_all::<D::File>(irql) };
        // SAFETY: the state was made by `pool::allocate`, and nobody can reach it any more.
        drop(unsafe { Box::from_raw(self.device.cast::<D>()) });
        // SAFETY: no request is under way, so nobody can reach the queues any more but for their owners, and they are
        // read out once.
        drop(unsafe { core::ptr::read(&raw const *self.queues) });
        // SAFETY: nobody can reach the interface any more, and it is read out once.
        drop(unsafe { core::ptr::read(&raw const *self.interface) });
        // SAFETY: no IRP of the device is left, so nobody reaches the reference any more, and it is read out once.
        let object = unsafe { core::ptr::read(&raw const *self.object) };
        object.wait_until_idle(irql);
    }
}
