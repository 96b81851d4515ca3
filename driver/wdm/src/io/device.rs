//! Devices: the trait that a driver implements, and the device extension.

use alloc::{boxed::Box, vec::Vec};
use core::{
    mem::ManuallyDrop,
    ptr::{NonNull, null_mut},
    sync::atomic::Ordering,
};

use nt::atomic::{AtomicBool, AtomicPtr};
use pinned_init::PinInit;

use crate::{
    DeviceObject, Error, FileState, Guid, Handled, IoType, Irp, PassiveLevel, PowerState, Record,
    RegistryKey, Shared,
    io::{
        file::{OpenFiles, Queued},
        holds::Holds,
        interface::DeviceInterface,
    },
    ke::irql::CallerLevel,
};

/// A device: its state and its handling of requests.
///
/// The value is made when the PnP manager adds a device (`AddDevice`) and dropped when the device is removed. It
/// lives in nonpaged pool and does not move. Every request in progress holds the device's remove lock, so the value
/// outlives the requests. [`driver_entry!`](crate::driver_entry) makes a function driver from it, or a
/// driver without Plug and Play if it is a [`ControlDevice`](crate::ControlDevice).
///
/// This crate does what all function drivers do alike: it keeps the device's [queues](crate::IrpQueue), cancels the
/// queued requests of a handle when the handle is closed, completes all queued requests when the device is removed,
/// and fails attempts to open a device whose removal is pending.
///
/// WDK: [Writing WDM Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-wdm-drivers).
#[doc(alias = "IoAcquireRemoveLock")]
#[doc(alias = "IoAcquireRemoveLockEx")]
#[doc(alias = "IoInitializeRemoveLock")]
#[doc(alias = "IoInitializeRemoveLockEx")]
#[doc(alias = "IoReleaseRemoveLock")]
#[doc(alias = "IoReleaseRemoveLockEx")]
#[doc(alias = "IoReleaseRemoveLockAndWait")]
#[doc(alias = "IoReleaseRemoveLockAndWaitEx")]
#[doc(alias = "IO_REMOVE_LOCK")]
#[doc(alias = "DRIVER_OBJECT")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a device",
    note = "implement `wdm::Device` for the type of the device's state"
)]
pub trait Device: Send + Sync + Sized + 'static {
    /// The interface class by which applications find the device; [`Guid::NONE`] for a device without an interface, such as
    /// a [`ControlDevice`](crate::ControlDevice).
    #[doc(alias = "IoRegisterDeviceInterface")]
    const INTERFACE: Guid = Guid::NONE;

    /// How the device gets the buffers of reads and writes. A device control names its method in its code.
    #[doc(alias = "DO_BUFFERED_IO")]
    #[doc(alias = "DO_DIRECT_IO")]
    const IO_TYPE: IoType = IoType::Buffered;

    /// Whether [`Device::shutdown`] is called. Only one driver of a device stack may set this.
    #[doc(alias = "IoRegisterShutdownNotification")]
    #[doc(alias = "IoUnregisterShutdownNotification")]
    const NOTIFIED_OF_SHUTDOWN: bool = false;

    /// The state that the driver keeps for each open file; `()` if none.
    type File: FileState<Self>;

    /// Initialises the driver when it is loaded (`DriverEntry`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which `DriverEntry` fails; the driver is then unloaded.
    #[doc(alias = "DriverEntry")]
    fn driver_entry(_registry: &RegistryKey<'_>, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Makes the queues of a new device and returns an in-place initialiser of its state (`AddDevice`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which `AddDevice` fails; the device is then not added.
    #[doc(alias = "AddDevice")]
    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error>;

    /// Handles an `IRP_MJ_DEVICE_CONTROL` request that was sent through an open file: completes, pends or queues
    /// it.
    ///
    /// A request without an open file, which another driver can send with `IoBuildDeviceIoControlRequest`, fails
    /// with `STATUS_INVALID_DEVICE_REQUEST` without a call. A device that does not implement this method, or one of those
    /// below, fails the requests for it with the same status.
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

    /// Handles an `IRP_MJ_READ` request that was sent through an open file: completes it with a
    /// [reply](Irp::reply), pends or queues it.
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

    /// Handles an `IRP_MJ_WRITE` request that was sent through an open file: reads [the
    /// bytes](crate::IrpView::input_bytes) or the [user buffer](Irp::user_buffer) and [completes](Irp::complete_write) it, or pends or queues it.
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

    /// Handles an `IRP_MJ_FLUSH_BUFFERS` request that was sent through an open file: completes it after all data
    /// that was written before has reached the hardware.
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

    /// Handles an `IRP_MJ_QUERY_INFORMATION` request that was sent through an open file: completes it with a
    /// [reply](Irp::reply) for the
    /// [information class](crate::IrpView::information_class).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_QUERY_INFORMATION")]
    fn query_information<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Handles an `IRP_MJ_SET_INFORMATION` request that was sent through an open file, for the
    /// [information class](crate::IrpView::information_class).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_SET_INFORMATION")]
    fn set_information<'irp>(
        &self,
        irp: Irp<'irp>,
        _file: &Self::File,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Handles an `IRP_MJ_INTERNAL_DEVICE_CONTROL` request, which another driver sent.
    ///
    /// A request that is kept belongs on a queue of the device. [`Device::remove`] is not called again for one that was kept
    /// elsewhere, at `DISPATCH_LEVEL`, while the device was removed.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IRP_MJ_INTERNAL_DEVICE_CONTROL")]
    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }

    /// Called when the system shuts down, before it flushes the file systems (`IRP_MJ_SHUTDOWN`), if
    /// [`Device::NOTIFIED_OF_SHUTDOWN`] is set.
    ///
    /// WDK: [IoRegisterShutdownNotification](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregistershutdownnotification).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_SHUTDOWN")]
    fn shutdown(&self, _irql: &mut PassiveLevel) {}

    /// Returns whether the system or the device can enter a power state (`IRP_MN_QUERY_POWER`).
    ///
    /// After success the driver starts nothing that prevents the change.
    ///
    /// WDK: [IRP_MN_QUERY_POWER](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-power).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// The reason why it cannot: the change would lose data.
    #[doc(alias = "IRP_MN_QUERY_POWER")]
    fn query_power(&self, _state: PowerState, _irql: &mut CallerLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Called when the system or the device enters a power state (`IRP_MN_SET_POWER`): before the lower drivers if it is a
    /// state with less power, and after they have entered S0 or D0.
    ///
    /// This crate passes the request down and tells the power manager the state of the device (`PoSetPowerState`). Requests are
    /// handled in every state: a driver whose hardware cannot be accessed keeps them on a queue. This crate does not request states
    /// (`PoRequestPowerIrp`), so a device is called for its own only if another driver of the stack owns the power policy.
    ///
    /// WDK: [Handling IRP_MN_SET_POWER for Device Power
    /// States](https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-irp-mn-set-power-for-device-power-states).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # What goes wrong in C
    ///
    /// A driver fails the request, does not pass it down, or accesses the hardware before the bus driver has powered it up.
    #[doc(alias = "IRP_MJ_POWER")]
    #[doc(alias = "IRP_MN_SET_POWER")]
    #[doc(alias = "PoCallDriver")]
    #[doc(alias = "PoSetPowerState")]
    #[doc(alias = "PoStartNextPowerIrp")]
    fn set_power(&self, _state: PowerState, _irql: &mut CallerLevel) {}

    /// Called when the last handle of an open file is closed, after the file's requests on the device's queues were
    /// cancelled (`IRP_MJ_CLEANUP`).
    ///
    /// The driver completes every request of the file that it keeps elsewhere.
    ///
    /// It is called again after each call of a method that handles a request of the file and was still in progress,
    /// since that call may have kept another request. So it can be called several times, also by several threads at
    /// once.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_CLEANUP")]
    fn cleanup(&self, _file: &Self::File, _irql: &mut PassiveLevel) {}

    /// Returns whether the device can be removed (`IRP_MN_QUERY_REMOVE_DEVICE`).
    ///
    /// After success, further opens fail until the device is removed or the removal is cancelled. All other
    /// requests are handled as before.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The reason why the device cannot be removed now.
    #[doc(alias = "IRP_MN_QUERY_REMOVE_DEVICE")]
    fn query_remove(&self, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Called when the device is removed, after the requests on its queues were completed with
    /// `STATUS_DELETE_PENDING` (`IRP_MN_SURPRISE_REMOVAL`, `IRP_MN_REMOVE_DEVICE`).
    ///
    /// The driver completes every request that it keeps elsewhere: the removal waits until the last one is
    /// completed.
    ///
    /// It is called again after each call of a method that handles a request and was still in progress, since that call
    /// may have kept another request. So it can be called several times, also by several threads at once.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    #[doc(alias = "IoDeleteDevice")]
    #[doc(alias = "IoDetachDevice")]
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    fn remove(&self, _irql: &mut PassiveLevel) {}
}

/// The operations of a queue that its device calls.
pub(crate) trait DeviceQueues: Sync {
    /// Cancels the requests of an open file on the queue, and prevents further requests of the file from being
    /// queued.
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel);

    /// Completes all requests on the queue of a removed device, and rejects all further requests.
    fn end_all(&self, irql: &mut PassiveLevel);
}

/// A queue of a device, with the device's owner of it.
struct OwnedQueue {
    queue: NonNull<dyn DeviceQueues>,
    /// An owner of the queue that was given up, and the function that makes it again and drops it.
    owner: *mut (),
    release: unsafe fn(*mut ()),
}

// SAFETY: `NewDevice::add_queue` requires that a queue can be shared between threads and dropped in any of them.
unsafe impl Send for OwnedQueue {}
// SAFETY: as above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    fn queue(&self) -> &dyn DeviceQueues {
        // SAFETY: the owner keeps the queue alive.
        unsafe { self.queue.as_ref() }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: `add_queue` gave up the owner, and it is made again once.
        unsafe { (self.release)(self.owner) };
    }
}

/// A device that is being added. Queues are made for it.
///
/// It dereferences to its [`DeviceObject`].
#[doc(alias = "IoCreateDevice")]
#[doc(alias = "IoAttachDeviceToDeviceStack")]
#[doc(alias = "DEVICE_OBJECT")]
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

    /// Makes a queue of the device. `init` gets the address of the device object and the index of the queue.
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
            // SAFETY: `OwnedQueue` calls this once, with the owner that was given up above.
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
/// All fields except `holds`, `lower`, `files` and the flags are written once, before the device object is
/// attached or can be opened. `lower` is written once, directly after. `device` and `interface` are valid while the device
/// is held; the removal or the unload takes them out when there are no holds and new ones are rejected.
pub(crate) struct Extension {
    pub(crate) holds: Holds,
    pub(crate) object: ManuallyDrop<DeviceObject>,
    /// The next lower device object in the stack.
    lower: AtomicPtr<nt::DEVICE_OBJECT>,
    /// The interface of a function driver's device.
    interface: ManuallyDrop<Option<DeviceInterface>>,
    queues: ManuallyDrop<Vec<OwnedQueue>>,
    pub(crate) files: OpenFiles,
    /// The [`Device`], in the pool: the removal frees it, while the device object can live on until the last handle
    /// is closed.
    device: *mut (),
    /// Whether a removal is pending, so that opens fail.
    remove_pending: AtomicBool,
    gone: AtomicBool,
}

impl Extension {
    /// Initialises the extension of a new device object.
    ///
    /// # Safety
    /// The device object is the one of `new`, has room for an [`Extension`], and is not attached to a stack yet.
    /// `device` was allocated by [`pool::allocate`](crate::ex::pool::allocate). The IRQL is `PASSIVE_LEVEL`.
    pub(crate) unsafe fn initialise<'a, D>(
        new: NewDevice,
        holds: Holds,
        interface: Option<DeviceInterface>,
        device: *mut D,
    ) -> &'a Self {
        let NewDevice { object, queues } = new;
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
            remove_pending: AtomicBool::new(false),
            gone: AtomicBool::new(false),
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

    /// Returns whether the device can serve requests: a PnP device that is attached, or a control device. AddDevice cannot fail
    /// any more then.
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

    /// Whether the device is a function driver's, which has an interface.
    pub(crate) fn has_interface(&self) -> bool {
        self.interface.is_some()
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
        self.queues.len()
    }

    /// Cancels the requests on the device's queues that belong to the file of an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, and holds the remove lock.
    pub(crate) unsafe fn cleanup(&self, irp: *mut nt::IRP, irql: &mut PassiveLevel) {
        for (index, owned) in self.queues.iter().enumerate() {
            // SAFETY: the IRP keeps its file, and `index` is the index of a queue of its device.
            if let Some(file) = unsafe { crate::io::file::queued(irp, index) } {
                owned.queue().cleanup(file, irql);
            }
        }
    }

    /// Makes the device reject further requests, and completes the requests on its queues.
    ///
    /// The caller holds the remove lock.
    pub(crate) fn end_requests(&self, irql: &mut PassiveLevel) {
        self.gone.store(true, Ordering::Relaxed);
        for owned in self.queues.iter() {
            owned.queue().end_all(irql);
        }
    }

    /// Returns whether the device rejects further requests.
    ///
    /// A request that reads the old value is handled later, under a lock: a queue rejects or completes it under the
    /// queue's lock, or [`Device::remove`] finds it under the driver's own lock. So no memory ordering is needed
    /// here.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Sets whether a removal is pending.
    pub(crate) fn set_remove_pending(&self, pending: bool) {
        self.remove_pending.store(pending, Ordering::Relaxed);
    }

    /// Returns whether opens fail: the device was removed, or a removal is pending.
    pub(crate) fn refuses_opens(&self) -> bool {
        self.is_gone() || self.remove_pending.load(Ordering::Relaxed)
    }

    /// Frees what AddDevice made, and waits until all deferred work is done.
    ///
    /// # Safety
    /// As for [`Extension::device`], except that the remove lock has no holds and rejects new ones; and the files' state is
    /// an `F`. This is called once, at `PASSIVE_LEVEL`. After it, only the extension's remove lock and files are used.
    pub(crate) unsafe fn tear_down<D, F: Send + Sync + 'static>(&self, irql: &mut PassiveLevel) {
        // SAFETY: the files' state is an `F`, and no IRP of theirs has a hold of the remove lock.
        unsafe { self.files.release_all::<F>(irql) };
        // SAFETY: `pool::allocate` made the state, and no other code can access it any more.
        drop(unsafe { Box::from_raw(self.device.cast::<D>()) });
        // SAFETY: no request is in progress, so only their owners can access the queues, and the field is read
        // once.
        drop(unsafe { core::ptr::read(&raw const *self.queues) });
        // SAFETY: no other code can access the interface any more, and the field is read once.
        drop(unsafe { core::ptr::read(&raw const *self.interface) });
        // SAFETY: no IRP of the device is left, so no other code accesses the reference, and the field is read
        // once.
        let object = unsafe { core::ptr::read(&raw const *self.object) };
        object.wait_until_idle(irql);
    }
}
