//! A PnP driver on raw `nt` for one device. A test overrides one of its steps; the others are correct.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{ptr::addr_of_mut, sync::Arc, time::Duration};

use crate::call::{create_device, create_named_device};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS,
    UNICODE_STRING,
};
use ntmodel::{
    Access, Config, Device, Driver, DriverEntry, File, Kernel, Request, Rule, Violation,
    explore::{Explored, Scenario, Search, explore},
};

/// Two IOCTLs for the tests.
pub const FIRST: u32 = 0x22_2000;
pub const SECOND: u32 = 0x22_2004;

/// The steps of the driver.
pub trait Steps: Sized + 'static {
    /// The driver's part of the device extension. It is zeroed at first and does not move.
    type Own: 'static;

    /// The flags of the device object for its transfers.
    const FLAGS: u32 = nt::DO_BUFFERED_IO;

    /// Whether the pointer to the lower device object is set before the driver can get an IRP.
    const ATTACHES_SAFELY: bool = false;

    /// The name of the device object.
    const NAME: Option<&str> = None;

    /// Initialises the data in `AddDevice`.
    fn add(_: *mut DEVICE_OBJECT, _: &Self::Own) {}

    /// A create, close, read or write.
    fn other(_: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    /// `IRP_MJ_PNP` and `IRP_MJ_POWER`, which are passed to the lower device.
    fn pass_down(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }

    /// `IRP_MJ_DEVICE_CONTROL`.
    fn control(_: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP, _code: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    /// `IRP_MJ_CLEANUP`, which the caller completes.
    fn cleanup(_: &Self::Own, _: *mut FILE_OBJECT) {}

    /// The Cancel routine.
    fn cancel(_: &Self::Own, _: *mut IRP) {}

    /// `IRP_MN_REMOVE_DEVICE`, after it was passed down and before the device object is detached.
    fn remove(_: &Self::Own) {}

    fn unload() {}
}

#[repr(C)]
struct Extension<T> {
    lower: *mut DEVICE_OBJECT,
    own: T,
}

fn extension<'a, S: Steps>(device: *mut DEVICE_OBJECT) -> &'a Extension<S::Own> {
    // SAFETY: the I/O manager passes the driver's own device object.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `add_device` created an extension of this size, and zero is valid for the data.
    unsafe { &*extension.cast() }
}

/// Returns the driver's part of the device extension.
pub fn own<'a, S: Steps>(device: *mut DEVICE_OBJECT) -> &'a S::Own {
    &extension::<S>(device).own
}

/// Returns the lower device object.
pub fn lower<S: Steps>(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    extension::<S>(device).lower
}

/// Passes an IRP to a lower device object with the caller's stack location.
pub fn skip(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    nt!(IofCallDriver(lower, irp))
}

/// Completes an IRP with a status and no bytes.
pub fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    nt!(irp::set_status(irp, status));
    nt!(irp::set_information(irp, 0));
    nt!(IofCompleteRequest(irp, nt::IO_NO_INCREMENT));
    status
}

/// Marks an IRP pending.
pub fn mark(irp: *mut IRP) -> NTSTATUS {
    nt!(irp::IoMarkIrpPending(irp));
    STATUS_PENDING
}

pub unsafe extern "C" fn cancel<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    S::cancel(own::<S>(device), irp);
}

unsafe extern "C" fn control<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let code = nt!(irp::io_control(irp)).code;
    S::control(device, own::<S>(device), irp, code)
}

unsafe extern "C" fn cleanup<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let file = nt!(irp::file_object(irp));
    S::cleanup(own::<S>(device), file);
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn other<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    S::other(device, own::<S>(device), irp)
}

unsafe extern "C" fn power<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    S::pass_down(device, own::<S>(device), irp)
}

unsafe extern "C" fn pnp<S: Steps>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let extension = extension::<S>(device);
    let lower = extension.lower;
    let removed = nt!(irp::minor_function(irp)) == nt::IRP_MN_REMOVE_DEVICE;
    let status = S::pass_down(device, &extension.own, irp);
    if removed {
        S::remove(&extension.own);
        nt!(IoDetachDevice(lower));
        nt!(IoDeleteDevice(device));
    }
    status
}

unsafe extern "C" fn add_device<S: Steps>(
    driver: *mut DRIVER_OBJECT,
    pdo: *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let size = u32::try_from(size_of::<Extension<S::Own>>()).expect("the extension is small");
    let device = match S::NAME {
        Some(name) => create_named_device(driver, size, name, 0, 0).expect("the name is free"),
        None => create_device(driver, size),
    };
    // SAFETY: the device object was just created.
    let start = unsafe { (*device).DeviceExtension }.cast::<Extension<S::Own>>();
    // SAFETY: the extension has this size, and is not in use yet.
    let field = unsafe { &raw mut (*start).lower };
    if S::ATTACHES_SAFELY {
        nt!(IoAttachDeviceToDeviceStackSafe(device, pdo, field));
    } else {
        let lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
        // SAFETY: as above.
        unsafe { field.write(lower) };
    }
    S::add(device, own::<S>(device));
    // SAFETY: the device object was just created; only the address is computed.
    let flags = unsafe { addr_of_mut!((*device).Flags) };
    // SAFETY: as above.
    let flags = unsafe { &mut *flags };
    *flags = *flags & !nt::DO_DEVICE_INITIALIZING | S::FLAGS;
    STATUS_SUCCESS
}

unsafe extern "C" fn unload<S: Steps>(_: *mut DRIVER_OBJECT) {
    S::unload();
}

pub unsafe extern "C" fn entry<S: Steps>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver object, which only this routine uses.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload::<S>);
    for major in [
        nt::IRP_MJ_CREATE,
        nt::IRP_MJ_CLOSE,
        nt::IRP_MJ_READ,
        nt::IRP_MJ_WRITE,
    ] {
        driver.MajorFunction[major] = Some(other::<S>);
    }
    driver.MajorFunction[nt::IRP_MJ_INTERNAL_DEVICE_CONTROL] = Some(control::<S>);
    driver.MajorFunction[nt::IRP_MJ_POWER] = Some(power::<S>);
    driver.MajorFunction[nt::IRP_MJ_CLEANUP] = Some(cleanup::<S>);
    driver.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(control::<S>);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp::<S>);
    // SAFETY: the driver object has an extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device::<S>) };
    STATUS_SUCCESS
}

/// A loaded driver, its started device and an open file.
pub struct Stage {
    /// If the stage is dropped, the file is closed before the drivers are unloaded.
    pub file: Arc<File>,
    pub device: Device,
    /// The filters above the function driver.
    filters: Vec<Driver>,
    pub driver: Driver,
}

impl Stage {
    pub fn set<S: Steps>(kernel: &Arc<Kernel>) -> Self {
        Self::stack(kernel, entry::<S>, &[])
    }

    /// Loads the drivers of a device stack, the function driver first.
    pub fn stack(kernel: &Arc<Kernel>, function: DriverEntry, above: &[DriverEntry]) -> Self {
        // SAFETY: the entry point is that of a driver on `nt`; the model detects its mistakes.
        let load = |entry| unsafe { Driver::load(kernel, entry) }.expect("DriverEntry");
        let driver = load(function);
        let device = driver.add_device().expect("AddDevice");
        let filters: Vec<Driver> = above.iter().copied().map(load).collect();
        for filter in &filters {
            filter.add_filter(&device).expect("AddDevice");
        }
        device.start().expect("the device starts");
        let file = device
            .open_anyway(Access::ReadWrite)
            .expect("the device opens");
        Self {
            driver,
            filters,
            device,
            file: Arc::new(file),
        }
    }

    pub fn send(&self, code: u32) -> Request {
        self.file.device_control(code, &[], Vec::new())
    }

    /// Closes the file, removes the device and unloads the driver.
    pub fn tear_down(self) {
        Arc::into_inner(self.file)
            .expect("no actor uses the file")
            .close();
        self.device.remove().expect("no file is open");
        for filter in self.filters.into_iter().rev() {
            filter.unload();
        }
        self.driver.unload();
    }
}

/// Waits for a request to end; returns its status.
pub fn end_of(request: &Request) -> NTSTATUS {
    let end = request.wait(Duration::from_secs(5));
    end.expect("the request is completed").status
}

/// Sends one request, and unloads the driver.
pub fn one_request<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<S>(kernel);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

/// Sends two requests in two threads, and unloads the driver.
pub fn two_requests<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<S>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()));
    });
    end_of(&stage.send(FIRST));
    other.join();
    stage.tear_down();
}

const EVERY: Search = Search::every(100_000);

/// Returns the violation in some order of a scenario's threads.
#[track_caller]
pub fn found_in_some_order(scenario: Scenario) -> Violation {
    let found = explore(EVERY, scenario).expect_err("a rule is broken");
    found.violation
}

/// Checks the rule that a scenario breaks in some order, and that the message contains a text.
#[track_caller]
pub fn breaks(scenario: Scenario, rule: Rule, text: &str) -> Violation {
    let violation = found_in_some_order(scenario);
    assert_eq!(violation.rule, rule, "\n{violation}");
    assert!(
        violation.to_string().contains(text),
        "{text:?}:\n{violation}"
    );
    violation
}

/// Checks that a scenario breaks no rule, on host threads and in every order.
#[track_caller]
pub fn holds(scenario: Scenario) -> Explored {
    scenario(&Kernel::new(Config::default()));
    let explored = explore(EVERY, scenario).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
    explored
}
