//! What a PnP driver does after other threads can send it requests, or after it has requested a power IRP.

#[macro_use]
mod call;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use call::CLASS;
use nt::{
    DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, KEVENT, NTSTATUS, STATUS_DEVICE_NOT_READY,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{
    Access, Driver, Kernel, Rule,
    explore::{Scenario, Search, explore},
};
use steps::{FIRST, Stage, Steps, complete, end_of, entry, holds, lower, one_request, skip};

/// Checks that a driver breaks a rule in some order of its threads.
#[track_caller]
fn breaks(scenario: Scenario, rule: Rule) {
    let found = explore(Search::every(100_000), scenario).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "\n{found}");
}

/// A filter driver that passes every request to the lower device object.
struct Filter<const SAFE: bool>;

impl<const SAFE: bool> Steps for Filter<SAFE> {
    type Own = ();

    const ATTACHES_SAFELY: bool = SAFE;

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }
}

/// A driver whose requests are completed immediately.
struct Function;

impl Steps for Function {
    type Own = ();
}

/// Adds the filter while a request is sent.
fn filtered<const SAFE: bool>(kernel: &Arc<Kernel>) {
    let Stage {
        driver,
        device,
        file,
        ..
    } = Stage::set::<Function>(kernel);
    let file_clone = Arc::clone(&file);
    let sender = kernel.actor("sender", move || {
        end_of(&file_clone.device_control(FIRST, &[], Vec::new()))
    });
    // SAFETY: the entry point is that of a driver on `nt`; the model detects its mistakes.
    let filter = unsafe { Driver::load(kernel, entry::<Filter<SAFE>>) }.expect("DriverEntry");
    filter.add_filter(&device).expect("AddDevice");
    sender.join();
    let file = Arc::into_inner(file).expect("no actor uses the file");
    // The file was opened before the filter was attached.
    file.close();
    device.remove().expect("no file is open");
    filter.unload();
    driver.unload();
}

#[test]
fn a_filter_gets_a_request_before_it_knows_the_lower_device() {
    breaks(filtered::<false>, Rule::Pointer);
    holds(filtered::<true>);
}

/// A driver that can be opened after it has enabled its interface. With `AFTER` it is ready after that.
struct Enables<const AFTER: bool>;

struct Enabled {
    name: UnsafeCell<UNICODE_STRING>,
    is_ready: Cell<bool>,
}

impl<const AFTER: bool> Steps for Enables<AFTER> {
    type Own = Enabled;

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Enabled, irp: *mut IRP) -> NTSTATUS {
        let minor = nt!(irp::minor_function(irp));
        let pdo = lower::<Self>(device);
        let status = skip(pdo, irp);
        if minor == nt::IRP_MN_START_DEVICE {
            let (name, none) = (own.name.get(), null_mut());
            let registered = nt!(IoRegisterDeviceInterface(pdo, &raw const CLASS, none, name));
            assert_eq!(registered, STATUS_SUCCESS);
            own.is_ready.set(!AFTER);
            assert_eq!(nt!(IoSetDeviceInterfaceState(name, 1)), STATUS_SUCCESS);
            own.is_ready.set(true);
        }
        status
    }

    fn other(_: *mut DEVICE_OBJECT, own: &Enabled, irp: *mut IRP) -> NTSTATUS {
        let is_create = nt!(irp::major_function(irp)) == nt::IRP_MJ_CREATE;
        let status = if is_create && !own.is_ready.get() {
            STATUS_DEVICE_NOT_READY
        } else {
            STATUS_SUCCESS
        };
        complete(irp, status)
    }

    fn remove(own: &Enabled) {
        nt!(IoSetDeviceInterfaceState(own.name.get(), 0));
        nt!(RtlFreeUnicodeString(own.name.get()));
    }
}

/// Opens the device while it starts.
fn opened<const AFTER: bool>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`; the model detects its mistakes.
    let driver = unsafe { Driver::load(kernel, entry::<Enables<AFTER>>) }.expect("DriverEntry");
    let device = Arc::new(driver.add_device().expect("AddDevice"));
    let device_clone = Arc::clone(&device);
    let opener = kernel.actor("opener", move || {
        device_clone.open(Access::ReadWrite).map(drop)
    });
    device.start().expect("the device starts");
    let result = opener.join();
    let is_right = matches!(result, Ok(()) | Err(STATUS_OBJECT_NAME_NOT_FOUND));
    kernel.verify(is_right, || {
        format!("the interface was enabled: {result:?}")
    });
    let device = Arc::into_inner(device).expect("no actor uses the device");
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn a_device_is_opened_before_the_driver_is_ready() {
    breaks(opened::<true>, Rule::Promise);
    holds(opened::<false>);
}

/// A driver that requests a power IRP whose completion routine frees a block of the pool. With `AFTER` the block is written after
/// the request.
struct Requests<const AFTER: bool>;

unsafe extern "C" fn is_powered(
    device: *mut DEVICE_OBJECT,
    _: u8,
    _: i32,
    block: *mut c_void,
    _: *mut IO_STATUS_BLOCK,
) {
    nt!(ExFreePool(block));
    let event = steps::own::<Requests<true>>(device).get();
    nt!(KeSetEvent(event, 0, 0));
}

impl<const AFTER: bool> Steps for Requests<AFTER> {
    type Own = UnsafeCell<KEVENT>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(KeInitializeEvent(own.get(), 1, 0));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1));
        // SAFETY: the block is alive until the request has ended, and the model detects the write after that.
        let write = || unsafe { block.cast::<u64>().write(1) };
        if !AFTER {
            write();
        }
        let (minor, state, none) = (nt::IRP_MN_SET_POWER, 1, null_mut());
        let routine: nt::PREQUEST_POWER_COMPLETE = Some(is_powered);
        let status = nt!(PoRequestPowerIrp(
            device, minor, state, routine, block, none
        ));
        assert_eq!(status, STATUS_PENDING);
        if AFTER {
            write();
        }
        call::wait(own.get());
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn memory_is_written_after_a_power_request_was_made_whose_end_frees_it() {
    breaks(one_request::<Requests<true>>, Rule::FreedMemory);
    holds(one_request::<Requests<false>>);
}
