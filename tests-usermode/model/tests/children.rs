//! A bus driver that reports its children, and mistakes of bus drivers.
//!
//! Microsoft's pages: [`IoInvalidateDeviceRelations`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinvalidatedevicerelations),
//! [`IRP_MN_QUERY_DEVICE_RELATIONS`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-device-relations),
//! [`IRP_MN_QUERY_ID`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-id) and
//! [bug check 0xCA](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xca--pnp-detected-fatal-error).

#[macro_use]
mod call;
mod common;
mod steps;

use std::{cell::Cell, sync::Arc, thread::yield_now};

use call::{broke, create_device};
use common::found_in;
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE,
    IRP_MN_SURPRISE_REMOVAL, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Device, Driver, File, Kernel, PowerState, Rule};
use steps::{complete, skip};

/// The IOCTLs of the bus: add a child, remove it, and return the requests that the last child has received.
const PLUG: u32 = 0x22_2000;
const UNPLUG: u32 = 0x22_2004;
const SEEN: u32 = 0x22_2008;

const QUERY_RELATIONS: u8 = 7;
const QUERY_CAPABILITIES: u8 = 9;
const QUERY_ID: u8 = 0x13;
const BUS_RELATIONS: i32 = 0;
const TAG: u32 = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    ReportsTwice,
    ReportsItself,
    ReportsNull,
    ReportsDeleted,
    DeletesImmediately,
    KeepsMissing,
    BadId,
    InvalidatesItself,
}

thread_local! {
    static MISTAKE: Cell<Mistake> = const { Cell::new(Mistake::None) };
}

/// The device extension of the bus, and that of a child, which has no lower device object.
#[repr(C)]
struct Extension {
    lower: *mut DEVICE_OBJECT,
    bus: *mut DEVICE_OBJECT,
    pdo: *mut DEVICE_OBJECT,
    child: *mut DEVICE_OBJECT,
    is_present: bool,
    is_missing: bool,
    mistake: Mistake,
    seen: [u8; 32],
    count: usize,
}

fn extension<'a>(device: *mut DEVICE_OBJECT) -> &'a mut Extension {
    // SAFETY: the device object is alive.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: each device of the driver has an extension, and requests are sent one at a time.
    unsafe { &mut *extension.cast() }
}

fn driver_of(device: *mut DEVICE_OBJECT) -> *mut DRIVER_OBJECT {
    // SAFETY: the device object is alive.
    unsafe { (*device).DriverObject }
}

fn is_initialised(device: *mut DEVICE_OBJECT) {
    // SAFETY: as above.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
}

/// Allocates a block of the paged pool, and copies these bytes to it.
fn block(bytes: &[u8]) -> usize {
    let block = nt!(ExAllocatePoolWithTag(1, bytes.len(), TAG)).cast::<u8>();
    // SAFETY: the block has this length.
    unsafe { block.copy_from(bytes.as_ptr(), bytes.len()) };
    block.expose_provenance()
}

/// Answers with the children of the bus.
fn report(bus: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let own = extension(bus);
    own.is_missing = !own.child.is_null() && !own.is_present;
    let mut objects = Vec::new();
    if own.is_present {
        objects.push(own.child);
        match own.mistake {
            Mistake::ReportsTwice => objects.push(own.child),
            Mistake::ReportsItself => objects.push(bus),
            Mistake::ReportsNull => objects.push(std::ptr::null_mut()),
            _ => {}
        }
    }
    let mut answer = (objects.len() as u64).to_le_bytes().to_vec();
    for object in objects {
        if !object.is_null() {
            nt!(ObfReferenceObject(object.cast()));
        }
        answer.extend(object.expose_provenance().to_le_bytes());
    }
    if own.is_present && own.mistake == Mistake::ReportsDeleted {
        nt!(IoDeleteDevice(own.child));
    }
    nt!(irp::set_information(irp, block(&answer)));
    nt!(irp::set_status(irp, STATUS_SUCCESS));
}

/// A PnP request of a child.
fn child_pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let bus = extension(extension(device).bus);
    let minor = nt!(irp::minor_function(irp));
    bus.seen[bus.count] = minor;
    bus.count += 1;
    if minor == QUERY_ID {
        let id = if bus.mistake == Mistake::BadId {
            "Test,1"
        } else {
            r"Test\1"
        };
        // A list ends with an empty string.
        let units: Vec<u8> = id
            .encode_utf16()
            .chain([0, 0])
            .flat_map(u16::to_le_bytes)
            .collect();
        nt!(irp::set_information(irp, block(&units)));
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        nt!(IofCompleteRequest(irp, 0));
        return STATUS_SUCCESS;
    }
    if minor == IRP_MN_REMOVE_DEVICE && bus.is_missing && bus.mistake != Mistake::KeepsMissing {
        bus.child = std::ptr::null_mut();
        nt!(IoDeleteDevice(device));
    }
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let own = extension(device);
    if own.lower.is_null() {
        return child_pnp(device, irp);
    }
    let minor = nt!(irp::minor_function(irp));
    if minor == QUERY_RELATIONS {
        report(device, irp);
    }
    if minor == IRP_MN_SURPRISE_REMOVAL {
        // The child was removed with the bus, and has received this request before.
        own.is_missing = true;
    }
    let status = skip(own.lower, irp);
    if minor == IRP_MN_REMOVE_DEVICE {
        // The driver of a child that was removed deletes its device object.
        if !own.child.is_null() && !own.is_missing {
            nt!(IoDeleteDevice(own.child));
        }
        nt!(IoDetachDevice(own.lower));
        nt!(IoDeleteDevice(device));
    }
    status
}

unsafe extern "C" fn power(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let lower = extension(device).lower;
    if lower.is_null() {
        return complete(irp, STATUS_SUCCESS);
    }
    skip(lower, irp)
}

unsafe extern "C" fn other(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let own = extension(device);
    let code = nt!(irp::io_control(irp)).code;
    if code == SEEN {
        let room = nt!(irp::system_buffer(irp));
        // SAFETY: the test passes memory for all.
        unsafe { room.copy_from(own.seen.as_ptr(), own.seen.len()) };
        nt!(irp::set_information(irp, own.count));
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        own.count = 0;
        nt!(IofCompleteRequest(irp, 0));
        return STATUS_SUCCESS;
    }
    own.is_present = code == PLUG;
    if code == PLUG {
        let size = u32::try_from(size_of::<Extension>()).expect("it is small");
        own.child = create_device(driver_of(device), size);
        extension(own.child).bus = device;
        is_initialised(own.child);
    } else if own.mistake == Mistake::DeletesImmediately {
        nt!(IoDeleteDevice(own.child));
    }
    let of = if own.mistake == Mistake::InvalidatesItself {
        device
    } else {
        own.pdo
    };
    nt!(IoInvalidateDeviceRelations(of, BUS_RELATIONS));
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let size = u32::try_from(size_of::<Extension>()).expect("it is small");
    let device = create_device(driver, size);
    let own = extension(device);
    own.pdo = pdo;
    own.mistake = MISTAKE.get();
    own.lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    // SAFETY: the device is the driver's.
    unsafe { (*device).Flags |= nt::DO_BUFFERED_IO };
    is_initialised(device);
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is valid in DriverEntry.
    let object = unsafe { &mut *driver };
    object.MajorFunction.fill(Some(other));
    object.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
    object.MajorFunction[nt::IRP_MJ_POWER] = Some(power);
    object.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(control);
    object.DriverUnload = Some(unload);
    // SAFETY: as above.
    unsafe { (*object.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

fn start(kernel: &Arc<Kernel>, mistake: Mistake) -> (Driver, Device) {
    MISTAKE.set(mistake);
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry) }.expect("DriverEntry succeeds");
    let bus = driver.add_device().expect("AddDevice succeeds");
    bus.start().expect("the bus starts");
    (driver, bus)
}

fn control_of(bus: &Device) -> File {
    bus.open_anyway(Access::ReadWrite).expect("the bus opens")
}

/// Waits until the PnP manager has processed the change of the children.
fn wait_for(bus: &Device, count: usize) -> Vec<Device> {
    loop {
        let children = bus.children();
        if children.len() == count {
            return children;
        }
        yield_now();
    }
}

fn send_to_bus(file: &File, code: u32) {
    let request = file.device_control(code, &[], Vec::new());
    assert_eq!(request.answer(), STATUS_SUCCESS);
}

fn seen(file: &File) -> Vec<u8> {
    let request = file.device_control(SEEN, &[], vec![0; 32]);
    let end = request
        .wait(std::time::Duration::from_secs(5))
        .expect("it ends");
    end.output[..end.information].to_vec()
}

#[test]
fn children_are_started_and_removed() {
    let kernel = Kernel::new(Config::default());
    let (driver, bus) = start(&kernel, Mistake::None);
    assert!(bus.enumerate().is_empty());
    let file = control_of(&bus);
    send_to_bus(&file, PLUG);
    let child = wait_for(&bus, 1).remove(0);
    assert_eq!(
        bus.enumerate().len(),
        1,
        "the same child is not started again"
    );
    let started = [
        QUERY_ID,
        QUERY_ID,
        QUERY_ID,
        QUERY_ID,
        QUERY_CAPABILITIES,
        IRP_MN_START_DEVICE,
    ];
    assert_eq!(seen(&file), started);
    child
        .open_anyway(Access::ReadWrite)
        .expect("the child opens")
        .close();
    send_to_bus(&file, UNPLUG);
    wait_for(&bus, 0);
    assert!(child.is_removed());
    assert_eq!(seen(&file), [IRP_MN_SURPRISE_REMOVAL, IRP_MN_REMOVE_DEVICE]);
    file.close();
    assert_eq!(
        kernel.device_objects(),
        1,
        "the child's device object is deleted"
    );
    bus.remove().expect("no file is open");
    driver.unload();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-irp-mn-set-power-for-device-power-states>: the bus driver completes
/// the request.
#[test]
fn power_requests_of_a_child_end_at_its_bus_driver() {
    let kernel = Kernel::new(Config::default());
    let (driver, bus) = start(&kernel, Mistake::None);
    let file = control_of(&bus);
    send_to_bus(&file, PLUG);
    let child = wait_for(&bus, 1).remove(0);
    for state in [PowerState::System(1), PowerState::Device(1)] {
        assert_eq!(child.query_power(state), STATUS_SUCCESS);
        assert_eq!(child.set_power(state), STATUS_SUCCESS);
    }
    // A WMI request ends there too.
    assert_eq!(child.system_control(0), STATUS_SUCCESS);
    file.close();
    bus.remove().expect("no file is open");
    driver.unload();
}

/// A child that is present is removed before its bus, which then deletes its device object. At a surprise removal, both are notified
/// before one is removed.
#[test]
fn children_are_removed_before_their_bus() {
    for by_surprise in [false, true] {
        let kernel = Kernel::new(Config::default());
        let (driver, bus) = start(&kernel, Mistake::None);
        let file = control_of(&bus);
        send_to_bus(&file, PLUG);
        let child = wait_for(&bus, 1).remove(0);
        file.close();
        if by_surprise {
            bus.surprise_remove();
        } else {
            bus.remove().expect("no file is open");
        }
        assert!(child.is_removed());
        assert_eq!(kernel.device_objects(), 0);
        driver.unload();
    }
}

/// The codes of bug check 0xCA, and what a driver must do with a child that it has reported as missing.
#[test]
fn mistakes_of_a_bus_driver_are_found() {
    let mistakes = [
        (Mistake::ReportsTwice, 0xca, 1),
        (Mistake::ReportsItself, 0xca, 2),
        (Mistake::InvalidatesItself, 0xca, 2),
        (Mistake::BadId, 0xca, 3),
        (Mistake::ReportsDeleted, 0xca, 4),
        (Mistake::DeletesImmediately, 0xca, 5),
        (Mistake::ReportsNull, 0xca, 8),
        (Mistake::KeepsMissing, 0xc9, 0x21e),
    ];
    for (mistake, code, first) in mistakes {
        let violation = found_in(move |kernel| {
            let (_driver, bus) = start(kernel, mistake);
            let file = control_of(&bus);
            send_to_bus(&file, PLUG);
            wait_for(&bus, 1);
            send_to_bus(&file, UNPLUG);
            wait_for(&bus, 0);
        });
        broke(&violation, Rule::BusRelations, code, &[first]);
    }
}
