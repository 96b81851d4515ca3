//! The PnP manager: start, removal and surprise removal of devices.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, IRP_MJ_PNP, IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_DEVICE_USAGE_NOTIFICATION, IRP_MN_QUERY_INTERFACE, IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_QUERY_STOP_DEVICE, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE,
    IRP_MN_SURPRISE_REMOVAL, NTSTATUS, STATUS_NOT_SUPPORTED, STATUS_OBJECT_NAME_NOT_FOUND,
};

use crate::{
    host::{Call, Kernel, footprint, thread::Attached},
    io::{
        Access, BusAnswer, File, Request, bus,
        device::DeviceInner,
        file::Opening,
        irp::{IrpParameters, IrpRecord},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The requests that drivers must not fail: the rule `PnpRemove` states it for the first four, and
/// [its page](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-stop-device) for the last.
const MUST_SUCCEED: [u8; 5] = [
    IRP_MN_SURPRISE_REMOVAL,
    IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_REMOVE_DEVICE,
    IRP_MN_STOP_DEVICE,
];

/// The requests that a driver may complete under the rule `PnpIrpCompletion`.
const MAY_BE_COMPLETED: [u8; 3] = [
    IRP_MN_QUERY_INTERFACE,
    IRP_MN_QUERY_STOP_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE,
];

/// The requests that a driver answers with a block of the pool, in `IoStatus.Information`: `IRP_MN_QUERY_DEVICE_RELATIONS`,
/// `IRP_MN_QUERY_RESOURCES`, `IRP_MN_QUERY_RESOURCE_REQUIREMENTS`, `IRP_MN_QUERY_DEVICE_TEXT`,
/// `IRP_MN_FILTER_RESOURCE_REQUIREMENTS`, `IRP_MN_QUERY_ID` and `IRP_MN_QUERY_BUS_INFORMATION`.
const ANSWERED_IN_POOL: [u8; 7] = [
    IRP_MN_QUERY_DEVICE_RELATIONS,
    0xa,
    0xb,
    0xc,
    0xd,
    0x13,
    0x15,
];

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-device-relations)
pub(in crate::io) const IRP_MN_QUERY_DEVICE_RELATIONS: u8 = 7;

/// `DeviceUsageTypePaging`
const DEVICE_USAGE_TYPE_PAGING: usize = 1;

/// `DEVICE_RELATIONS`, whose array has `count` objects.
#[repr(C)]
pub(in crate::io) struct Relations {
    count: u32,
    objects: [*mut DEVICE_OBJECT; 0],
}

impl Relations {
    /// Returns the number of the objects, and the address of the first.
    ///
    /// # Safety
    /// A driver has answered with the structure.
    pub(in crate::io) unsafe fn of(list: *mut Self) -> (usize, *const *mut DEVICE_OBJECT) {
        // SAFETY: guaranteed by the caller.
        let count = unsafe { (*list).count };
        // SAFETY: as above; only the address is computed.
        let objects = unsafe { &raw const (*list).objects };
        (count as usize, objects.cast())
    }
}

impl Call {
    /// Frees a driver's answer to a query, and releases the references to the device objects in it.
    fn free_answer(&self, record: &IrpRecord, minor: u8) {
        let information = locked(&record.state).completion;
        let address = information.map_or(0, |(_, information)| information);
        if address == 0 {
            return;
        }
        let block = std::ptr::with_exposed_provenance_mut::<Relations>(address);
        if minor == IRP_MN_QUERY_DEVICE_RELATIONS {
            self.require_room(block);
            // SAFETY: the driver answers with the structure.
            let (count, objects) = unsafe { Relations::of(block) };
            // SAFETY: the array has this number of elements.
            for object in unsafe { self.elements(objects, count) } {
                self.dereference_device(object.cast());
            }
        }
        self.free_pool(block.cast(), 0);
    }
}

impl DeviceInner {
    /// Sends an internal device control as another driver does, without a file.
    pub(in crate::io) fn internal_device_control(
        &self,
        kernel: &Arc<Kernel>,
        code: u32,
        input: &[u8],
        output: Vec<u8>,
    ) -> Request {
        let _attached = Attached::to(kernel);
        let call = Call::enter("IoCallDriver");
        let parameters = IrpParameters {
            code,
            input_length: input.len(),
            output_length: output.len(),
            ..IrpParameters::new(nt::IRP_MJ_INTERNAL_DEVICE_CONTROL, 0)
        };
        let top = self.top();
        let record = call.new_irp(top, parameters, None, input, output);
        let answer = call.send(top, &record);
        Request {
            kernel: Arc::clone(kernel),
            sent: Ok(record),
            answer,
        }
    }

    /// Sends a PnP request, and waits until it ends.
    fn send_minor(&self, call: &Call, minor: u8) -> NTSTATUS {
        self.send_minor_with(call, minor, 0)
    }

    fn send_minor_with(&self, call: &Call, minor: u8, resources: usize) -> NTSTATUS {
        let parameters = IrpParameters {
            resources,
            ..IrpParameters::new(IRP_MJ_PNP, minor)
        };
        self.send_pnp(call, parameters).1
    }

    /// Sends a PnP request, and returns it with its final status.
    pub(in crate::io) fn send_pnp(
        &self,
        call: &Call,
        parameters: IrpParameters,
    ) -> (Arc<IrpRecord>, NTSTATUS) {
        self.send_pnp_reading(call, parameters, |_| {})
    }

    /// As [`DeviceInner::send_pnp`]. Calls a closure with a successful answer before it is freed.
    pub(in crate::io) fn send_pnp_reading(
        &self,
        call: &Call,
        parameters: IrpParameters,
        read: impl FnOnce(usize),
    ) -> (Arc<IrpRecord>, NTSTATUS) {
        let pdo = self.pdo().addr();
        let make = || Ok::<_, Infallible>(call.new_pnp(self.top(), parameters));
        let Ok(record) = call.begin_pnp(pdo, make);
        let status = call.send_and_wait(self.top(), &record);
        call.end_pnp(pdo, &record);
        self.verify_pnp(call, &record, status);
        if status >= 0 && ANSWERED_IN_POOL.contains(&parameters.minor) {
            let answer = locked(&record.state).completion;
            read(answer.map_or(0, |(_, information)| information));
            call.free_answer(&record, parameters.minor);
        }
        (record, status)
    }

    /// Stops the system if a PnP request has ended with a status that is not allowed.
    fn verify_pnp(&self, call: &Call, record: &IrpRecord, status: NTSTATUS) {
        let minor = record.parameters().minor;
        let irp = record.address() as u64;
        let by_bus = call.kernel.io().buses.answer(self.pdo().addr(), minor);
        // If the bus driver has failed the request, the drivers above are not at fault.
        let fails = status < 0 && !matches!(by_bus, Some(BusAnswer::Fail(_)));
        call.require(
            !(fails && MUST_SUCCEED.contains(&minor)),
            Rule::PnpRemove,
            || {
                let what = format!("{record} is completed with {status:#x}, but must not fail");
                (BugCheck::io(0x247, [0, irp, 0]), what)
            },
        );
        let untouched = status == STATUS_NOT_SUPPORTED;
        let must_be_passed = untouched || !MAY_BE_COMPLETED.contains(&minor);
        // The driver of a child is its bus driver.
        let is_child = call.kernel.io().devices.driver_of(self.pdo()).is_some();
        let reached_bus = is_child || record.reached_bus.load(Ordering::Relaxed);
        let kept = !reached_bus && (status >= 0 || untouched);
        call.require(!(must_be_passed && kept), Rule::PnpIrpCompletion, || {
            let code = if untouched { 0x22f } else { 0x22e };
            let what = format!(
                "{record} is completed with {status:#x}, but was not passed down to the bus driver"
            );
            (BugCheck::io(code, [0, irp, 0]), what)
        });
        let is_handled = reached_bus && !is_child && bus::handles_pnp(minor);
        let is_replaced = untouched && is_handled && !matches!(by_bus, Some(BusAnswer::Fail(_)));
        call.require(!is_replaced, Rule::PnpIrpCompletion, || {
            let what = format!(
                "{record} has returned from the bus driver with success, and is completed with STATUS_NOT_SUPPORTED, which is reserved \
                 for requests that no driver has handled: fail it with another status"
            );
            (BugCheck::io(0x216, [0, irp, 0]), what)
        });
    }

    /// Records that the drivers have handled `IRP_MN_REMOVE_DEVICE`.
    pub(in crate::io) fn note_removed(&self, call: &Call) {
        self.is_removed.store(true, Ordering::SeqCst);
        let disabled = call.kernel.io().interfaces.disable_all(self.pdo());
        call.kernel.tell_of_interfaces(disabled);
    }

    /// Sends `IRP_MN_REMOVE_DEVICE`, and checks that the drivers have detached and deleted their device objects.
    pub(crate) fn remove(&self, call: &Call) -> NTSTATUS {
        call.synchronise(self.object().addr());
        call.remove_children(self.pdo().addr());
        let status = self.send_minor(call, IRP_MN_REMOVE_DEVICE);
        self.note_removed(call);
        let devices = &call.kernel.io().devices;
        for object in self.objects() {
            let address = object.addr() as u64;
            call.require(!devices.is_attached(object), Rule::DeviceRemoval, || {
                let what = "the device object is still attached after IRP_MN_REMOVE_DEVICE";
                (BugCheck::io(0x21d, [0, 0, address]), what)
            });
            call.require(devices.is_deleted(object), Rule::DeviceRemoval, || {
                let what = "the device object is not deleted after IRP_MN_REMOVE_DEVICE";
                (BugCheck::io(0x21e, [0, 0, address]), what)
            });
        }
        status
    }
}

/// A device of a driver.
#[derive(Clone)]
pub struct Device {
    kernel: Arc<Kernel>,
    inner: Arc<DeviceInner>,
}

impl Device {
    pub(crate) fn new(kernel: &Arc<Kernel>, inner: Arc<DeviceInner>) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            inner,
        }
    }

    /// Returns the address of the driver's device object, for a program that inspects the system from outside, such as
    /// a debugger.
    pub fn object(&self) -> usize {
        self.inner.object().addr()
    }

    pub(super) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    pub(crate) fn inner(&self) -> &Arc<DeviceInner> {
        &self.inner
    }

    /// Sets how the bus driver handles the PnP requests of a minor function.
    pub fn bus_answers(&self, minor: u8, answer: BusAnswer) {
        footprint::touch_everything();
        let pdo = self.inner.pdo().addr();
        self.kernel.io().buses.set(pdo, minor, answer);
    }

    /// Sends a PnP request with a minor function; returns its final status.
    pub fn pnp(&self, minor: u8) -> NTSTATUS {
        self.pnp_with(minor, 0)
    }

    fn pnp_with(&self, minor: u8, resources: usize) -> NTSTATUS {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("the PnP manager");
        let status = if minor == IRP_MN_REMOVE_DEVICE {
            self.inner.remove(&call)
        } else {
            self.inner.send_minor_with(&call, minor, resources)
        };
        self.kernel.close_deferred(&call);
        status
    }

    /// Notifies the drivers that a paging file is created on the device, or removed from it
    /// (`IRP_MN_DEVICE_USAGE_NOTIFICATION`).
    pub fn usage_notification(&self, in_path: bool) -> NTSTATUS {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("the PnP manager");
        let parameters = IrpParameters {
            // `Parameters.UsageNotification.InPath` has the same offset.
            output_length: in_path.into(),
            // `Parameters.UsageNotification.Type` has the same offset.
            input_length: DEVICE_USAGE_TYPE_PAGING,
            ..IrpParameters::new(IRP_MJ_PNP, IRP_MN_DEVICE_USAGE_NOTIFICATION)
        };
        self.inner.send_pnp(&call, parameters).1
    }

    /// Queries the capabilities of the device (`IRP_MN_QUERY_CAPABILITIES`). Returns the bit fields of
    /// [`DEVICE_CAPABILITIES`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_capabilities), the first one in bit 0.
    ///
    /// # Errors
    /// The status with which the drivers have failed the request.
    pub fn capabilities(&self) -> Result<u32, NTSTATUS> {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("the PnP manager");
        let parameters = IrpParameters::new(IRP_MJ_PNP, nt::IRP_MN_QUERY_CAPABILITIES);
        match self.inner.send_pnp(&call, parameters) {
            (record, status) if status >= 0 => Ok(record.capabilities()),
            (_, status) => Err(status),
        }
    }

    /// Sends an internal device control as another driver does, without a file.
    #[must_use]
    pub fn internal_device_control(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        self.inner
            .internal_device_control(&self.kernel, code, input, output)
    }

    /// Returns the `PNP_DEVICE_STATE` that the drivers have answered last, after one has called `IoInvalidateDeviceState`. The PnP manager
    /// of the model does not act on it: a test removes a device that has failed.
    #[must_use]
    pub fn state(&self) -> Option<usize> {
        footprint::touch_everything();
        self.kernel.state_of(self.inner.pdo().addr())
    }

    /// Starts the device.
    ///
    /// # Errors
    /// The driver's error. The device is then removed, as the PnP manager does.
    pub fn start(&self) -> Result<(), NTSTATUS> {
        self.start_with_list(0)
    }

    /// Starts the device with the list of resources at an address, or zero.
    pub(in crate::io) fn start_with_list(&self, resources: usize) -> Result<(), NTSTATUS> {
        let status = self.pnp_with(IRP_MN_START_DEVICE, resources);
        if status < 0 {
            self.pnp(IRP_MN_REMOVE_DEVICE);
            return Err(status);
        }
        Ok(())
    }

    /// Removes the device in an orderly way: first queries the driver, and does not remove the device if the driver
    /// refuses or a file is open.
    ///
    /// # Errors
    /// The driver's error, or `STATUS_UNSUCCESSFUL` if a file is open.
    pub fn remove(&self) -> Result<(), NTSTATUS> {
        const STATUS_UNSUCCESSFUL: NTSTATUS = 0xc000_0001_u32.cast_signed();
        let status = self.pnp(IRP_MN_QUERY_REMOVE_DEVICE);
        self.touch_files();
        let status = if self.inner.open_files() == 0 {
            status
        } else {
            STATUS_UNSUCCESSFUL
        };
        if status < 0 {
            self.pnp(IRP_MN_CANCEL_REMOVE_DEVICE);
            return Err(status);
        }
        self.pnp(IRP_MN_REMOVE_DEVICE);
        Ok(())
    }

    /// Records an access to the number of open files, which a thread that closes one changes.
    fn touch_files(&self) {
        footprint::touch(self.inner.object().addr(), footprint::Access::Exclusive);
    }

    /// Removes the device by surprise, as when it is unplugged. `IRP_MN_REMOVE_DEVICE` is sent after the last file is
    /// closed.
    pub fn surprise_remove(&self) {
        {
            let _attached = Attached::to(&self.kernel);
            let call = Call::enter("the PnP manager");
            call.send_surprise_removals(self.inner.pdo().addr());
        }
        self.pnp(IRP_MN_SURPRISE_REMOVAL);
        {
            let _attached = Attached::to(&self.kernel);
            let call = Call::enter("the PnP manager");
            call.remove_children(self.inner.pdo().addr());
        }
        self.touch_files();
        self.inner.removal_waits.store(true, Ordering::SeqCst);
        if self.inner.open_files() == 0 && self.inner.removal_waits.swap(false, Ordering::SeqCst) {
            self.pnp(IRP_MN_REMOVE_DEVICE);
        }
    }

    /// Returns whether the device was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        footprint::touch_everything();
        self.inner.is_removed.load(Ordering::SeqCst)
    }

    /// Returns whether the device's interface is enabled, so that user mode can find the device.
    #[must_use]
    pub fn is_interface_enabled(&self) -> bool {
        footprint::touch_everything();
        self.kernel.io().interfaces.is_enabled(self.inner.pdo())
    }

    /// Opens the device by its interface.
    ///
    /// # Errors
    /// `STATUS_OBJECT_NAME_NOT_FOUND` if the interface is not enabled, or the driver's error.
    pub fn open(&self, access: Access) -> Result<File, NTSTATUS> {
        if !self.is_interface_enabled() {
            return Err(STATUS_OBJECT_NAME_NOT_FOUND);
        }
        self.open_anyway(access)
    }

    /// Opens the device whether or not its interface is enabled, since a path that was found before can still be used.
    ///
    /// # Errors
    /// The driver's error.
    pub fn open_anyway(&self, access: Access) -> Result<File, NTSTATUS> {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_shared("NtCreateFile");
        File::open(&call, &self.kernel, &self.inner, &Opening::of_user(access))
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open_files = self.inner.open_files();
        f.debug_struct("Device")
            .field("open_files", &open_files)
            .finish_non_exhaustive()
    }
}
