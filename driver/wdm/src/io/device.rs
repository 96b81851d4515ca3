//! Devices: the trait that a driver implements, and the queues of a device that is being added.

use pinned_init::PinInit;

use crate::{
    DeviceObject, Error, FileState, Guid, Handled, IoType, Irp, PassiveLevel, PowerState,
    RegistryKey, Shared,
    io::owned_queue::{DeviceQueues, OwnedQueue, OwnedQueues},
    ke::irql::CallerLevel,
};

/// A device: its state and its handling of requests.
///
/// The value is made when the PnP manager adds a device (`AddDevice`) and dropped when the device is removed. It
/// lives in nonpaged pool and does not move. Every request in progress holds the device's remove lock, so the value
/// outlives the requests. [`driver_entry!`](crate::driver_entry) makes a function driver from it, or a
/// driver without Plug and Play if it is a [`ControlDevice`](crate::ControlDevice).
///
/// This crate does the work that all function drivers have in common: it keeps the device's [queues](crate::IrpQueue), cancels the
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
#[doc(alias = "IRP_MJ_SYSTEM_CONTROL")]
#[doc(alias = "IRP_MN_DEVICE_USAGE_NOTIFICATION")]
#[doc(alias = "IRP_MN_STOP_DEVICE")]
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

    /// The method by which the device receives the buffers of reads and writes. The code of a device control contains its method.
    #[doc(alias = "DO_BUFFERED_IO")]
    #[doc(alias = "DO_DIRECT_IO")]
    const IO_TYPE: IoType = IoType::Buffered;

    /// Whether [`Device::shutdown`] is called. Only one driver of a device stack may set this.
    #[doc(alias = "IoRegisterShutdownNotification")]
    #[doc(alias = "IoUnregisterShutdownNotification")]
    const NOTIFIED_OF_SHUTDOWN: bool = false;

    /// Whether the device can be removed from its bus at any time, without a query and without a loss of data: the capability
    /// `SurpriseRemovalOK`. Windows then offers no safe removal of the device.
    ///
    /// It is added when the lower drivers have reported the capabilities of the device. The bus driver determines the other ones.
    ///
    /// WDK: [DEVICE_CAPABILITIES](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_capabilities),
    /// [IRP_MN_QUERY_CAPABILITIES](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-capabilities).
    ///
    /// # What goes wrong in C
    ///
    /// A driver sets the bit before the lower drivers have filled in the structure, or without a check of its version and size; or it
    /// completes the request itself, so that the bus driver reports nothing.
    #[doc(alias = "IRP_MN_QUERY_CAPABILITIES")]
    #[doc(alias = "DEVICE_CAPABILITIES")]
    #[doc(alias = "SurpriseRemovalOK")]
    const SURPRISE_REMOVAL_OK: bool = false;

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
    /// The state can be the one that the device is in: D3 is requested again when the system goes to sleep.
    ///
    /// This crate passes the request down and reports the state of the device to the power manager (`PoSetPowerState`). Requests are
    /// handled in every state: a driver whose hardware cannot be accessed keeps them on a queue. The states of the device are
    /// requested by the driver of the stack that owns the power policy, which is this one if it makes a
    /// [`PowerPolicy`](crate::PowerPolicy).
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

    /// Called when the lower drivers cannot enter D0 (`IRP_MN_SET_POWER`), or when the owner of the power policy cannot request it.
    ///
    /// The driver completes the requests that wait for D0. The next [`PowerPolicy::power_up`](crate::PowerPolicy::power_up)
    /// requests it again.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn power_up_failed(&self, _error: Error, _irql: &mut CallerLevel) {}

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

    /// Called when the device is started, after the lower drivers have started it and before programs can find it
    /// (`IRP_MN_START_DEVICE`). After a stop it is called again.
    ///
    /// A [`ControlDevice`](crate::ControlDevice) is not started.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which the start fails; the PnP manager then removes the device.
    #[doc(alias = "IRP_MN_START_DEVICE")]
    fn start(&self, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Returns whether the device can be stopped, so that the PnP manager can give it other hardware resources
    /// (`IRP_MN_QUERY_STOP_DEVICE`). [`Device::start`] is called again when it has them.
    ///
    /// While it is stopped, requests arrive as before. So a device fails this if its requests need the hardware or are forwarded to the lower
    /// drivers. A device without hardware resources need not implement it.
    ///
    /// WDK: [Handling an IRP_MN_QUERY_STOP_DEVICE Request](https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-an-irp-mn-query-stop-device-request).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The reason why the device cannot be stopped now.
    #[doc(alias = "IRP_MN_QUERY_STOP_DEVICE")]
    fn query_stop(&self, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Returns whether the device can be removed (`IRP_MN_QUERY_REMOVE_DEVICE`).
    ///
    /// Opens fail during the call, and after success until the device is removed or the removal is cancelled. All other requests are handled
    /// as before.
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
    /// It is called again after each call of a method that handles a request, of [`FileState::open`], or of a
    /// [completion routine](crate::CompletionRoutine), [observer](crate::CompletionObserver), [callback of a queue](crate::QueueCallbacks) or
    /// [routine of an own request](crate::LowerIrpRoutine), that was still in progress, since that call may have kept another request. So it can be called several times, also by several threads
    /// at once.
    ///
    /// WDK: [Removing a Device](https://learn.microsoft.com/windows-hardware/drivers/kernel/removing-a-device).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    #[doc(alias = "IoDeleteDevice")]
    #[doc(alias = "IoDetachDevice")]
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    fn remove(&self, _irql: &mut PassiveLevel) {}
}

/// A device that is being added (`AddDevice`), for which queues can be made.
///
/// It dereferences to its [`DeviceObject`].
///
/// WDK: [IoCreateDevice](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatedevice),
/// [IoAttachDeviceToDeviceStack](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioattachdevicetodevicestack).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Lower, NewDevice};
///
/// /// Returns what the device's state keeps in order to refer to its device, and to send requests to the one below.
/// fn handles(device: &NewDevice) -> (DeviceObject, Lower) {
///     (DeviceObject::clone(device), Lower::new(device))
/// }
/// ```
#[doc(alias = "IoCreateDevice")]
#[doc(alias = "IoAttachDeviceToDeviceStack")]
#[doc(alias = "DEVICE_OBJECT")]
pub struct NewDevice {
    pub(super) object: DeviceObject,
    pub(super) queues: OwnedQueues,
    /// The physical device object, which the PnP manager keeps while the device is added; NULL for a device without Plug and Play.
    pub(super) pdo: *mut nt::DEVICE_OBJECT,
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
            queues: OwnedQueues::default(),
            pdo: core::ptr::null_mut(),
        }
    }

    /// Returns the hardware key of the device, in which the INF stores the values of `AddReg` in its section `DDInstall.HW`
    /// (`IoOpenDeviceRegistryKey` with `PLUGPLAY_REGKEY_DEVICE`).
    ///
    /// The routine must be called in a system thread, and `AddDevice` runs in one.
    ///
    /// WDK: [IoOpenDeviceRegistryKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey),
    /// [INF DDInstall.HW Section](https://learn.microsoft.com/windows-hardware/drivers/install/inf-ddinstall-hw-section).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use wdm::{NewDevice, PassiveLevel};
    ///
    /// fn poll_interval(device: &NewDevice, irql: &mut PassiveLevel) -> u32 {
    ///     device.hardware_key().dword("", "PollInterval", irql).unwrap_or(100)
    /// }
    /// ```
    ///
    /// # What goes wrong in C
    ///
    /// A driver passes its own device object instead of the physical one, does not close the handle, or uses a value of the wrong
    /// type or size.
    #[doc(alias = "IoOpenDeviceRegistryKey")]
    #[must_use]
    pub fn hardware_key(&self) -> RegistryKey<'_> {
        // SAFETY: the field is the device's physical device object, valid as long as `self`, or NULL.
        unsafe { RegistryKey::of_device(self.pdo, nt::PLUGPLAY_REGKEY_DEVICE) }
    }

    /// Returns the software key of the device, in which the INF stores the values of `AddReg` in its section `DDInstall`
    /// (`IoOpenDeviceRegistryKey` with `PLUGPLAY_REGKEY_DRIVER`).
    ///
    /// WDK: [IoOpenDeviceRegistryKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey),
    /// [INF DDInstall Section](https://learn.microsoft.com/windows-hardware/drivers/install/inf-ddinstall-section).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoOpenDeviceRegistryKey")]
    #[must_use]
    pub fn software_key(&self) -> RegistryKey<'_> {
        // SAFETY: as above.
        unsafe { RegistryKey::of_device(self.pdo, nt::PLUGPLAY_REGKEY_DRIVER) }
    }

    /// Makes a queue of the device. `init` receives the device object's address and the queue's index; `operations` returns
    /// what the device calls.
    pub(crate) fn add_queue<Q, I>(
        &mut self,
        irql: &mut PassiveLevel,
        init: impl FnOnce(*mut nt::DEVICE_OBJECT, usize) -> I,
        operations: fn(&Q) -> &(dyn DeviceQueues + 'static),
    ) -> Result<Shared<Q>, Error>
    where
        Q: Send + Sync + 'static,
        I: PinInit<Q, Error>,
    {
        let init = init(self.object.as_ptr(), self.queues.count());
        let shared = Shared::new(init, &self.object, irql)?;
        self.own(&shared, operations)?;
        Ok(shared)
    }

    /// Makes the device an owner of one of its queues, until it is removed.
    pub(crate) fn own<Q: Send + Sync + 'static>(
        &mut self,
        shared: &Shared<Q>,
        operations: fn(&Q) -> &(dyn DeviceQueues + 'static),
    ) -> Result<(), Error> {
        self.queues.push(OwnedQueue::new(shared, operations))
    }
}

/// The device of a [`Filter`](crate::Filter) that is being added (`AddDevice`), for which queues can be made.
///
/// It dereferences to its [`DeviceObject`]. A [`StartIoQueue`](crate::StartIoQueue) cannot be made for it.
///
/// WDK: [IoCreateDevice](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatedevice),
/// [IoAttachDeviceToDeviceStackSafe](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-ioattachdevicetodevicestacksafe).
///
/// # Examples
///
/// ```
/// use wdm::{Error, IrpQueue, NewFilter, PassiveLevel, QueueCallbacks, Shared};
///
/// /// Makes the queue of the requests that a filter delays.
/// fn delayed<C: QueueCallbacks>(
///     callbacks: C,
///     device: &mut NewFilter,
///     irql: &mut PassiveLevel,
/// ) -> Result<Shared<IrpQueue<C>>, Error> {
///     IrpQueue::new(callbacks, device, irql)
/// }
/// ```
#[doc(alias = "IoCreateDevice")]
#[doc(alias = "IoAttachDeviceToDeviceStackSafe")]
#[repr(transparent)]
pub struct NewFilter(NewDevice);

impl NewFilter {
    pub(crate) fn of(device: &mut NewDevice) -> &mut Self {
        // SAFETY: the types have the same layout, and the reference keeps its lifetime.
        unsafe { &mut *core::ptr::from_mut(device).cast() }
    }

    /// Returns the hardware key of the device, as [`NewDevice::hardware_key`] does.
    ///
    /// WDK: [IoOpenDeviceRegistryKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoOpenDeviceRegistryKey")]
    #[must_use]
    pub fn hardware_key(&self) -> RegistryKey<'_> {
        self.0.hardware_key()
    }
}

impl core::ops::Deref for NewFilter {
    type Target = DeviceObject;

    fn deref(&self) -> &DeviceObject {
        &self.0
    }
}

/// A device that is being added, for which an [`IrpQueue`](crate::IrpQueue) or a [`LowerIrp`](crate::LowerIrp) can be made: a [`NewDevice`] or a [`NewFilter`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a device that is being added",
    note = "a queue or a `LowerIrp` is made in `Device::add` or `Filter::add`, with the device that it gets"
)]
pub trait QueueOwner: Sealed {}

impl QueueOwner for NewDevice {}
impl QueueOwner for NewFilter {}

pub(crate) use sealed::Internal;
use sealed::Sealed;

mod sealed {
    use super::{NewDevice, NewFilter};

    /// An argument that only this crate can make. A bound on the public trait is enough to call a method of a sealed one.
    pub struct Internal(());

    impl Internal {
        pub(crate) const fn new() -> Self {
            Self(())
        }
    }

    pub trait Sealed {
        /// Whether the file objects' fields belong to the device's driver.
        const OWNS_FILES: bool;

        fn device(&mut self, _: Internal) -> &mut NewDevice;
    }

    impl Sealed for NewDevice {
        const OWNS_FILES: bool = true;

        fn device(&mut self, _: Internal) -> &mut NewDevice {
            self
        }
    }

    impl Sealed for NewFilter {
        const OWNS_FILES: bool = false;

        fn device(&mut self, _: Internal) -> &mut NewDevice {
            &mut self.0
        }
    }
}
