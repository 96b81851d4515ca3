//! The driver around every mistake: loaded, added, started and removed as it should be. And its stage.

use std::{
    ptr::{addr_of_mut, null_mut},
    sync::Arc,
    time::Duration,
};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_NOT_FOUND, STATUS_SUCCESS,
    UNICODE_STRING,
};
use ntmodel::{Access, Device, Driver, File, Kernel, Request};

/// The IOCTLs of every family: keep this request, or complete the oldest that is kept.
pub(super) const PEND: u32 = 0x22_2000;
pub(super) const COMPLETE: u32 = 0x22_2004;

/// An IRP that was sent to the driver.
///
/// The model keeps an IRP's memory for a while after its completion, so that the mistakes that touch it then are found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Irp(pub(super) *mut IRP);

impl Irp {
    /// The file that it was sent through.
    pub(super) fn file(self) -> *mut FILE_OBJECT {
        // SAFETY: the memory is the model's, which keeps it.
        unsafe { nt::irp::file_object(self.0) }
    }

    /// Completes it, with `Information` 0.
    pub(super) fn complete(self, status: NTSTATUS) {
        // SAFETY: as above.
        unsafe { nt::irp::set_status(self.0, status) };
        // SAFETY: as above.
        unsafe { nt::irp::set_information(self.0, 0) };
        // SAFETY: as above.
        unsafe { nt::IofCompleteRequest(self.0, nt::IO_NO_INCREMENT) };
    }
}

/// A family: what its driver keeps, and what it does with the requests.
pub(super) trait Family: 'static {
    /// What the device extension holds, besides the frame's. It starts as zeros, and stays where it is.
    type Own: 'static;

    /// `AddDevice`'s part.
    fn initialise(own: &Self::Own);

    /// `IRP_MJ_DEVICE_CONTROL`.
    fn control(own: &Self::Own, irp: Irp, code: u32) -> NTSTATUS;

    /// `IRP_MJ_CLEANUP`, which the frame completes.
    fn cleanup(_: &Self::Own, _: *mut FILE_OBJECT) {}

    /// A Cancel routine.
    fn cancel(_: &Self::Own, _: Irp) {}
}

/// The device extension.
#[repr(C)]
struct Extension<T> {
    lower: *mut DEVICE_OBJECT,
    own: T,
}

/// A device's extension.
///
/// # Safety
/// The device object is one of the family's driver, and not deleted while the reference is used.
unsafe fn extension<'a, F: Family>(device: *mut DEVICE_OBJECT) -> &'a Extension<F::Own> {
    // SAFETY: passed on to the caller.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `add_device` has made it so large, and zeros are what it starts as.
    unsafe { &*extension.cast() }
}

/// The Cancel routine of a family's driver.
pub(super) unsafe extern "C" fn cancel<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager gives the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    F::cancel(&extension.own, Irp(irp));
}

unsafe extern "C" fn control<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    // SAFETY: the I/O manager gives an IRP of this major function.
    let code = unsafe { nt::irp::io_control(irp) }.code;
    F::control(&extension.own, Irp(irp), code)
}

unsafe extern "C" fn cleanup<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    F::cleanup(&extension.own, Irp(irp).file());
    Irp(irp).complete(STATUS_SUCCESS);
    STATUS_SUCCESS
}

unsafe extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    Irp(irp).complete(STATUS_SUCCESS);
    STATUS_SUCCESS
}

/// `IRP_MJ_PNP`: passed on; with the removal goes the device object.
unsafe extern "C" fn pnp<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver's own device object.
    let lower = unsafe { extension::<F>(device) }.lower;
    // SAFETY: the IRP is this routine's, and passed on next.
    let removed = unsafe { nt::irp::minor_function(irp) } == nt::IRP_MN_REMOVE_DEVICE;
    // SAFETY: as above.
    unsafe { nt::irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: as above.
    let status = unsafe { nt::IofCallDriver(lower, irp) };
    if removed {
        // SAFETY: the device object is attached to the one below.
        unsafe { nt::IoDetachDevice(lower) };
        // SAFETY: nobody sends it anything any more.
        unsafe { nt::IoDeleteDevice(device) };
    }
    status
}

unsafe extern "C" fn add_device<F: Family>(
    driver: *mut DRIVER_OBJECT,
    pdo: *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let mut device = null_mut();
    let Ok(size) = u32::try_from(size_of::<Extension<F::Own>>()) else {
        return nt::STATUS_INSUFFICIENT_RESOURCES;
    };
    let kind = nt::FILE_DEVICE_UNKNOWN;
    // SAFETY: the PnP manager gives the driver object.
    let status =
        unsafe { nt::IoCreateDevice(driver, size, null_mut(), kind, 0, 0, &raw mut device) };
    if status < 0 {
        return status;
    }
    // SAFETY: the device object was just made.
    let extension_start = unsafe { (*device).DeviceExtension }.cast::<Extension<F::Own>>();
    // SAFETY: both device objects are alive, and the new one is attached nowhere.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(device, pdo) };
    // SAFETY: the extension is so large, and nobody else knows it yet.
    unsafe { (*extension_start).lower = lower };
    // SAFETY: the device object was just made.
    F::initialise(&unsafe { extension::<F>(device) }.own);
    // SAFETY: as above; the address alone is computed.
    let flags = unsafe { addr_of_mut!((*device).Flags) };
    // SAFETY: as above.
    unsafe { *flags &= !nt::DO_DEVICE_INITIALIZING };
    status
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

/// `DriverEntry`.
unsafe extern "C" fn entry<F: Family>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload);
    driver.MajorFunction[nt::IRP_MJ_CREATE] = Some(succeed);
    driver.MajorFunction[nt::IRP_MJ_CLOSE] = Some(succeed);
    driver.MajorFunction[nt::IRP_MJ_CLEANUP] = Some(cleanup::<F>);
    driver.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(control::<F>);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp::<F>);
    // SAFETY: the driver object comes with its extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device::<F>) };
    STATUS_SUCCESS
}

/// A family's driver that was loaded, its started device and an open file of it.
pub(super) struct Stage {
    driver: Driver,
    device: Device,
    pub(super) file: Arc<File>,
}

impl Stage {
    pub(super) fn set<F: Family>(kernel: &Arc<Kernel>) -> Self {
        // SAFETY: the entry point is that of a driver on `nt`; the mistakes are the model's to find.
        let driver = unsafe { Driver::load(kernel, entry::<F>) }.expect("DriverEntry");
        let device = driver.add_device().expect("AddDevice");
        device.start().expect("the device starts");
        let file = Arc::new(
            device
                .open_anyway(Access::ReadWrite)
                .expect("the device opens"),
        );
        Self {
            driver,
            device,
            file,
        }
    }

    /// Sends a request.
    pub(super) fn send(&self, code: u32) -> Request {
        self.file.device_control(code, &[], Vec::new())
    }

    /// Closes the file, removes the device and unloads the driver, which must leave nothing behind.
    pub(super) fn strike(self) {
        let file = Arc::into_inner(self.file).expect("the actors are done with it");
        file.close();
        self.device.remove().expect("no file is open");
        self.driver.unload();
    }
}

/// One actor sends a request, and another one completes it, meanwhile or after.
pub(super) fn completion_against_insertion<F: Family>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<F>(kernel);
    let file = Arc::clone(&stage.file);
    let completer = kernel.actor("completer", move || {
        file.device_control(COMPLETE, &[], Vec::new()).answer()
    });
    let request = stage.send(PEND);
    if completer.join() == STATUS_NOT_FOUND {
        // The completer came too early.
        stage.send(COMPLETE);
    }
    assert_eq!(end_of(&request), STATUS_SUCCESS);
    stage.strike();
}

/// How a request ended, once it has.
pub(super) fn end_of(request: &Request) -> NTSTATUS {
    let end = request.wait(Duration::from_secs(1));
    end.expect("it ends").status
}
