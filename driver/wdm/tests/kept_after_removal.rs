//! A device keeps a request after it was removed and asked for what it keeps: in a dispatch routine at `DISPATCH_LEVEL`, and in a
//! completion routine after the lower driver was removed. The device is asked again, so the removal ends.

mod common;

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering::SeqCst},
    thread,
    time::Duration,
};

use common::{kernel, load, load_filter};
use nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, UNICODE_STRING, irp};
use ntmodel::{Driver, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CompletionRoutine, Device, Error, Filter, Guid, Handled, Irp, NewDevice, NewFilter,
    PassiveLevel, PendedIrp, Returned, Shared, SpinLock, irql::CallerLevel,
};

const CODE: u32 = 0x22_2000;
const LONG: Duration = Duration::from_secs(5);

/// A device that keeps a request in its state.
#[pin_data]
struct Keeper {
    #[pin]
    kept: SpinLock<Option<PendedIrp>>,
}

impl Device for Keeper {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(try_pin_init!(Self { kept <- SpinLock::new(None) }? Error))
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.kept.with(irql, |kept, _| *kept = Some(irp));
        handled
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        if let Some(irp) = self.kept.with(irql, |kept, _| kept.take()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
    }
}

#[test]
fn a_request_that_is_kept_at_dispatch_level_is_completed() {
    explore::check(300, |kernel| {
        let driver = load::<Keeper>(kernel);
        let device = driver.add_device().expect("AddDevice");
        device.start().expect("the device starts");
        let object = std::ptr::with_exposed_provenance_mut(device.object());
        // The sender's reference, so that the device object stays.
        // SAFETY: the device is not removed yet.
        unsafe { nt::ObfReferenceObject(object) };
        let theirs = device.clone();
        let sender = kernel.actor("sender", move || {
            // SAFETY: the IRQL is lowered below.
            let old = unsafe { nt::KeRaiseIrqlToDpcLevel() };
            let sent = theirs.internal_device_control(CODE, &[], Vec::new());
            // SAFETY: the IRQL was raised above.
            unsafe { nt::KeLowerIrql(old) };
            sent
        });
        device.surprise_remove();
        let end = sender.join().wait(LONG).map(|end| end.status);
        kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
            format!("{end:x?}")
        });
        // SAFETY: the reference was made above.
        unsafe { nt::ObfDereferenceObject(object) };
        driver.unload();
    });
}

/// The request that the lower driver has.
static LOWER: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

/// A function driver that completes its `IRP_MN_REMOVE_DEVICE` while it has a request.
unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver may fill in its object.
    unsafe { (*driver).MajorFunction = [Some(dispatch); 28] };
    // SAFETY: as above.
    unsafe { (*driver).DriverUnload = Some(unload) };
    // SAFETY: as above.
    unsafe { (*(*driver).DriverExtension).AddDevice = Some(add) };
    nt::STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn add(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let mut object = null_mut();
    // SAFETY: the PnP manager passes the driver object.
    let status = unsafe { nt::IoCreateDevice(driver, 8, null_mut(), 0x22, 0, 0, &raw mut object) };
    assert_eq!(status, nt::STATUS_SUCCESS);
    // SAFETY: both device objects are valid.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(object, pdo) };
    // SAFETY: the extension has room for a pointer.
    unsafe {
        (*object)
            .DeviceExtension
            .cast::<*mut DEVICE_OBJECT>()
            .write(lower)
    };
    // SAFETY: the driver may change the field in AddDevice.
    unsafe { (*object).Flags &= !nt::DO_DEVICE_INITIALIZING };
    nt::STATUS_SUCCESS
}

unsafe extern "C" fn dispatch(object: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: this routine owns the IRP; so below.
    if unsafe { irp::major_function(irp) } != nt::IRP_MJ_PNP {
        // SAFETY: as above.
        unsafe { irp::IoMarkIrpPending(irp) };
        LOWER.store(irp, SeqCst);
        return nt::STATUS_PENDING;
    }
    // SAFETY: `add` has stored it.
    let lower = unsafe { *(*object).DeviceExtension.cast::<*mut DEVICE_OBJECT>() };
    // SAFETY: as above.
    let removes = unsafe { irp::minor_function(irp) } == nt::IRP_MN_REMOVE_DEVICE;
    // SAFETY: as above.
    unsafe { irp::set_status(irp, nt::STATUS_SUCCESS) };
    // SAFETY: as above.
    unsafe { irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: the IRP is given up.
    let status = unsafe { nt::IofCallDriver(lower, irp) };
    if removes {
        // SAFETY: the device object is attached to the lower one.
        unsafe { nt::IoDetachDevice(lower) };
        // SAFETY: the device object is detached.
        unsafe { nt::IoDeleteDevice(object) };
    }
    status
}

type Kept = Shared<SpinLock<Option<PendedIrp>>>;

/// Keeps the request.
struct Keeps;

impl CompletionRoutine for Keeps {
    type Record = Kept;

    fn run(irp: Returned<PendedIrp<Kept>>, irql: &mut CallerLevel) {
        if let Ok(irp) = irp.into_irp() {
            let (kept, irp) = irp.take_record();
            kept.with(irql, |kept, _| *kept = Some(irp));
        }
    }
}

struct Above(Kept);

impl Filter for Above {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let kept = Shared::new(SpinLock::new(None), device, irql)?;
        Ok(Ok::<_, Error>(Self(kept)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        irp.with_record(self.0.clone())
            .forward_with_routine::<Keeps>(irql)
    }

    fn remove(&self, irql: &mut CallerLevel) {
        if let Some(irp) = self.0.with(irql, |kept, _| kept.take()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
    }
}

#[test]
fn a_request_that_comes_back_after_the_lower_driver_was_removed_is_completed() {
    let kernel = kernel();
    // SAFETY: the entry point is that of a driver on `nt`.
    let below = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry");
    let above = load_filter::<Above>(&kernel);
    let device = below.add_device().expect("AddDevice");
    above.add_filter(&device).expect("AddDevice");
    device.start().expect("the device starts");
    let sent = device.internal_device_control(CODE, &[], Vec::new());
    let theirs = device.clone();
    let remover = kernel.actor("remover", move || theirs.surprise_remove());
    // The removal waits for the request by then, or the test shows less.
    thread::sleep(Duration::from_millis(200));
    let lower = kernel.actor("lower driver", || {
        let irp = LOWER.swap(null_mut(), SeqCst);
        // SAFETY: `dispatch` has kept the IRP, which nobody else has.
        unsafe { irp::set_status(irp, nt::STATUS_SUCCESS) };
        // SAFETY: as above.
        unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    });
    lower.join();
    let end = sent.wait(LONG).expect("the request ends");
    assert_eq!(end.status, nt::STATUS_DELETE_PENDING);
    remover.join();
    above.unload();
    below.unload();
}
